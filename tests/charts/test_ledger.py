"""What a server remembers of its store: read in pieces, whatever was cut off or damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from planeshift.charts import ledger
from planeshift.charts.index import Entry, entry
from planeshift.charts.ledger import Ledger


def made(number: int) -> Entry:
    found = {"apiVersion": "v2", "name": f"chart{number}", "version": "1.0.0", "description": "x" * (number * 37)}
    return entry(
        found, f"chart{number}-1.0.0.tgz", size=1, stamp=f"s{number}", created="2026-01-01T00:00:00Z", digest="d"
    )


def known(path: Path) -> tuple[list[str], dict[str, str]]:
    read = Ledger(path, "p")
    entries, unusable = read.load()
    read.close()
    for e in entries.values():
        again = made(int(e.name.removeprefix("chart")))
        assert (e.json, e.yaml, e.weight, e.stamp) == (again.json, again.yaml, again.weight, again.stamp)
    return list(entries), unusable


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Ten entries, one of them gone again, and a file that is no chart."""
    path = tmp_path / "x.ledger"
    log = Ledger(path, "p")
    log.load()
    for number in range(10):
        log.add(made(number))
    log.drop("chart3-1.0.0.tgz")
    log.unusable("broken-1.tgz", "s")
    log.close()
    return path


@pytest.mark.parametrize("piece", [16, 17, 400, 100_000])
def test_pieces_of_any_size_say_the_same(written: Path, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_PIECE", piece)
    expected = [f"chart{n}-1.0.0.tgz" for n in range(10) if n != 3]
    assert known(written) == (expected, {"broken-1.tgz": "s"})


@pytest.mark.parametrize("piece", [17, 100_000])
def test_what_is_cut_off_or_damaged_ends_it_and_writing_goes_on_there(
    written: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_PIECE", piece)
    whole = written.read_bytes()
    for at in range(0, len(whole), 61):
        for damaged in (whole[:at], whole[:at] + b"\xff" * 40, whole[:at] + bytes(100)):
            written.write_bytes(damaged)
            before = known(written)[0]
            assert before == [f"chart{n}-1.0.0.tgz" for n in range(len(before))] or "chart3-1.0.0.tgz" not in before
            log = Ledger(written, "p")
            log.load()
            log.add(made(11))
            log.close()
            assert known(written)[0] == [*before, "chart11-1.0.0.tgz"]
    assert known(written)[0]


def test_of_another_purpose_nothing_is_known(written: Path) -> None:
    other = Ledger(written, "other")
    assert other.load() == ({}, {})
    other.close()
    assert known(written) == ([], {})
