"""Add up runs of shifts under load, of one evening or of many days: a table of all of them, and what they come to.

    PLANESHIFT_RECORD=soak.jsonl make soak     # or pieces: PLANESHIFT_SHIFTS, PLANESHIFT_RATE, PLANESHIFT_STEP
    python benchmarks/soak.py soak.jsonl [--record]

Every run of the file is in the table: those that failed, and those that were cut off and told nothing, too. `--record`
writes it to benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from planeshift.openloop.compare import added
from planeshift.openloop.openstack import CHEAP

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- soak -->\n", "<!-- end of soak -->"
HEAD = (
    "| begun (UTC) | commit | cheap/s | steps of | shifts | cheap requests | failed | dear requests | failed | sent back "
    "| added p99, cheap | a step took effect: median, longest | how it ended |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    text = table([json.loads(line) for line in arguments.file.read_text().splitlines()])
    print(text)
    if arguments.record:
        page = README.read_text()
        whole = re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}{text}{END}", page, flags=re.DOTALL)
        README.write_text(whole)


def table(lines: list[dict[str, Any]]) -> str:
    """All runs that the lines tell of, in the order in which they began, and their sum."""
    ends = {line["run"]: line for line in lines if line["what"] == "end"}
    runs = [(line, ends.get(line["run"])) for line in lines if line["what"] == "begin"]
    machines = dict.fromkeys(begin["machine"] for begin, _ in runs)
    rows = [_row(begin, end) for begin, end in runs]
    told = [end for _, end in runs if end]
    whole = f"{len(runs)} runs, {len(runs) - len(told)} cut off"
    rows.append(_cells(f"**{whole}**", "", "", "", *_figures(told), ""))
    return f"`python benchmarks/soak.py`: {'; '.join(machines)}.\n\n{HEAD}{''.join(rows)}"


def _row(begin: dict[str, Any], end: dict[str, Any] | None) -> str:
    how = "cut off" if end is None else end["why"].replace("|", "\\|") or f"whole, load {end['load']}"
    run = begin["at"], f"`{begin['commit']}`", f"{begin['rate']:g}", f"{begin.get('step', 2)} s"
    return _cells(*run, *_figures([end] if end else []), how)


def _figures(ends: list[dict[str, Any]]) -> tuple[str, ...]:
    """Of one run, or of several together."""
    cheap, dear, shifts = [0, 0], [0, 0], 0
    for end in ends:
        shifts += end["shifts"]
        for step, found in end["requests"].items():
            counts = cheap if step in CHEAP else dear
            counts[0] += found["sent"]
            counts[1] += found["failed"]
    pairs = [pair for end in ends for pair in end["p99s_ms"]]
    steps = sorted(took for end in ends for took in end["steps_ms"])
    p99 = "{:+.1f} ms ({:+.1f} to {:+.1f})".format(*added(*zip(*pairs, strict=True))) if pairs else ""
    took = f"{steps[len(steps) // 2]:.1f} ms, {steps[-1]:.0f} ms" if steps else ""
    returned = sum(len(end["returned"]) for end in ends)
    return str(shifts), *(f"{n:,}" for n in (*cheap, *dear)), str(returned), p99, took


def _cells(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    main()
