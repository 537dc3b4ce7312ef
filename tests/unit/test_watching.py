"""Logs of shifts: written by one, watched by others while they grow, whatever becomes of the writer."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from planeshift.app import watching
from planeshift.cli import run
from planeshift.drivers.control import LocalControl
from planeshift.drivers.shiftlogs import KEPT, Tail, Writer, shift_logs
from planeshift.errors import PlaneshiftError
from planeshift.plan.observed import Hold, Standing
from planeshift.traffic import events
from planeshift.traffic.report import report

HERE = Path(__file__).parent / "shifts"
MOVED, RETURNED = (tuple(events.read((HERE / f"{n}.jsonl").read_bytes().splitlines())) for n in ("moved", "returned"))
AT = MOVED[0].at
NAME = "20261125T090207Z-glance"
KEYSTONE = tuple(replace(event, service="keystone") for event in RETURNED)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the logs of a cloud's shifts are."""
    (tmp_path / "cloud.yaml").write_text("not: valid\n")
    return tmp_path / ".planeshift" / "shifts"


def tell(writer: Writer, *told: events.Event) -> None:
    for event in told:
        writer.write(events.to_json(event))


def finish(writer: Writer, *told: events.Event) -> None:
    tell(writer, *told)
    writer.finish(report(told))


def killed(root: Path, count: int) -> None:
    """A shift whose process was killed after some events."""
    code = (
        "import os, sys; from pathlib import Path; from planeshift.drivers.shiftlogs import Writer\n"
        "writer = Writer(Path(sys.argv[1]), 'glance', sys.argv[2])\n"
        "for line in sys.stdin: writer.write(line)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    lines = "".join(map(events.to_json, RETURNED[:count]))
    done = subprocess.run([sys.executable, "-c", code, str(root), RETURNED[0].at], input=lines, text=True, check=False)
    assert done.returncode == -signal.SIGKILL


# --- logs


def test_a_log_is_its_owners_alone(root: Path) -> None:
    writer = Writer(root, "glance", AT)
    finish(writer, *MOVED)
    directory = Path(writer.place)
    assert directory.name == NAME
    assert {p.name: p.stat().st_mode & 0o777 for p in directory.iterdir()} == {
        "events.jsonl": 0o600,
        "report.html": 0o600,
    }
    assert [p.stat().st_mode & 0o777 for p in (directory, root, root.parent)] == [0o700] * 3


def test_shifts_that_begin_within_a_second_have_logs_of_their_own(root: Path) -> None:
    writers = [Writer(root, "glance", AT) for _ in range(3)]
    assert [log.name for log in shift_logs(root)] == [NAME, f"{NAME}.2", f"{NAME}.3"]
    assert {log.service for log in shift_logs(root)} == {"glance"}
    for writer in writers:
        finish(writer, *MOVED)


def test_a_clock_that_was_set_back_changes_no_order(root: Path) -> None:
    for at in ("2026-11-29T15:00:59.5", "2026-11-28T03:00:00", "2026-11-29T15:01:00", "2026-11-29T15:02:00"):
        finish(Writer(root, "glance", at), *MOVED)
    moments = ["20261129T150059Z", "20261129T150100Z", "20261129T150100Z", "20261129T150200Z"]
    names = [f"{moment}-glance" for moment in moments]
    assert [log.name for log in shift_logs(root)] == [*names[:2], f"{names[2]}.2", names[3]]


def test_the_oldest_logs_go(root: Path) -> None:
    for number in range(KEPT + 3):
        log = root / f"2026010{number // 100}T{number % 100:06}Z-glance" / "events.jsonl"
        log.parent.mkdir(parents=True)
        log.touch()
    before = [log.name for log in shift_logs(root)]
    finish(Writer(root, "glance", AT), *MOVED)
    assert [log.name for log in shift_logs(root)] == [*before[4:], NAME]


def test_a_log_is_live_as_long_as_its_writer(root: Path) -> None:
    writer = Writer(root, "glance", AT)
    (log,) = shift_logs(root)
    assert log.is_live() and log.is_live()
    finish(writer, *MOVED)
    assert not log.is_live()
    killed(root, 5)
    assert not shift_logs(root)[-1].is_live()


def test_half_of_a_line_is_left_until_it_is_whole(root: Path) -> None:
    writer = Writer(root, "glance", AT)
    (log,) = shift_logs(root)
    tail, line = Tail(log), events.to_json(MOVED[0]).encode()
    with log.path.open("ab", buffering=0) as file:
        file.write(line[:30])
        assert tail.read() == []
        file.write(line[30:])
        assert tail.read() == [MOVED[0]]
        assert tail.read() == []
    finish(writer, *MOVED)


# --- following


def test_a_shift_is_followed_from_its_begin_to_its_end(root: Path) -> None:
    writer = Writer(root, "glance", AT)
    tell(writer, *MOVED[:3])
    following = watching.follow(root)
    assert [next(following)[1] for _ in range(3)] == list(MOVED[:3])
    tell(writer, *MOVED[3:])
    assert [event for _, event in following] == list(MOVED[3:])
    writer.finish("")


def test_a_writer_that_ends_without_a_word_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(root, "glance", AT)
    tell(writer, *MOVED[:3])
    monkeypatch.setattr(watching.time, "sleep", lambda _: writer._file.close())
    found = list(watching.follow(root))
    assert [event for _, event in found] == [*MOVED[:3], None]
    assert found[-1][0].course.state() == "interrupted"


def test_two_shifts_at_once_are_followed_and_another_services_is_not(root: Path) -> None:
    first, second, third = (Writer(root, name, AT) for name in ("glance", "keystone", "placement"))
    tell(first, *MOVED)
    tell(second, *KEYSTONE)
    tell(third, replace(MOVED[0], service="placement"))
    assert {e.service for _, e in watching.follow(root, "glance") if e} == {"glance"}
    third.finish("")
    found = [event for _, event in watching.follow(root)]
    assert sorted(found, key=lambda e: e.service if e else "") == [*MOVED, *KEYSTONE]
    first.finish("")
    second.finish("")


def test_the_next_shift_is_waited_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(Writer(root, "glance", AT), *MOVED)
    assert list(watching.follow(root)) == []
    looks, writers = list[int](), list[Writer]()  # a log is live as long as its writer

    def begin(_: float) -> None:
        looks.append(1)
        if len(looks) == 3:
            finish(Writer(root, "keystone", AT), *KEYSTONE)  # of another service
        elif len(looks) == 5:
            writers.append(Writer(root, "glance", RETURNED[0].at))
            tell(writers[0], *RETURNED)

    monkeypatch.setattr(watching.time, "sleep", begin)
    assert [event for _, event in watching.follow(root, "glance", wait=True)] == list(RETURNED)


def test_a_log_that_is_removed_is_forgotten(root: Path) -> None:
    finish(Writer(root, "glance", AT), *MOVED)
    watch = watching.Watch(root)
    assert [seen.course.state() for seen, _ in watch.look()] == ["done"]
    for path in (root / NAME).iterdir():
        path.unlink()
    (root / NAME).rmdir()
    assert watch.look() == [] and watch.seen == {}


def test_what_is_remembered_is_newest_first(root: Path) -> None:
    finish(Writer(root, "glance", AT), *MOVED)
    finish(Writer(root, "keystone", KEYSTONE[0].at), *KEYSTONE)
    assert [seen.log.service for seen in watching.past(root)] == ["keystone", "glance"]
    for service, result in (("", "returned"), ("glance", "done"), ("keystone", "returned")):
        last = watching.last(root, service)
        assert last and last.course.state() == result
    assert watching.last(root, "placement") is None and watching.past(root, "placement") == []


def test_a_shift_whose_process_was_killed_gets_its_report_when_it_is_asked_for(root: Path) -> None:
    killed(root, 30)
    last = watching.last(root)
    assert last and not last.log.report.exists()
    assert "interrupted" in watching.report_of(last).read_text()
    running = Writer(root, "glance", "2026-11-26T00:00:00+00:00")
    last = watching.last(root)
    assert last and last.live and not watching.report_of(last).exists()
    running.finish("")


def test_holds_are_those_that_control_notes(root: Path) -> None:
    assert watching.holds(root) == {}
    root.mkdir(parents=True)
    hold, control = Hold(AT, "errors", "digest", ""), LocalControl(root.parent)
    control.stand("glance", Standing({}, {}, {}, hold))
    control.stand("keystone", Standing({}, {}, {}))
    assert watching.holds(root) == {"glance": hold}


def test_a_cloud_file_need_not_be_valid_but_there(root: Path) -> None:
    file = root.parent.parent / "cloud.yaml"
    assert watching.place(str(file)) == root
    assert watching.name(str(file)) == file.parent.name
    with pytest.raises(PlaneshiftError, match="PS105"):
        watching.place(str(file.with_name("other.yaml")))


# --- the command


class Terminal:
    """What a person sees of a program: cursor up, erase below, carriage return; colours are left out."""

    def __init__(self, columns: int, lines: int) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._text = ""

    def screen(self) -> list[str]:
        while select.select([self.ours], [], [], 0)[0]:
            self._text += os.read(self.ours, 65536).decode()
        lines, at, column = [""], 0, 0
        for token in re.findall(r"\x1b\[\d*[A-Za-z]|\r|\n|[^\x1b\r\n]+", self._text):
            if token == "\r":
                column = 0
            elif token == "\n":
                at += 1
                lines += [""] * (at + 1 - len(lines))
            elif token.endswith("A") and token[0] == "\x1b":
                at -= int(token[2:-1])
                assert at >= 0
            elif token == "\x1b[J":
                lines[at:] = [lines[at][:column]]
            elif token[0] != "\x1b":
                lines[at] = lines[at][:column].ljust(column) + token + lines[at][column + len(token) :]
                column += len(token)
        return lines

    def wait(self, what: Callable[[list[str]], bool]) -> list[str]:
        until = time.monotonic() + 60
        while not what(screen := self.screen()):
            assert time.monotonic() < until, "\n".join(screen)
            time.sleep(0.05)
        return screen


def test_watch_on_a_terminal(root: Path) -> None:
    terminal = Terminal(160, 30)
    writer = Writer(root, "glance", RETURNED[0].at)
    verdict = next(n for n, e in enumerate(RETURNED) if isinstance(e, events.Verdict) and e.state == "failed")
    tell(writer, *RETURNED[:verdict])
    command = [sys.executable, "-m", "planeshift", "watch", "-f", str(root.parent.parent / "cloud.yaml")]
    with subprocess.Popen(command, stderr=terminal.theirs, env={**os.environ, "TERM": "xterm"}) as process:
        lines = terminal.wait(lambda lines: lines[-1].endswith("verdict in 13 s"))
        assert "glance: step 2 of 5 passed: 137 requests to pods, 2 failed" in lines
        block = lines.index("glance: vms → pods   step 3 of 5")
        assert "✓ 5 %  ▸ 25 %" in lines[block + 3] and len(lines) == block + 10
        finish(writer, *RETURNED[verdict:])
        terminal.wait(lambda lines: process.poll() is not None)  # reading on: one that is full holds its writer up
        assert process.poll() == 1
    lines = terminal.screen()
    assert lines[-4].startswith("glance: all traffic is back") and lines[-3].startswith("glance: returned after 32 s")
    assert lines[-2].startswith("its report: ") and lines[-2].endswith("report.html") and lines[-1] == ""
    assert not any("verdict in" in line for line in lines)  # the block is gone
    os.close(terminal.ours)
    os.close(terminal.theirs)


def test_watch_as_json_is_the_log(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent.parent)
    writer = Writer(root, "glance", AT)
    tell(writer, *MOVED)
    assert run(["watch", "glance", "-o", "json"]) == 0
    assert capsys.readouterr().out == "".join(map(events.to_json, MOVED))
    writer.finish("")


def test_an_interrupt_of_watch_is_no_failure_of_ours(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(root.parent.parent)
    monkeypatch.setattr(watching.time, "sleep", interrupt)
    writer = Writer(root, "glance", AT)
    tell(writer, *MOVED[:5])
    assert run(["watch"]) == 130
    assert "error" not in capsys.readouterr().err
    finish(writer, *MOVED[5:])
