# Removes what we keep of a cloud, and what all clouds share where no other is left. Arguments: what lies in memory, what
# lies on disk, the directory of all clouds.
set -eu
rm -rf -- "$1" "$2"
rmdir -- "$(dirname "$1")" 2>/dev/null || true
for other in "$3"/*; do
  case $(basename "$other") in agents | cache | '*') ;; *) exit 0 ;; esac
done
rm -rf -- "$3/agents" "$3/cache"
rmdir -- "$3" 2>/dev/null || true # something of the operator's own may lie there
