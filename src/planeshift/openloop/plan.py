"""What is sent, and when. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    from pydantic import TypeAdapter

NOISE = bytes(range(256)) * 4096  # 1 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A request. `{name}` in its URL and headers is what an earlier step kept.

    `size`: so many bytes of noise are its body; `answer`: so many bytes of noise are what it must be answered with.
    `keep`: what is kept of the answer, by name: `header:x-subject-token`, `json:id` (of the top level).
    `share`: what it keeps is for all flows from then on, such as a token that is issued anew now and then.
    """

    name: str
    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    size: int = 0
    answer: int | None = None
    expect: tuple[int, ...] = (200,)
    keep: Mapping[str, str] = field(default_factory=dict)
    share: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Steps one after the other, begun `rate` times a second; after a step that fails, the rest is left out."""

    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    rate: Annotated[float, Field(gt=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A load, of some seconds at most. `kept` is there from the beginning; `ca_file` has certificates that are trusted."""

    flows: tuple[Flow, ...]
    seconds: float = 3600.0
    kept: Mapping[str, str] = field(default_factory=dict)
    ca_file: str = ""


def due(flows: Sequence[Flow], flow: int, number: int) -> float:
    """When a flow begins for the `number`th time, in seconds: evenly, and no two flows at the same moment."""
    return (number + (flow + 0.5) / len(flows)) / flows[flow].rate


def noise(size: int) -> bytes:
    """So many bytes, always the same."""
    return (NOISE * (size // len(NOISE) + 1))[:size]


def to_json(plan: Load) -> str:
    """A plan as one line."""
    return _adapter().dump_json(plan).decode()


def from_json(text: str | bytes) -> Load:
    """The plan of a line. Raises ValueError where it is none."""
    return _adapter().validate_json(text)


@cache
def _adapter() -> TypeAdapter[Load]:
    from pydantic import TypeAdapter

    return TypeAdapter(Load)
