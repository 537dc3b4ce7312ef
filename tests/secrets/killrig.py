"""Runs `planeshift …` in a forked process that ends itself, by a signal, at a line of ours (test_secrets_killed.py).

A request is a line of JSON on standard input: `argv`, `env`, `directory`, `stdin`, and `signal` with `line`, the number of
the line of Planeshift's secrets and commands that is not reached any more (0: all are). The answer is one on standard
output: `status` as wait(2) gives it, `lines` that were reached, `shown` (which processes have one of `hidden` in their
arguments or environment at that moment), `left` (descendants that outlive it).
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import struct
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import planeshift.app.site
import planeshift.cli.secretaudit
import planeshift.cli.secretkeys
import planeshift.cli.secrets
import planeshift.cli.secretstore
import planeshift.cli.secretwrap
from planeshift.__main__ import main

OURS = tuple(str(Path(planeshift.__file__).parent / p) + "/" for p in ("secrets", "cli"))
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of <sys/prctl.h>
PATIENCE = 20


def child(request: dict[str, Any], reached: mmap.mmap) -> None:
    """Be the command."""
    receive, send = os.pipe()
    if os.fork() == 0:
        os.close(receive)
        os.write(send, request["stdin"].encode())
        os._exit(0)
    os.close(send)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for source, target in ((receive, 0), (nowhere, 1), (nowhere, 2)):
        os.dup2(source, target)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["env"])
    command, count, last = os.getpid(), 0, request["line"]

    def line(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        if event == "line":
            count += 1
            reached[:8] = struct.pack("q", max(count, *struct.unpack("q", reached[:8])))
            if count == last:
                if os.getpid() == command:
                    os.kill(command, signal.SIGSTOP)  # to be looked at
                os.kill(os.getpid(), request["signal"])
        return line

    def call(frame: FrameType, event: str, argument: object) -> Any:
        return line if frame.f_code.co_filename.startswith(OURS) else None

    sys.argv = ["planeshift", *request["argv"]]
    sys.settrace(call)
    main()


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Carry out a request."""
    reached = mmap.mmap(-1, 8)
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            for each in signal.Signals:
                if each not in (signal.SIGKILL, signal.SIGSTOP):
                    signal.signal(each, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            child(request, reached)
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        finally:
            os._exit(code)
    shown: list[str] = []
    status, ended = -1, time.monotonic() + PATIENCE
    left: list[int] = []
    while not left:
        try:
            found, what = os.waitpid(-1, os.WUNTRACED | os.WNOHANG)
        except ChildProcessError:
            break
        if found and os.WIFSTOPPED(what):
            shown += showing(request["hidden"])
            os.kill(found, signal.SIGCONT)
        elif found == pid:
            status = what
        elif not found:
            left = descendants() if time.monotonic() > ended else []
            time.sleep(0.001)
    for each in left:
        os.kill(each, signal.SIGKILL)
    return {"status": status, "lines": struct.unpack("q", reached[:8])[0], "shown": shown, "left": left}


def showing(hidden: list[str]) -> list[str]:
    """What processes show of texts that are to be hidden."""
    texts = [h.encode() for h in hidden]
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                content = (process / name).read_bytes()
            except OSError:
                continue
            found += [f"{process}/{name}" for t in texts if t in content]
    return found


def descendants() -> list[int]:
    """The children that are left, which are those of children that ended, too."""
    return [int(p) for p in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    for asked in sys.stdin:
        print(json.dumps(serve(json.loads(asked))), flush=True)
