"""docs/tutorial.md as a newcomer goes through it: its commands, out of the document, in order, in one shell.

A fence's language says what it is: `sh` is run (`sh exit=1`: and fails so; `sh once`: installs what the machine of the
tests has), `text` is what the `sh` before it prints, `diff FILE` is an edit. In `text`, `…` stands for anything, counts and
times for others. Nothing is changed but addresses, so that it may run beside other labs and clouds.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from labrig import free

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/tutorial.md"
pytestmark = pytest.mark.xdist_group("tutorial")

# What differs from run to run in a line: counts of what was asked, times, how far a plan has come.
VARYING = r"(?<![\w.])[1-9][\d,]*(?:\.\d+)?(?= (?:s|ms|min|requests|round trips|to add|to change)\b)"
COUNTED = r"^ *[1-9]\d*(?= \d{3}$)|^ *\d+/\d+(?= done)"
# A block's first command that fails gives its status. stdout is a file here: unbuffered, it keeps its order with stderr.
SESSION = """
set -E; trap 'code=$?; [ "$status" != 0 ] || status=$code' ERR
while read -r block output; do status=0; . "$block" > "$output" 2>&1; echo "$status"; done
"""


@dataclass(frozen=True)
class Block:
    """A fenced block: its kind (`sh`, `text`, `diff`), what follows that, and its text."""

    kind: str
    more: str
    text: str


@cache
def sections() -> dict[str, list[Block]]:
    """The blocks of the document below each of its headings that has some to run."""
    found: dict[str, list[Block]] = {}
    for section in re.split(r"^## ", DOCUMENT.read_text(), flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        blocks = re.findall(r"^```(\w+) ?(.*)\n((?:.*\n)*?)```$", section, flags=re.MULTILINE)
        found[heading] = [Block(*block) for block in blocks]
    return {heading: blocks for heading, blocks in found.items() if blocks}


class Session:
    """A shell in a directory of its own."""

    def __init__(self, directory: Path, number: int) -> None:
        self.directory, self.number, self.failed = directory, number, ""
        binaries = str(Path(sys.executable).parent)
        environment = os.environ | {
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
        }
        self.shell = subprocess.Popen(
            ["bash", "-c", SESSION],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def elsewhere(self, text: str) -> str:
        """The text with addresses that nobody else uses."""
        here = f"127.55.{self.number}.1"
        local = "hosts: [{name: here, via: local}]"
        text = text.replace(local, f"edges: [{{name: edge, address: {here}}}]\n  {local[:-2]}, address: {here}}}]")
        text = text.replace("127.0.0.1", here).replace("172.30.0.", f"172.28.{self.number}.")
        return text.replace("10.212.", f"10.{100 + self.number}.")

    def run(self, text: str) -> tuple[int, str]:
        """What a block's commands give: the status of the first that fails, or 0; all that they print."""
        assert self.shell.stdin and self.shell.stdout
        with tempfile.TemporaryDirectory() as scratch:
            block, output = Path(scratch) / "block", Path(scratch) / "output"
            block.write_text(self.elsewhere(text))
            self.shell.stdin.write(f"{block} {output}\n")
            self.shell.stdin.flush()
            status = int(self.shell.stdout.readline())
            return status, output.read_text()

    def edit(self, name: str, diff: str) -> None:
        """Make the change of a diff without line numbers, whose old lines stand once in the file."""
        file = Path(f"/proc/{self.shell.pid}/cwd").resolve() / name
        lines = diff.splitlines(keepends=True)
        old, new = (self.elsewhere("".join(x[1:] for x in lines if x[0] in (" ", sign))) for sign in "-+")
        assert file.read_text().count(old) == 1, f"{name} does not have once:\n{old}"
        file.write_text(file.read_text().replace(old, new))

    def end(self) -> None:
        for directory in (self.directory / "moved", self.directory / "first-cloud"):
            if (directory / "cloud.yaml").exists():
                self.run(f"cd {directory}; planeshift down --purge --yes")
            if (directory / "lab.yaml").exists():
                self.run(f"cd {directory}; planeshift lab down --yes")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.shell.pid, signal.SIGKILL)
        self.shell.wait()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    number = next(n for n in itertools.count(60) if free("  hosts: [{name: vm1}]", n))
    made = Session(tmp_path_factory.mktemp("tutorial"), number)
    yield made
    made.end()


@pytest.mark.parametrize("heading", sections())
def test_the_tutorial_goes_as_it_says(heading: str, session: Session) -> None:
    if session.failed:
        pytest.fail(f"not tried: {session.failed} failed before")
    session.failed, printed = heading, ""
    for block in sections()[heading]:
        if block.kind == "sh" and block.more != "once":
            status, printed = session.run(block.text)
            wanted = int(block.more.removeprefix("exit=") or 0)
            assert status == wanted, f"exit {status}\n{block.text}\n{printed}"
        elif block.kind == "text":
            shown = session.elsewhere(block.text)
            assert matches(shown, printed), f"--- shown\n{shown}\n--- printed\n{printed}"
        elif block.kind == "diff":
            session.edit(block.more, block.text)
    session.failed = ""


def matches(shown: str, printed: str) -> bool:
    """Whether what was printed has the shape of what the document shows."""
    lines, wanted = _lines(printed), _lines(shown)
    patterns = [None if line == "…" else _pattern(line) for line in wanted]

    @cache
    def fits(at: int, line: int) -> bool:
        if at == len(patterns):
            return line == len(lines)
        pattern = patterns[at]
        if pattern is None:
            return fits(at + 1, line) or (line < len(lines) and fits(at, line + 1))
        return line < len(lines) and bool(pattern.fullmatch(lines[line])) and fits(at + 1, line + 1)

    return fits(0, 0)


def _lines(text: str) -> list[str]:
    """Lines whose columns are two spaces apart, however wide what stands in them."""
    return [re.sub(r"(?<=\S)(?: *\t| {2})\s*", "  ", line.rstrip()) for line in text.strip("\n").splitlines()]


def _pattern(line: str) -> re.Pattern[str]:
    parts = [re.escape(part) for part in re.split(f"{VARYING}|{COUNTED}|…", line)]
    joints = [".*" if found == "…" else r" *[\d,.]+(?:/\d+)?" for found in re.findall(f"{VARYING}|{COUNTED}|…", line)]
    return re.compile("".join(part + joint for part, joint in itertools.zip_longest(parts, joints, fillvalue="")))


@pytest.mark.parametrize(
    ("shown", "printed", "fit"),
    [
        ("a (in 5.3 ms)\n…\nz", "a (in 12 ms)\nb\nc\nz", True),
        ("1 requests, 0 failed", "800 requests, 0 failed", True),
        ("1 requests, 0 failed", "800 requests, 1 failed", False),
        ("   4000 200", "   3171 200", True),
        ("   4000 200", "   3171 200\n      2 503", False),
        ("pods 10 %", "pods 11 %", False),
        ("vm1   a   172.28.0.3   -", "vm1     a    172.28.0.3    -", True),
        ("…\ndone", "done", True),
        ("…\ndone", "done\nmore", False),
    ],
)
def test_what_is_shown_and_what_is_printed_are_compared_strictly_but_for_counts_and_times(
    shown: str, printed: str, fit: bool
) -> None:
    assert matches(shown, printed) == fit


def test_every_fence_of_the_document_is_known() -> None:
    blocks = list(itertools.chain(*sections().values()))
    assert {b.kind for b in blocks} <= {"sh", "text", "diff"} and len(blocks) > 20
