"""What a host asks of the supervisor of a unit: supervisord, one for each unit, or the host's systemd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from planeshift.drivers.local.processes import Marked


@dataclass(frozen=True)
class ProgramState:
    """A program as its supervisor sees it. `started` tells one start from the next."""

    running: bool
    pid: int
    failing: bool
    started: int
    seconds: int  # since then
    problem: str


class Supervisor(Protocol):
    """The supervisor of the unit in `directory`, where what it reads is laid out."""

    directory: Path

    def programs(self) -> dict[str, ProgramState] | None:
        """Its programs; None where nobody supervises the unit."""

    def held(self, there: Sequence[Marked]) -> frozenset[int]:
        """The pids of those processes that it looks after; the others are orphans."""

    def start(self) -> None:
        """Let there be one, and let it start programs that do not run. Raises PlaneshiftError (PS602)."""

    def update(self) -> None:
        """Have it read its files anew: stop what changed or went, start what is new."""

    def restart(self) -> None:
        """Have it read its files anew, and start every program again."""

    def again(self, program: str) -> None:
        """Stop a program, gracefully, and start it."""

    def signal(self, program: str, name: str) -> None:
        """Send a program a signal, by its name without SIG."""

    def shut_down(self, seconds: float) -> None:
        """Stop all programs, gracefully, and let there be none any more."""

    def tail(self, lines: int) -> list[str] | None:
        """The last lines of what its programs said; None where they write files of their own."""
