"""What a person sees, as transcripts: each `*.txt` is a session in an empty directory. `make golden` rewrites them.

# a comment
< FILE            the lines below, up to the next marker, are written to FILE
$ planeshift …    run in-process; its whole output follows, and [exit N] where N is not 0
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from planeshift.cli import run

HERE = Path(__file__).parent
MARKERS = ("$ ", "< ", "# ")


@pytest.mark.parametrize("name", sorted(p.stem for p in HERE.glob("*.txt")))
def test_transcript(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    expected = (HERE / f"{name}.txt").read_text()
    found = "".join(_played(expected, tmp_path))
    if os.environ.get("PLANESHIFT_GOLDEN") == "write":
        (HERE / f"{name}.txt").write_text(found)
    else:
        assert found == expected


def _played(text: str, directory: Path) -> Iterator[str]:
    for block in _blocks(text):
        head, _, body = block.partition("\n")
        if head.startswith("< "):
            path = directory / head[2:]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body)
            yield block
        elif head.startswith("$ "):
            yield f"{head}\n{_output(head[2:], directory)}\n"
        else:
            yield block


def _blocks(text: str) -> Iterator[str]:
    """Each marker with what follows it; a blank line before a marker belongs to the block before."""
    block: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.startswith(MARKERS) and block:
            yield "".join(block)
            block = []
        block.append(line)
    yield "".join(block)


def _output(command: str, directory: Path) -> str:
    program, *arguments = shlex.split(command)
    assert program == "planeshift"
    both = io.StringIO()
    with contextlib.redirect_stdout(both), contextlib.redirect_stderr(both):
        code = run(arguments)
    text = both.getvalue().replace(str(directory), "/home/ann/cloud")
    text = re.sub(
        r"\(20\d\d\.\d\), \d+ packages", "(SERIES), N packages", re.sub(r" \d+\.\d+\.\d+ \(", " X.Y.Z (", text)
    )
    return text + (f"[exit {code}]\n" if code else "")
