"""The plan's line comes by standard input; the load ends with that, or with the plan's time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import stat
import sys
import threading

import uvloop

from planeshift.openloop.drive import Drive
from planeshift.openloop.plan import from_json


def tell(lines: str) -> None:
    """To standard output, at once."""
    sys.stdout.write(lines)
    sys.stdout.flush()


async def run(drive: Drive) -> None:
    """Until standard input ends, if it is no file."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def end() -> None:
        if not over.done():
            over.set_result(None)

    def wait() -> None:
        while os.read(0, 65536):
            pass
        with contextlib.suppress(RuntimeError):  # the load was over before
            loop.call_soon_threadsafe(end)

    if not stat.S_ISREG(os.fstat(0).st_mode):
        threading.Thread(target=wait, daemon=True).start()
    await drive.run(over)


def main() -> int:
    """The exit code."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # requests in flight have a connection each
    try:
        drive = Drive(from_json(sys.stdin.readline()), tell)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 64
    try:
        uvloop.run(run(drive))
    except BrokenPipeError:  # nobody listens any more
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
