"""Lines of the edge's log, as `render.haproxy` has HAProxy write them, to requests. Pure.

Fields: https://docs.haproxy.org/2.6/configuration.html#8.2.4. Termination states: section 8.5 of the same.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass

NO_SERVER = "<NOSRV>"
_LINE = re.compile(
    r"(?P<ended>\d{10,15}) \S+ \[[^\]]*\] \S+ (?P<service>[^/ ]+)/(?P<server>\S+)"
    r" (?P<TR>-?\d+)/(?P<Tw>-?\d+)/(?P<Tc>-?\d+)/(?P<Tr>-?\d+)/\+?(?P<Ta>-?\d+)"
    r" (?P<status>-?\d{1,3}) \+?\d+ (?P<state>\S\S)\S* \d+/\d+/\d+/\d+/\+?\d+ (?P<request>\"[^\"]*\"|\S+)",
    re.ASCII,
)
_DROPPED = re.compile(r"(\d+) events? dropped$", re.ASCII)
_WORD = re.compile(r"v?[0-9]{1,2}(\.[0-9]{1,2})?|v?[a-z][a-z_-]{0,30}", re.ASCII)
_SEGMENTS = 6


@dataclass(frozen=True, slots=True)
class Request:
    """A request that ended.

    `failed` means that the server's side failed it: see `failure`. A client that gave up before the answer began has
    waited at least `wait_ms`, which then is all of its time.
    """

    at: float  # when its first byte came, seconds since 1970
    service: str  # HAProxy's backend
    server: str
    status: int  # -1 where there was no answer
    wait_ms: float  # Tw + Tc + Tr: from there to the first byte of the server's answer
    total_ms: float
    state: str  # the first two letters of the termination state
    failed: bool
    kind: str  # the method and the shape of the path, names and numbers in it left out

    @property
    def text(self) -> str:
        """For people: when, who, what, and what came of it."""
        at = datetime.datetime.fromtimestamp(self.at, datetime.UTC).isoformat(timespec="milliseconds")[:-6]
        answer = self.status if self.status > 0 else "no answer"
        ended = "" if self.state == "--" else f" (ended: {self.state})"
        return f"{at}Z {self.server} {self.kind}: {answer} after {self.total_ms:.0f} ms{ended}"


@dataclass(frozen=True, slots=True)
class Lines:
    """What was made of a number of lines."""

    requests: tuple[Request, ...] = ()
    unreadable: int = 0
    dropped: int = 0  # lines that HAProxy says that it could not keep for us


def read(lines: Iterable[str]) -> Lines:
    """Requests of lines; what cannot be read is counted, and raises nothing. HAProxy's own messages are passed over."""
    found, unreadable, dropped = [], 0, 0
    for line in lines:
        request = parse(line)
        if request is not None:
            found.append(request)
        elif lost := _DROPPED.fullmatch(line):
            dropped += int(lost[1])
        elif line[:1].isdigit():
            unreadable += 1
    return Lines(tuple(found), unreadable, dropped)


def parse(line: str) -> Request | None:
    """The request of a line; None where it cannot be read."""
    match = _LINE.match(line)
    if match is None:
        return None
    ended, service, server, _, tw, tc, tr, ta, code, state, request = match.groups()
    status, total = int(code), max(0, int(ta))
    waited = [int(part) for part in (tw, tc, tr)]
    wait = total if min(waited) < 0 else sum(waited)
    at = int(ended) / 1000 - total / 1000
    return Request(at, service, server, status, wait, total, state, failure(status, state), kind(request))


def failure(status: int, state: str) -> bool:
    """Whether the server's side failed a request.

    The first letter of the state says who ended it: the client by closing (C) or by its silence (c), which is no
    failure whatever status was noted; the server by closing (S), by its silence (s) or by going down (D), or somebody
    by the runtime socket (K), which lost a request. An answer that HAProxy blocked (PH) was no valid one. Where it ended
    in the usual way, or for a cause within HAProxy (I, R, L, P), the status tells.
    """
    by = state[:1]
    if by in ("C", "c"):
        return False
    return by in ("S", "s", "D", "K") or state[:2] == "PH" or status >= 500


def kind(request: str) -> str:
    """What tells requests of a different nature apart: `GET /v2/images/*/file` of `"GET /v2/images/4711/file HTTP/1.1"`."""
    words = request.strip('"').split(" ")
    if len(words) < 2:
        return "?"
    method = words[0] if words[0].isalpha() and len(words[0]) <= 10 else "?"
    segments = words[1].partition("?")[0].split("/")[1 : _SEGMENTS + 1]
    return f"{method} /{'/'.join(s if not s or _WORD.fullmatch(s) else '*' for s in segments)}"
