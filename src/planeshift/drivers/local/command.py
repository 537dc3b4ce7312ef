"""Run a command to its end, its output a line at a time to whoever waits."""

from __future__ import annotations

import collections
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from planeshift.errors import PlaneshiftError, Problem, control_free
from planeshift.ports import Say


def run(argv: Sequence[str], environment: Mapping[str, str], directory: str, say: Say) -> None:
    """Run `argv` with exactly this environment. Raises PlaneshiftError (PS603) with its last lines where it fails.

    It gets a session of its own, so that an interrupt at the terminal reaches us alone.
    """
    last: collections.deque[str] = collections.deque(maxlen=15)
    try:
        with subprocess.Popen(
            argv,
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                last.append(control_free(line.rstrip()))
                say(last[-1])
    except OSError as error:
        raise PlaneshiftError(Problem("PS603", f"{Path(argv[0]).name} cannot be run: {error.strerror}")) from error
    if process.returncode:
        name = " ".join([Path(argv[0]).name, *argv[1:3]])
        how = f"was ended by signal {-process.returncode}" if process.returncode < 0 else f"exited {process.returncode}"
        raise PlaneshiftError(Problem("PS603", f"`{name}` {how}", why="\n".join(last)))
