"""Orders to a running gunicorn: of two signals in a row the kernel may keep one, and none must be taken for done."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from planeshift.drivers.local import gunicorn
from planeshift.errors import PlaneshiftError
from planeshift.render.server import COUNT


class Lossy:
    """A server that takes every `takes`-th signal alone, and says how many workers it wants."""

    def __init__(self, directory: Path, takes: int) -> None:
        self.directory, self.takes, self.sent, self.wanted = directory, takes, 0, 2
        (directory / COUNT).write_text("2")

    def signal(self, program: str, name: str) -> None:
        self.sent += 1
        if self.takes and self.sent % self.takes == 0:
            self.wanted += 1 if name == "TTIN" else -1
            (self.directory / COUNT).write_text(str(self.wanted))


@pytest.fixture
def program() -> Any:
    return SimpleNamespace(name="glance-api", workers=2)


def test_a_signal_that_was_lost_is_sent_again(tmp_path: Path, program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gunicorn, "AGAIN_SECONDS", 0.02)
    server: Any = Lossy(tmp_path, takes=3)
    deadline = time.monotonic() + 60
    for name, wanted in (("TTIN", 3), ("TTIN", 4), ("TTOU", 3), ("TTOU", 2)):
        gunicorn._tell(server, program, name, wanted, deadline)
        assert server.wanted == wanted
    assert server.sent == 12


def test_a_server_that_takes_none_is_told(tmp_path: Path, program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gunicorn, "AGAIN_SECONDS", 0.02)
    server: Any = Lossy(tmp_path, takes=0)
    with pytest.raises(PlaneshiftError) as caught:
        gunicorn._tell(server, program, "TTOU", 1, time.monotonic() + 0.2)
    assert caught.value.problems[0].code == "PS604"
