# Finds out what a host is, and becomes the agent there. Arguments: our directory, the agent's name.
# Its first word says what follows: `planeshift ready …` the agent, `planeshift needs …` nothing, since it is not there yet.
set -eu
directory=$1 agent=$2
ask='import os, platform, sys
if sys.version_info < (3, 11): sys.exit("too old")
libc = platform.libc_ver()[0] or "musl"
where = os.path.realpath(sys.executable)  # what is found on PATH may be a shim
print("python=%s.%s" % sys.version_info[:2], "version=" + platform.python_version(), "interpreter=" + where, end=" ")
print("machine=" + platform.machine(), "libc=" + libc)'
for python in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11 none; do
  found=$("$python" -c "$ask" 2>/dev/null) && break
done
if [ "$python" = none ]; then
  echo "planeshift lacks python=$(python3 -V 2>/dev/null | cut -d ' ' -f 2)"
  exit 0
fi
manager=/run/systemd/system
[ "$(id -u)" = 0 ] || manager=/run/user/$(id -u)/systemd
systemd=no
[ ! -d "$manager" ] || systemd=yes
place=$directory
while [ ! -d "$place" ]; do place=$(dirname "$place"); done
free=$(df -Pk "$place" | awk 'NR == 2 { print int($4 / 1024) }')
system=$(. /etc/os-release 2>/dev/null && echo "${ID:-}-${VERSION_ID:-}" || true)
set -- $found
tree=$directory/agents/$agent-py${1#python=}
word=ready
[ -e "$tree/bin/python" ] || word=needs
echo "planeshift $word $found systemd=$systemd free=$free system=$system uid=$(id -u)"
[ $word = ready ] || exit 0
cd /
export XDG_CACHE_HOME="$directory/cache" UV_CACHE_DIR="$directory/cache/uv"
exec "$tree/bin/python" -P -m planeshift.drivers.agent
