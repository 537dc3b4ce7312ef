"""Files of a host that is not ours, by ssh: read, and nothing left there."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterable

from planeshift.drivers.ssh.client import Client

_MOST = 16 << 20  # bytes of one file
# A file that is there and may not be read is no file that is missing: nothing is said then but why.
SCRIPT = """\
if ! cd -- "$1"; then [ -e "$1" ] && exit 3; exec tar -cf - -T /dev/null; fi
shift
for file do
  shift
  [ -e "$file" ] || continue
  [ -r "$file" ] || { echo "$PWD/$file may not be read" >&2; exit 3; }
  set -- "$@" "$file"
done
[ $# = 0 ] && exec tar -cf - -T /dev/null
exec tar -chf - -- "$@"
"""


def read_files(client: Client, directory: str, names: Iterable[str]) -> dict[str, bytes]:
    """Those of the named files below a directory there that exist.

    Raises PlaneshiftError (PS470 to PS474) where the host cannot be reached, or a file not be read.
    """
    process, said = client.start(SCRIPT, directory, *names, stdin=subprocess.DEVNULL)
    with process, said:
        packed, _ = process.communicate()
        if process.returncode:
            raise client.failure(said)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        # What is there twice, by a symbolic link say, is a link to the first one here.
        found = [m for m in tar if (m.isfile() or m.islnk()) and m.size <= _MOST]
        return {m.name: file.read() for m in found if (file := tar.extractfile(m))}
