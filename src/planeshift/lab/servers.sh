#!/bin/sh
# What a plain host runs for a rehearsal, as its file says (`runs`); each again when it ends. Arguments: names of servers.
keep() {
  while :; do
    "serve_$1" >>"/var/log/$1.log" 2>&1
    echo "$1 ended with $?" >>"/var/log/$1.log"
    sleep 1
  done
}
serve_mariadb() {
  data=/var/lib/planeshift/mariadb
  if [ ! -d "$data" ]; then # made beside and renamed, so that a half-made one is never taken for whole
    mkdir -p "$data.new" && mariadb-install-db --no-defaults --datadir="$data.new" --user=root \
      --auth-root-authentication-method=normal --skip-test-db && mv "$data.new" "$data" || { rm -rf "$data.new"; return 1; }
  fi
  mariadbd --no-defaults --datadir="$data" --user=root --bind-address=0.0.0.0 --socket=/run/mariadb.sock \
    --pid-file=/run/mariadb.pid --skip-log-bin --skip-name-resolve --max-connections=500
}
serve_memcached() { memcached -u root -l 0.0.0.0; }
serve_s3() {
  until [ -s /run/s3.env ]; do sleep 0.1; done # its keys, on memory
  . /run/s3.env
  mkdir -p /var/lib/planeshift/s3
  versitygw --port :7070 posix /var/lib/planeshift/s3
}
mkdir -p /var/log /var/lib/planeshift
for name in "$@"; do keep "$name" & done
wait
