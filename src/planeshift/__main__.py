"""The `planeshift` program. Nothing is imported before it is known to be needed: `--version` answers at once."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code (`planeshift.errors.Exit`)."""
    if sys.argv[1:] == ["--version"]:
        from planeshift import __version__

        print(f"planeshift {__version__}")
        return
    from planeshift.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
