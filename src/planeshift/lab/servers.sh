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
serve_registry() {
  mkdir -p /var/lib/planeshift/registry
  cat >/run/registry.yml <<END
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: /var/lib/planeshift/registry}, delete: {enabled: true}}
http: {addr: ":5000"}
END
  docker-registry serve /run/registry.yml
}
serve_sshd() {
  until [ -s /run/lab-sshd/host_key ]; do sleep 0.1; done # whose keys it takes, and which is its own
  mkdir -p /run/sshd
  /usr/sbin/sshd -D -e -f /dev/null -o HostKey=/run/lab-sshd/host_key -o PidFile=none -o StrictModes=no \
    -o AuthorizedKeysFile=/run/lab-sshd/authorized_keys -o AuthenticationMethods=publickey -o UsePAM=no
}
mkdir -p /var/log /var/lib/planeshift
for name in "$@"; do keep "$name" & done
wait
