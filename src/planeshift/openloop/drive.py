"""Carries a plan out: sends each request when it is due."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import Callable
from functools import lru_cache

import httptools

from planeshift.openloop.client import Answer, Client
from planeshift.openloop.plan import Load, Step, due, noise
from planeshift.openloop.tally import Lines

TIMEOUT = 60.0  # seconds after which a request without an answer has failed
TELL = 0.5  # seconds between two tellings
SHOWN = 300  # characters of an answer that are told of a failure


class Drive:
    """One load. `tell` is given lines while it goes on. Raises OSError where the file of certificates cannot be read."""

    def __init__(self, plan: Load, tell: Callable[[str], None]) -> None:
        self.plan, self.tell = plan, tell
        self.lines = Lines()
        self.client = Client(plan.ca_file)
        self.kept = dict(plan.kept)
        self.under_way: set[asyncio.Task[None]] = set()
        self.error: BaseException | None = None  # ours, not a server's

    async def run(self, until: asyncio.Future[None]) -> None:
        """Until the plan's time is over or `until` is done, and then until the last answer."""
        loop = asyncio.get_running_loop()
        self.begin = loop.time()
        self.epoch = time.time() - self.begin
        timers = [loop.call_later(0, self._begin, flow, 0) for flow in range(len(self.plan.flows))]
        self.timers = dict(enumerate(timers))
        telling = loop.create_task(self._tell())
        await asyncio.wait([until], timeout=self.plan.seconds)
        for timer in self.timers.values():
            timer.cancel()
        while self.under_way:
            await asyncio.wait(set(self.under_way))
        telling.cancel()
        self.client.close()
        self.tell(self.lines.flush())
        if self.error:
            raise self.error

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(TELL)
            self.tell(self.lines.flush())

    def _begin(self, flow: int, number: int) -> None:
        """Begin what is due of a flow, and come back when more is."""
        loop = asyncio.get_running_loop()
        while (at := self.begin + due(self.plan.flows, flow, number)) <= loop.time():
            task = loop.create_task(self._flow(flow, at))
            self.under_way.add(task)
            task.add_done_callback(self._ended)
            number += 1
        self.timers[flow] = loop.call_at(at, self._begin, flow, number)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.under_way.discard(task)
        self.error = task.exception() or self.error

    async def _flow(self, flow: int, at: float) -> None:
        loop, kept = asyncio.get_running_loop(), dict[str, str]()
        for step in self.plan.flows[flow].steps:
            why = await self._step(step, kept)
            now = loop.time()
            self.lines.add(step.name, self.epoch + at, now - at, why)
            if why:
                return
            at = now

    async def _step(self, step: Step, kept: dict[str, str]) -> str:
        """Send a step's request; why it failed, or nothing."""
        known = self.kept | kept
        try:
            async with asyncio.timeout(TIMEOUT):
                headers = {name: value.format_map(known) for name, value in step.headers.items()}
                body = noise(step.size) if step.size else step.body.encode()
                answer = await self.client.send(step.method, step.url.format_map(known), headers, body)
            why = wrong(step, answer)
            if not why:
                (self.kept if step.share else kept).update(_keep(step, answer))
        except TimeoutError:
            return f"no answer within {TIMEOUT:.0f} s"
        except (OSError, EOFError, KeyError, ValueError, httptools.HttpParserError) as error:
            return f"{type(error).__name__}: {error}"
        return why


def wrong(step: Step, answer: Answer) -> str:
    """What is wrong with an answer; nothing where it is what was expected."""
    if answer.status not in step.expect:
        said = bytes(answer.body[:SHOWN]).decode("utf-8", "replace")
        return f"status {answer.status}: {said}"
    if step.answer is not None and (answer.size, answer.crc) != (step.answer, _crc(step.answer)):
        return f"other bytes than were sent: {answer.size} of {step.answer}"
    return ""


@lru_cache
def _crc(size: int) -> int:
    return zlib.crc32(noise(size))


def _keep(step: Step, answer: Answer) -> dict[str, str]:
    """Raises KeyError or ValueError where the answer lacks what is to be kept."""
    found = {}
    for name, place in step.keep.items():
        kind, _, key = place.partition(":")
        found[name] = answer.headers[key] if kind == "header" else str(json.loads(answer.body)[key])
    return found
