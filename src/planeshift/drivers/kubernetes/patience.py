"""A cluster's API that comes and goes: while an operation is under way it is asked again, for a bounded time.

A server that starts anew, or a balancer in front of several, refuses connections for a while, or answers 503; so long we
wait, and say so. Whoever only looks, as `plan` and `status` do, is told at once.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TypeVar

import httpx2

from planeshift.errors import PlaneshiftError
from planeshift.ports import Say

SECONDS = 120.0  # for which it is asked again; an API server that was killed is back after some tens of them
PAUSE = 1.0
SETTLING = 30.0  # after it was away: so long it may refuse us, since it has not read yet who may do what
_AWAY = (429, 503, 504)
_REFUSED = (401, 403)
_TELL = 5.0  # seconds between two lines of progress
_say: ContextVar[Say | None] = ContextVar("say", default=None)
T = TypeVar("T")


@contextlib.contextmanager
def patient(say: Say) -> Iterator[None]:
    """In this context, and thread, requests that find the API away are made again; `say` is told."""
    token = _say.set(say)
    try:
        yield
    finally:
        _say.reset(token)


class _Wait:
    """One wait for the API."""

    def __init__(self, say: Say) -> None:
        self._say, self._began, self._told = say, time.monotonic(), 0.0

    def over(self, why: str, pause: float = PAUSE) -> bool:
        """Whether it has lasted long enough; else let some time pass."""
        waited = time.monotonic() - self._began
        if waited >= SECONDS:
            return True
        if not self._told or waited - self._told >= _TELL:
            self._told = waited or PAUSE
            self._say(f"waiting for the API since {waited:.0f} s: {why}")
        time.sleep(pause)
        return False


def again(work: Callable[[], T], say: Say) -> T:
    """Do idempotent work until it does not find the API away (PS711), for a bounded time."""
    wait = _Wait(say)
    while True:
        try:
            return work()
        except PlaneshiftError as error:
            problem = error.problems[0]
            if problem.code != "PS711" or wait.over(problem.why.strip().rpartition("\n")[2] or problem.message):
                raise


class Transport(httpx2.HTTPTransport):
    """How a client's requests go. `quiet` are seconds after which a watch breaks off if nothing comes.

    In a patient context a request is made again, also one that changes something: what we make has a name, so that it is
    not made twice, and what was seen is replaced only as it was seen.
    """

    def __init__(self, verify: ssl.SSLContext, quiet: float | None = None) -> None:
        super().__init__(verify=verify, trust_env=False)
        self._quiet, self._away = quiet, -SETTLING

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if "watch" in request.url.params:
            return self._watch(request)
        say = _say.get()
        if say is None:
            return super().handle_request(request)
        wait = _Wait(say)
        while True:
            try:
                response = super().handle_request(request)
                response.read()  # the whole answer, or none
            except httpx2.TransportError as error:
                self._away = time.monotonic()
                if wait.over(str(error) or type(error).__name__):
                    raise
                continue
            if not self._unsettled(response.status_code) or wait.over(f"it says {response.status_code}"):
                return response

    def _unsettled(self, code: int) -> bool:
        """Whether an answer is of a server that comes or goes."""
        if code in _AWAY:
            self._away = time.monotonic()
        return code in _AWAY or (code in _REFUSED and time.monotonic() - self._away < SETTLING)

    def _watch(self, request: httpx2.Request) -> httpx2.Response:
        if self._quiet is not None:  # the library itself would wait without end
            timeout = {**request.extensions["timeout"], "read": self._quiet}
            request.extensions = {**request.extensions, "timeout": timeout}
        return super().handle_request(request)
