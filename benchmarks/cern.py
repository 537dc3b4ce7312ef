"""Measure what is asked of a CERN-sized cloud before anything is there: `check`, `plan` from nothing, `render` of all files.

    python benchmarks/cern.py [--openstack-helm DIRECTORY] [--record]

The peer is `helm template` of OpenStack-Helm's own chart of Nova, out of a checkout, by the objects that it makes. All are
whole processes, in turn in one run. `--record` writes the figures to benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from run import BIN, README, ROOT, Row, machine

from planeshift import tools

CLOUD = ROOT / "examples/cern-scale/cloud.yaml"
ROUNDS = 5
BEGIN, END = "<!-- cern -->\n", "<!-- end of cern -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openstack-helm", type=Path, help="a checkout of OpenStack-Helm")
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="planeshift-bench-") as name:
        rows = measure(Path(name), arguments.openstack_helm)
    table = "\n".join(
        ["| what | took | memory at most | aim |", "|---|---|---|---|", *(f"| {' | '.join(r)} |" for r in rows)]
    )
    said = machine("cern.py")
    print(f"\n{said}\n\n{table}")
    if arguments.record:
        head, _, rest = README.read_text().partition(BEGIN)
        README.write_text(f"{head}{BEGIN}{said}\n\n{table}\n{END}{rest.partition(END)[2]}")


@dataclass(frozen=True)
class Ran:
    """A process that came to its end: seconds, and MiB that were resident at most."""

    seconds: float
    memory: float


def measure(place: Path, checkout: Path | None) -> list[Row]:
    """A row for each command: its median, the most memory, and what is wanted of it."""
    planeshift, cloud, rendered = str(BIN / "planeshift"), ["-f", str(CLOUD)], place / "rendered"
    commands = {
        "check": [planeshift, "check", *cloud],
        "plan": [planeshift, "plan", "--from-nothing", *cloud],
        "render": [planeshift, "render", "files", "-d", str(rendered), *cloud],
    }
    if checkout:
        commands["helm"] = [str(tools.find("helm")), "template", "nova", str(chart(checkout, place))]
    runs: dict[str, list[Ran]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, argv in commands.items():
            shutil.rmtree(rendered, ignore_errors=True)
            runs[name].append(ran(argv))
    ran(commands["render"])
    files = sum(path.is_file() for path in rendered.rglob("*"))
    operations = subprocess.run(commands["plan"], capture_output=True, text=True, check=False).stdout.count("\n")
    rows = [
        row("`check`", runs["check"], "1 s, 300 MB"),
        row(f"`plan --from-nothing` ({operations:,} lines)", runs["plan"], "1 s, 300 MB"),
        row(f"`render files`, {files:,} of them written", runs["render"], "2 s, 300 MB"),
        ("… a file", f"{median(runs['render']) / files * 1000:.2f} ms", "", ""),
    ]
    if checkout:
        made = subprocess.run(commands["helm"], capture_output=True, check=True).stdout
        objects = sum(1 for document in yaml.safe_load_all(made) if document)
        rows.append(
            row(f"peer: `helm template` of OpenStack-Helm's chart of Nova, {objects} objects", runs["helm"], "")
        )
        rows.append(("… an object", f"{median(runs['helm']) / objects * 1000:.2f} ms", "", ""))
    return rows


def row(what: str, runs: Sequence[Ran], aim: str) -> Row:
    return what, f"{median(runs):.2f} s", f"{max(r.memory for r in runs):.0f} MiB", aim


def median(runs: Sequence[Ran]) -> float:
    return statistics.median(r.seconds for r in runs)


def ran(argv: Sequence[str]) -> Ran:
    """Run a command to its end. A plan that has changes to make is no failure."""
    began = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 2):
        raise SystemExit(f"{argv} failed")
    return Ran(time.perf_counter() - began, used.ru_maxrss / 1024)


def chart(checkout: Path, place: Path) -> Path:
    """The chart with what it depends on beside it, as `helm dependency build` would have it."""
    shutil.copytree(checkout / "nova", place / "nova")
    shutil.copytree(checkout / "helm-toolkit", place / "nova/charts/helm-toolkit")
    return place / "nova"


if __name__ == "__main__":
    main()
