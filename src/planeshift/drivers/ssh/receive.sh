# Makes an environment of a tree, complete or not at all. Arguments: its directory, the interpreter, yes for the system's
# packages. Standard input: a gzipped tar of what lies in an environment.
set -eu
umask 077
final=$1 python=$2 system=$3
mkdir -p "$(dirname "$final")"
find "$(dirname "$final")" -maxdepth 1 -name '.*.partial' -mmin +60 -exec rm -rf {} +
partial=$(dirname "$final")/.$(basename "$final").$$.partial
trap 'rm -rf "$partial"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$partial"
tar -xzf - -C "$partial"
ln -s "$python" "$partial/bin/python"
ln -s python "$partial/bin/python3"
home=$(dirname "$(readlink -f "$python")")
[ "$system" = yes ] && system=true || system=false
printf 'home = %s\ninclude-system-site-packages = %s\n' "$home" $system >"$partial/pyvenv.cfg"
"$partial/bin/python" -c 'import sys; sys.exit(sys.prefix == sys.base_prefix)'
# Once, here, instead of in every program's first start; some packages ship templates that are no valid Python.
"$partial/bin/python" -m compileall -q -j 0 -x '/tests?/|/samples/' -s "$partial" -p "$final" "$partial/lib" >/dev/null || true
[ -e "$final" ] || mv -T "$partial" "$final"
