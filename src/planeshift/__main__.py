"""The `planeshift` program. Nothing is imported before it is known to be needed: `--version` answers at once."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and exit with its code (`planeshift.errors.Exit`)."""
    if sys.argv[1:] == ["--version"]:
        from planeshift import __version__

        print(f"planeshift {__version__}")
        return
    if sys.argv[1:3] == ["image", "build"]:
        from planeshift.app.unchanged import answer

        said = answer(sys.argv[1:], os.environ)
        if said is not None:
            sys.stdout.write(said)
            return
    if sys.argv[1:3] == ["secrets", "view"] and len(sys.argv) == 4 and not sys.argv[3].startswith("-"):
        from planeshift.secrets.quick import view

        if view(sys.argv[3]):
            return
    from planeshift.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
