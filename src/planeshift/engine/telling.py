"""What is told of a shift: events, to who watches and to its log, out of which its report is made when it is over."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal

from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError
from planeshift.traffic import events
from planeshift.traffic.figures import Figures, by_backend
from planeshift.traffic.gates import Reason, Verdict
from planeshift.traffic.lines import Request
from planeshift.traffic.report import report

LINES = 60  # of a log, the last ones, that are kept as evidence
Shares = Mapping[str, float]


class Telling:
    """The story of one mover's shift; it begins when this is made."""

    def __init__(self, world: World, mover: str) -> None:
        self.world, self.mover = world, mover
        self.began = world.clock.monotonic()
        self._log = world.control.shift_log(mover)
        self._told: list[events.Event] = []

    @property
    def place(self) -> str:
        """The directory of the log and the report."""
        return self._log.place

    @property
    def _at(self) -> str:
        return self.world.clock.now()

    def _tell(self, event: events.Event) -> None:
        self._told.append(event)
        self._log.write(events.to_json(event))
        self.world.watch(event)

    def begin(self, origin: Shares, target: Shares, stages: Sequence[Shares], seconds: float) -> None:
        """A shift begins, by these stages, each watched for so many seconds."""
        self._tell(
            events.Shift(
                at=self._at,
                service=self.mover,
                before=origin,
                after=target,
                steps=tuple(_moved(origin, shares) for shares in stages),
                seconds=seconds,
                who=self.world.clock.who(),
                edges=tuple(self.world.desired.fronts),
            )
        )

    def step(self, number: int, steps: int, shares: Shares, achieved: Shares, took_ms: float) -> None:
        """A step has been taken."""
        self._tell(
            events.Step(
                at=self._at,
                service=self.mover,
                step=number,
                steps=steps,
                shares=shares,
                achieved=achieved,
                took_ms=took_ms,
            )
        )

    def sample(
        self,
        number: int,
        shares: Shares,
        served: Iterable[tuple[str, Request]],
        seconds: float,
        left: float,
        verdict: Verdict,
    ) -> None:
        """What each backend served in these seconds, and how the gates stand, so many seconds before the step's end."""
        figures = by_backend(served)
        self._tell(
            events.Sample(
                at=self._at,
                service=self.mover,
                step=number,
                seconds=round(seconds, 2),
                left=round(left, 1),
                shares=shares,
                backends={b: _traffic(figures.get(b, Figures())) for b in shares},
                gates=tuple(events.Gate(g.name, g.state, g.detail) for g in verdict.gates),
            )
        )

    def verdict(self, number: int, state: Literal["passed", "failed"], reasons: Iterable[Reason]) -> None:
        """A step is judged."""
        why = tuple(texts(reasons))
        self._tell(events.Verdict(at=self._at, service=self.mover, step=number, state=state, reasons=why))

    def returned(self, origin: Shares, took_ms: float, reasons: Sequence[str]) -> None:
        """All of it is back."""
        took = round(took_ms, 2)
        self._tell(events.Return(at=self._at, service=self.mover, shares=origin, took_ms=took, reasons=tuple(reasons)))

    def keep(self, name: str, lines: Iterable[str]) -> None:
        """Keep evidence."""
        self._tell(events.Evidence(at=self._at, service=self.mover, name=name, text="\n".join(lines)))

    def keep_logs(self, backends: Collection[str]) -> None:
        """Keep the last lines of what runs for these backends of the mover's service, where they can be had."""
        service = self.mover.partition("@")[0]
        for name, lines in self._logs({(service, backend) for backend in backends}):
            self.keep(f"log of {name}", lines)

    def _logs(self, places: Collection[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
        world, desired = self.world, self.world.desired
        units = [n for n, u in desired.units.items() if (u.unit.service, u.unit.backend) in places]
        pods = [n for n, p in desired.pods.items() if (p.pods.service, p.pods.backend) in places]
        tails = [(n, world.host_of(n).tail) for n in units] + [(n, world.cluster_of(n).tail) for n in pods]
        for name, tail in tails:
            with contextlib.suppress(PlaneshiftError):
                yield name, tail(name, LINES)

    def end(self, result: events.Result, requests: int, failed: int) -> None:
        """It is over; the report is made."""
        seconds = round(self.world.clock.monotonic() - self.began, 1)
        self._tell(
            events.End(
                at=self._at,
                service=self.mover,
                result=result,
                requests=requests,
                failed=failed,
                seconds=seconds,
            )
        )
        self._log.finish(report(self._told))


def texts(reasons: Iterable[Reason]) -> list[str]:
    """Reasons for people."""
    return [f"{reason.gate}: {reason.text}" for reason in reasons]


def _moved(origin: Shares, shares: Shares) -> float:
    return round(sum(max(0.0, share - origin.get(b, 0.0)) for b, share in shares.items()), 3)


def _traffic(figures: Figures) -> events.Traffic:
    return events.Traffic(requests=figures.requests, failed=figures.failed, p50=figures.p50, p99=figures.p99)
