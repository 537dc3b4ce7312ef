"""What a shift tells: one JSON object a line in `shifts/<UTC time>-<service>/events.jsonl`, the one source of every view.

A line is written and flushed at once, so a kill costs no more than half of a last line, which readers leave out. Times are
ISO 8601 in UTC; shares are percents of the service's traffic by backend; latencies are milliseconds, None where nothing was
measured. `evidence` and reasons may hold foreign text: whoever shows them escapes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Shares = Mapping[str, float]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
State = Literal["watching", "passed", "failed", "waived"]
Result = Literal["done", "returned", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    at: str
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift(_Event):
    """A shift begins: `steps` are the percents of the traffic that have moved after each, watched for `seconds`."""

    event: Literal["shift"] = "shift"
    before: Annotated[Mapping[str, Finite], Field(alias="from")]
    after: Annotated[Mapping[str, Finite], Field(alias="to")]
    steps: tuple[Finite, ...]
    seconds: Finite
    who: str = ""
    edges: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(_Event):
    """Step `step` (from 1) of `steps` has been taken on every edge; `achieved` is what whole weights really make."""

    event: Literal["step"] = "step"
    step: Count
    steps: Count
    shares: Mapping[str, Finite]
    achieved: Mapping[str, Finite]
    took_ms: Finite


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests of a backend that ended within a sample's `seconds`."""

    requests: Count = 0
    failed: Count = 0
    p50: Finite | None = None
    p99: Finite | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """What is watched, how it stands, and why in a few words."""

    name: str
    state: State
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(_Event):
    """The last `seconds` of a step; `left` seconds remain until its verdict."""

    event: Literal["sample"] = "sample"
    step: Count
    seconds: Finite
    left: Finite
    shares: Mapping[str, Finite]
    backends: Mapping[str, Traffic]
    gates: tuple[Gate, ...] = ()

    def rate(self, count: int) -> float:
        """A count of this sample, a second."""
        return count / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(_Event):
    """How a step was judged."""

    event: Literal["verdict"] = "verdict"
    step: Count
    state: Literal["passed", "failed"]
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Return(_Event):
    """All traffic went back to `shares` in one move, `took_ms` after the verdict."""

    event: Literal["return"] = "return"
    shares: Mapping[str, Finite]
    took_ms: Finite
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence(_Event):
    """What was seen of the failing side: the last lines of a log, an answer, a state."""

    event: Literal["evidence"] = "evidence"
    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End(_Event):
    """The shift is over, after `seconds`; `requests` and `failed` are of all backends, from its begin."""

    event: Literal["end"] = "end"
    result: Result
    requests: Count
    failed: Count
    seconds: Finite


Event = Shift | Step | Sample | Verdict | Return | Evidence | End


@cache
def _adapter() -> TypeAdapter[Event]:
    from pydantic import TypeAdapter

    return TypeAdapter(Annotated[Event, Field(discriminator="event")])


def to_json(event: Event) -> str:
    """An event as one line, its end included. Raises ValueError for what JSON has no form for (infinite, not a number)."""
    import json

    plain = _adapter().dump_python(event, mode="json", by_alias=True)
    return json.dumps({"event": event.event, **plain}, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(line: str | bytes) -> Event:
    """The event of a line. Raises ValueError where it is none; keys of a later version are left out."""
    try:
        return _adapter().validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"not an event of a shift: {where}: {first['msg']}") from error


def read(lines: Iterable[str | bytes]) -> Iterator[Event]:
    """The events of a log; what is none (half of a last line after a kill, a later version's) is left out."""
    for line in lines:
        try:
            yield from_json(line)
        except ValueError:
            continue
