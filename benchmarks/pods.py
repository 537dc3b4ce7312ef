"""Measure services as pods: on a lab of one node, and rendering and planning beside `helm template`.

    python benchmarks/pods.py [cluster] [render] [--record]      # `cluster` as root; tools and images are made first

`--record` writes the figures into benchmarks/README.md. Everything stays on this machine, and is removed at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from run import BIN, README, ROOT, Row, machine, timed

from planeshift import catalog, tools
from planeshift.model.load import load
from planeshift.plan.build import build as plan
from planeshift.plan.observed import Observed
from planeshift.render import rules
from planeshift.render.build import build
from planeshift.render.chart import chart
from planeshift.render.desired import HostPaths

EXAMPLE = ROOT / "examples" / "hosts-and-pods"
BACKENDS = 1000
SERVICES = ("keystone", "glance", "placement", "barbican")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["cluster", "render"])
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    rows: list[Row] = []
    if "render" in arguments.parts:
        rows += [*render(), thousand()]
    if "cluster" in arguments.parts:
        rows += cluster()
    table = "\n".join(["| what | planeshift | peer | |", "|---|---|---|---|", *(f"| {' | '.join(r)} |" for r in rows)])
    said = machine().replace("run.py", "pods.py")
    print(f"\n{said}\n\n{table}")
    if arguments.record:
        text, begin, end = README.read_text(), "<!-- pods -->\n", "<!-- end of pods -->"
        README.write_text(f"{text.split(begin)[0]}{begin}{said}\n\n{table}\n{end}{text.split(end)[1]}")


# --- rendering and planning


def render() -> list[Row]:
    """Our own chart, rendered by helm; and all that a backend of pods is, rendered by us."""
    with tempfile.TemporaryDirectory(prefix="planeshift-bench-") as name:
        for path, content in chart(catalog.service("glance")).items():
            (Path(name) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(name) / path).write_bytes(content)
        argv = [str(tools.find("helm")), "template", "one", name, "--kube-version", "1.35.0", "--set", "image=a:b"]
        objects = len(
            [o for o in yaml.safe_load_all(subprocess.run(argv, capture_output=True, check=True).stdout) if o]
        )
        peer = min(timed(lambda: subprocess.run(argv, capture_output=True, check=True)) for _ in range(5))
    loaded = load(_many(BACKENDS), "cloud.yaml")
    began = time.perf_counter()
    desired = build(loaded.cloud, {}, {}, {"here": HostPaths("/run/x", "/srv/x")})
    took = time.perf_counter() - began
    what = "rendering: files and values of backends of pods, against `helm template` of our chart of Glance"
    ours, theirs = len(desired.pods) / took, objects / peer
    return [(what, f"{ours:.0f} backends/s", f"{theirs:.0f} objects/s ({objects} in {peer * 1000:.0f} ms)", "")]


def thousand() -> Row:
    text = _many(BACKENDS)

    def all_of_it() -> None:
        loaded = load(text, "cloud.yaml")
        if rules.check(loaded):
            raise SystemExit("the cloud is not right")
        desired = build(loaded.cloud, {}, {}, {"here": HostPaths("/run/x", "/srv/x")})
        there = {n: frozenset(s.name for s in f.secrets) for n, f in desired.secrets.items()}
        plan(desired, Observed(secrets=there))

    took = min(map(timed, [all_of_it] * 3))
    return (f"read, check, render and plan a cloud of {BACKENDS:,} backends", f"{took:.2f} s", "", "")


def _many(count: int) -> str:
    names = SERVICES
    each = count // len(names)
    backends = {f"b{i}": {"cluster": f"k{i}", "weight": 0 if i else 100} for i in range(each)}
    spec = {
        "hosts": [{"name": "here", "via": "local"}],
        "edges": [{"name": "lb", "address": "192.0.2.1"}],
        "clusters": [{"name": f"k{i}", "registry": "registry.example.org/site"} for i in range(each)],
        "databases": {"main": {"engine": "mysql", "host": "192.0.2.9"}},
        "services": {name: {"backends": backends} for name in names},
    }
    whole = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "many"}, "spec": spec}
    return yaml.safe_dump(whole)


# --- a real cluster


@contextlib.contextmanager
def lab() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="planeshift-bench-") as name:
        place = Path(name) / "cloud"
        shutil.copytree(EXAMPLE, place, ignore=shutil.ignore_patterns(".planeshift", "secrets"))
        try:
            yield place
        finally:
            planeshift(place, "down", "--purge", "--yes", check=False)
            planeshift(place, "lab", "down", "--yes", file="lab.yaml")


def cluster() -> list[Row]:
    planeshift(EXAMPLE, "tools", "build", "helm", file="")
    planeshift(EXAMPLE, "image", "build", *SERVICES, file="")
    with lab() as place:
        up = said(lambda: planeshift(place, "lab", "up", "--yes", file="lab.yaml"))
        rows = [("`lab up`: a node, and two hosts, one with MariaDB, S3 and memcached", up, "", "")]
        first = said(lambda: (planeshift(place, "up", "--yes"), planeshift(place, "verify")))
        rows.append(("`up` and `verify` of four services as pods, from nothing", first, "", ""))
        rows.append(("`up` with nothing to do", said(lambda: planeshift(place, "up", "--yes")), "", ""))
        config = place / "config/glance/glance-api.conf"
        config.write_text(config.read_text() + "\n[image_format]\ncontainer_formats = bare\n")
        rows.append(("a changed file to all pods of Glance", said(lambda: planeshift(place, "up", "--yes")), "", ""))
        kubeconfig = next((place / ".planeshift").glob("lab-*/kubeconfig"))
        argv = [str(tools.find("helm")), "--kubeconfig", str(kubeconfig), "-n", "openstack"]
        argv += ["rollback", "glance-pods", "--wait"]
        rows.append(
            ("`helm rollback` of it", said(lambda: subprocess.run(argv, capture_output=True, check=True)), "", "")
        )
    return rows


def said(what: Callable[[], object]) -> str:
    return f"{timed(what):.1f} s"


def planeshift(place: Path, *arguments: str, file: str = "cloud.yaml", check: bool = True) -> None:
    argv = [str(BIN / "planeshift"), *arguments, *(["-f", str(place / file)] if file else [])]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if check and done.returncode:
        sys.exit(f"{' '.join(argv)} exited {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
