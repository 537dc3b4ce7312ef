"""Measure `planeshift lab`: from nothing to a cluster that is ready, and back to nothing. As root.

    python benchmarks/lab.py [--record]

Tools and images are there before the clock runs. The peer is kubeadm itself, in the same run: its `init` and the slowest
`join`, which no lab can be faster than. `--record` writes the figures to benchmarks/README.md. Bounds on two cores: one
node 25 s, five nodes and three hosts 60 s.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

README = Path(__file__).parent / "README.md"
HEAD = """apiVersion: planeshift/v1
kind: Lab
metadata: {name: bench}
spec:
  network: 172.27.255.0/24
  pods: 10.199.0.0/16
  zones: [a, b]
"""
LABS = {
    "one node": "  hosts: [{name: node1, cluster: k1}]\n",
    "five nodes and three hosts": "  hosts: [{name: 'node{1..5}', cluster: k1}, {name: 'vm{1..3}', zone: b}]\n",
}
Row = tuple[str, str, str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for what, hosts in LABS.items():
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "lab.yaml"
            file.write_text(HEAD + hosts)
            try:
                rows += measure(what, file)
            finally:
                planeshift("lab", "down", "--yes", "-f", str(file))
    table = "\n".join(
        ["| what | planeshift | kubeadm alone | |", "|---|---|---|---|", *(f"| {' | '.join(r)} |" for r in rows)]
    )
    load = f"{os.getloadavg()[0]:.1f}"
    machine = f"{datetime.date.today()}, {os.cpu_count()} cores, load {load} at the end"
    text = f"`python benchmarks/lab.py`, {machine}.\n\n{table}"
    print(f"\n{text}")
    if arguments.record:
        record(text)


def measure(what: str, file: Path) -> list[Row]:
    """From nothing to ready, a second `up`, and down."""
    planeshift("tools", "build", *("kubelet", "kubeadm", "kubectl"))
    began = time.monotonic()
    said = planeshift("lab", "up", "--yes", "-f", str(file))
    up = time.monotonic() - began
    if "images, once" in said:  # the clock ran while they were made: once more, without
        planeshift("lab", "down", "--yes", "-f", str(file))
        return measure(what, file)
    began = time.monotonic()
    planeshift("lab", "up", "--yes", "-f", str(file))
    again = time.monotonic() - began
    began = time.monotonic()
    planeshift("lab", "down", "--yes", "-f", str(file))
    down = time.monotonic() - began
    init = max(map(float, re.findall(r"kubeadm init on \S+ \(([\d.]+) s\)", said)))
    joins = [float(s) for s in re.findall(r"joins \(([\d.]+) s\)", said)]
    alone = init + max(joins, default=0)
    return [
        (f"lab up, {what}", f"{up:.1f} s", f"{alone:.1f} s", f"× {up / alone:.1f}"),
        (f"lab up, nothing to do, {what}", f"{again:.1f} s", "", ""),
        (f"lab down, {what}", f"{down:.1f} s", "", ""),
    ]


def planeshift(*arguments: str) -> str:
    """Run planeshift; what it printed, on both streams."""
    argv = [sys.executable, "-m", "planeshift", *arguments]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout)
    return done.stdout


def record(text: str) -> None:
    """Put the figures where the README has them."""
    whole = README.read_text()
    begin, end = "<!-- lab -->\n", "<!-- end of lab -->"
    if begin not in whole:
        whole = f"{whole.rstrip()}\n\n## The lab\n\n{begin}{end}\n"
    head, tail = whole.split(begin)[0], whole.split(end)[1]
    README.write_text(f"{head}{begin}{text}\n{end}{tail}")


if __name__ == "__main__":
    main()
