"""To be woken when something changes in a cluster, instead of asking again and again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from planeshift.drivers.kubernetes.talk import Talk

Wait = Callable[[float], None]  # until something changes, or that many seconds have passed
QUIET = 5.0  # seconds without an event after which a watch is begun anew, unless nobody waits any more


@contextlib.contextmanager
def news(talk: Talk, kinds: Mapping[Any, Mapping[str, Any]]) -> Iterator[Wait]:
    """Watch kinds of objects, each by its selectors; yields what waits for the next change.

    Each kind is read by a thread with a client of its own, which nobody else touches: a TLS connection that is closed
    while another thread reads it takes the process with it. The threads end by themselves, within QUIET seconds. While
    a watch is broken off, the waiting has its time limit: whoever waits looks for himself each time.
    """
    changed, over = threading.Event(), threading.Event()

    def follow(kind: Any, selectors: Mapping[str, Any]) -> None:
        with contextlib.suppress(Exception), talk.connect(quiet=QUIET) as client:
            while not over.is_set():
                with contextlib.suppress(Exception):  # nothing came, or the API went: the next look tells
                    for _ in client.watch(kind, **selectors):
                        changed.set()
                        if over.is_set():
                            return
                over.wait(0.5)

    def wait(seconds: float) -> None:
        changed.wait(seconds)
        changed.clear()

    for kind, selectors in kinds.items():
        threading.Thread(target=follow, args=(kind, selectors), name=f"watch {kind.__name__}", daemon=True).start()
    try:
        yield wait
    finally:
        over.set()
