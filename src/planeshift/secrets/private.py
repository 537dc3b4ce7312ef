"""Plaintext kept in memory: no core dumps, no swap where it can be locked, and a file system that dies with its process."""

from __future__ import annotations

import ctypes
import os
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from planeshift.errors import PlaneshiftError, Problem

# <sys/prctl.h>, <sched.h>, <sys/mount.h>, <sys/mman.h>
_PR_SET_PDEATHSIG, _PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 1, 3, 4
_NEWNS, _NEWUSER = 0x00020000, 0x10000000
_NOSUID, _NODEV, _NOEXEC, _REC, _PRIVATE = 2, 4, 8, 0x4000, 1 << 18
_PLACES = ("/mnt", "/media", "/srv", "/opt")
# What else editors keep of a text: swap files beside it die with it, the rest is told not to.
_CAREFUL = {
    "vi": ("-n",),
    "vim": ("-n", "-i", "NONE", "--cmd", "set noundofile nobackup nowritebackup"),
    "nvim": ("-n", "-i", "NONE", "--cmd", "set noundofile nobackup nowritebackup"),
}
_libc = ctypes.CDLL(None, use_errno=True)


def guard() -> None:
    """Keep this process's memory out of core dumps and other processes' hands, and out of swap where it may be locked."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        _libc.mlockall(3)  # MCL_CURRENT | MCL_FUTURE; with a limit, allocations would begin to fail


def die_with_parent(parent: int) -> Callable[[], None]:
    """What a child calls before it becomes another program, so that it ends when we do, kill -9 included."""

    def tie() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return tie


def edited(text: str, name: str, editor: str) -> str:
    """Have a person edit a text under a file name that lives in a private memory file system.

    Raises PlaneshiftError (PS1014) where the editor cannot be run or fails, or no private file system can be had.
    """
    receive, send = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(receive)
        code = 1
        try:
            die_with_parent(parent)()
            code = _child(text, name, editor, send)
        except BaseException as error:
            with os.fdopen(send, "wb") as out:
                out.write(b"!" + str(error).encode())
        finally:
            os._exit(code)
    os.close(send)
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the editor's while it runs
    try:
        with os.fdopen(receive, "rb") as source:
            answer = source.read()
        os.waitpid(child, 0)
    finally:
        signal.signal(signal.SIGINT, ignored)
    if answer[:1] != b"=":
        why = answer[1:].decode("utf-8", "replace") or "it was killed"
        raise PlaneshiftError(
            Problem("PS1014", f"{editor} did not edit the text", why=why, hint="The file is as it was.")
        )
    return answer[1:].decode("utf-8", "surrogateescape")


def _child(text: str, name: str, editor: str, send: int) -> int:
    place = Path(memory())
    file = place / name.lstrip(".")
    file.touch(0o600)
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    words = shlex.split(editor)
    words[1:1] = _CAREFUL.get(Path(words[0]).name, ())
    environment = {**os.environ, "TMPDIR": str(place)}
    done = subprocess.run(
        [*words, str(file)], env=environment, cwd=place, check=False, preexec_fn=die_with_parent(os.getpid())
    )
    with os.fdopen(send, "wb") as out:
        if done.returncode:
            out.write(f"!it ended with {done.returncode}".encode())
            return 1
        out.write(b"=" + file.read_bytes())
    return 0


def memory() -> str:
    """Make a file system of memory that only this process and its children see, and say where. Not swapped: ramfs.

    What is below that directory otherwise, mostly nothing, they do not see any more. Raises OSError where it cannot be had.
    """
    uid, gid = os.getuid(), os.getgid()
    if _libc.unshare(_NEWNS) != 0:
        _check(
            _libc.unshare(_NEWNS | _NEWUSER), "a private mount namespace cannot be had (are user namespaces allowed?)"
        )
        guarded = _libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
        _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # while it is guarded, /proc/self is root's
        try:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        finally:
            _libc.prctl(_PR_SET_DUMPABLE, guarded, 0, 0, 0)
    _check(_libc.mount(b"none", b"/", None, _REC | _PRIVATE, None), "mounts cannot be made private")
    there = [p for p in _PLACES if Path(p).is_dir()]
    place = next((p for p in there if not any(Path(p).iterdir())), there[0] if there else "/tmp")  # noqa: S108 - for us alone
    flags = _NOSUID | _NODEV | _NOEXEC
    _check(
        _libc.mount(b"ramfs", place.encode(), b"ramfs", flags, b"mode=0700"), "a file system of memory cannot be had"
    )
    return place


def _check(outcome: int, what: str) -> None:
    if outcome != 0:
        raise OSError(f"{what}: {os.strerror(ctypes.get_errno())}")


def editor() -> str:
    """The person's editor."""
    for name in ("SOPS_EDITOR", "VISUAL", "EDITOR"):
        if os.environ.get(name):
            return os.environ[name]
    if not sys.stdin.isatty():
        raise PlaneshiftError(
            Problem("PS1014", "there is no terminal to edit on", hint="`set` changes a single value.")
        )
    return "vi"
