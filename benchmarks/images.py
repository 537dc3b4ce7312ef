"""Measure `planeshift image build`: writing layers, an image with warm caches, and nothing to do.

    python benchmarks/images.py [--record] [SERVICE]

The peers run in turn with us, on the same files: tar with gzip and with zstd for a layer; uv, compileall and tar with gzip
for an image; `planeshift --version` for nothing to do. Speeds are of processor time, so that a busy machine matters less.
Bounds: 200 MB/s a core, 10 s, 2 times. `--record` writes the figures to benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from planeshift import catalog
from planeshift.app import images
from planeshift.images import Store, tree
from planeshift.images.build import Builder
from planeshift.images.kept import Kept
from planeshift.ports import quiet

README = Path(__file__).parent / "README.md"
BIN = Path(sys.executable).parent
PLANESHIFT = str(BIN / "planeshift")
ROUNDS = 5


def cpu() -> float:
    """Processor seconds of this process and its ended children."""
    return sum(
        r.ru_utime + r.ru_stime for r in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    begun, used = time.perf_counter(), cpu()
    work()
    return time.perf_counter() - begun, cpu() - used


def run(command: Sequence[str] | str) -> None:
    subprocess.run(command, shell=isinstance(command, str), check=True, stdout=subprocess.DEVNULL)


def layers(environment: Path, scratch: Path) -> list[tuple[str, str, str]]:
    """MB of tar a processor second, over the content of a service's environment."""
    size = sum(e.length for e in tree(environment) if e.kind == "file") / 1e6
    out = scratch / "peer"
    works: dict[str, Callable[[], object]] = {
        "planeshift": lambda: Store(scratch / f"store{time.time_ns()}").add_layer(tree(environment)),
        "tar, zstd -1": lambda: run(f"tar --sort=name -C {environment} -c . | zstd -q -1 -T1 -f -o {out}.zst"),
        "tar, gzip -6": lambda: run(f"tar --sort=name -C {environment} -c . | gzip -6 > {out}.gz"),
    }
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(3):
        for name, work in works.items():
            found[name].append(size / measured(work)[1])
    return [
        (f"layer of {size:.0f} MB, a core: {name}", f"{statistics.median(v):.0f} MB/s", "") for name, v in found.items()
    ]


def build(service: str, scratch: Path) -> list[tuple[str, str, str]]:
    """An image with a base and wheels that are there, its environment and layers anew."""
    kept = Kept.of(os.environ)
    recipe, _ = images.recipe(images.Request(service), kept, os.environ, quiet)
    builder = Builder(kept, os.environ, quiet)
    below = builder.debian(recipe)
    root = builder.root(recipe, below)
    other = Kept(scratch / "cache")
    other.store.add(b"")
    for layer in below:
        shutil.copy(kept.store.path(layer.descriptor.digest), other.store.path(layer.descriptor.digest))
        other.layer(recipe.foundation, lambda layer=layer: layer)  # type: ignore[misc]
    other.tree(f"root-{recipe.foundation}", lambda path: path.symlink_to(root))
    ours = measured(lambda: Builder(other, os.environ, quiet).image(recipe, "localhost/bench:1"))[0]
    lock = scratch / "lock.txt"
    lock.write_text(catalog.data(service, recipe.release, "lock.txt"))
    venv = scratch / "venv"

    def peer() -> None:
        run([str(BIN / "uv"), "venv", "-q", str(venv)])
        run([str(BIN / "uv"), "pip", "install", "-q", "--python", str(venv), "--no-deps", "-r", str(lock)])
        subprocess.run(
            [str(venv / "bin/python"), "-m", "compileall", "-q", "-j", "0", "-x", "/tests?/|/samples/", str(venv / "lib")],
            check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        run(f"tar --sort=name -C {venv} -c . | gzip -6 > {scratch}/venv.gz")

    theirs = measured(peer)[0]
    return [(f"image of {service}, caches warm", f"{ours:.1f} s", f"{theirs:.1f} s (uv, compileall, tar, gzip)")]


def nothing(service: str) -> list[tuple[str, str, str]]:
    run([PLANESHIFT, "image", "build", service])
    run([PLANESHIFT, "image", "build", service])
    ours, theirs = [], []
    for _ in range(4 * ROUNDS):
        ours.append(measured(lambda: run([PLANESHIFT, "image", "build", service]))[0])
        theirs.append(measured(lambda: run([PLANESHIFT, "--version"]))[0])
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    version = f"{statistics.median(theirs) * 1000:.0f} ms (`--version`)"
    return [(f"nothing changed, × {ratio:.2f}", f"{statistics.median(ours) * 1000:.0f} ms", version)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("service", nargs="?", default="keystone")
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    before = os.getloadavg()[0]
    # On the disk that the cache is on: so that links work as they do there.
    with tempfile.TemporaryDirectory(dir=Kept.of(os.environ).scratch) as name:
        rows = nothing(arguments.service)
        rows += build(arguments.service, Path(name))
        (environment,) = (Path(name) / "cache" / "trees").glob("environment-*")
        rows += layers(environment, Path(name))
    lines = ["| what | planeshift | peer |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    head = f"{datetime.date.today()}, {os.cpu_count()} cores, load before {before:.1f}: `python benchmarks/images.py`"
    text = head + "\n\n" + "\n".join(lines)
    print(text)
    if arguments.record:
        marked = "<!-- images -->\n" + text + "\n<!-- end of images -->"
        page = README.read_text()
        README.write_text(re.sub(r"<!-- images -->.*?<!-- end of images -->", lambda _: marked, page, flags=re.DOTALL))


if __name__ == "__main__":
    main()
