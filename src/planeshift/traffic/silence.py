"""Whether the edge's log tells of the requests that the edge counts. Pure."""

from __future__ import annotations

from dataclasses import dataclass

PATIENCE = 3.0  # seconds that a line may come after the count of the same request
TOLD = 0.95  # part of the answers that lines must tell of: a few go with a process of HAProxy that dies


@dataclass
class Silence:
    """Of one shift. HAProxy counts an answer as it begins, and writes a line when it has ended."""

    told: int = 0  # lines, of the whole shift
    _answered: int = 0  # answers, as counted
    _ahead: int = 0  # of the lines, the answers were when last counted
    _in_flight: int = 0  # requests that had no line yet
    _least: int = 0  # by which answers were ahead of lines at least: requests without an answer have lines, too
    _before: int = 0
    _since: float | None = None

    def begin_step(self) -> None:
        """A step begins."""
        self._least, self._before, self._since = self._ahead, self._answered, None

    def count(self, answered: int, in_flight: int) -> None:
        """What the edge counts, of the whole shift, no sooner than all that was told: else lines seem to be ahead."""
        self._answered, self._in_flight, self._ahead = answered, in_flight, answered - self.told
        self._least = min(self._least, self._ahead)

    def uncounted(self) -> None:
        """The edge does not say what it counts at the moment: what was counted before says nothing of the present."""
        self._since = None

    def untold(self, now: float) -> str:
        """How many answers of the step the log did not tell of, if that is too many for too long; else nothing."""
        missing, answers = self._ahead - self._least - self._in_flight, self._answered - self._before
        if missing <= (1 - TOLD) * answers:
            self._since = None
            return ""
        self._since = now if self._since is None else self._since
        if now - self._since < PATIENCE:
            return ""
        return f"the edge has counted {answers} answers, and its log has not told of {missing} of them"
