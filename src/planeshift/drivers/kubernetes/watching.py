"""To be woken when something changes in a cluster, instead of asking again and again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lightkube import Client

Wait = Callable[[float], None]  # until something changes, or that many seconds have passed


@contextlib.contextmanager
def news(client: Client, watched: Mapping[Any, Mapping[str, Any]]) -> Iterator[Wait]:
    """Watch kinds of objects, each by its selectors; yields what waits for the next change.

    `client` is this watch's own: it is closed at the end, which ends what is being read. A watch that breaks off leaves
    the waiting to its time limit: whoever waits looks for himself each time.
    """
    changed = threading.Event()

    def follow(kind: Any, selectors: Mapping[str, Any]) -> None:
        with contextlib.suppress(Exception):  # closed by us, or the API went: the next look tells
            for _ in client.watch(kind, **selectors):
                changed.set()

    def wait(seconds: float) -> None:
        changed.wait(seconds)
        changed.clear()

    for kind, selectors in watched.items():
        threading.Thread(target=follow, args=(kind, selectors), name=f"watch {kind.__name__}", daemon=True).start()
    try:
        yield wait
    finally:
        client.close()
