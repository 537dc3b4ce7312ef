"""Measure sealed files beside stock sops, in turn in one run.

    python benchmarks/sealing.py [view] [seal] [audit]

`view`: a small file with an age key, beside a bare interpreter and sops. `seal`: a file of 10,000 values. `audit`: a
repository of 10,000 commits, made by git fast-import. sops is the one of `planeshift tools`, or on PATH; without it its
column is empty.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyrage

from planeshift import tools
from planeshift.errors import PlaneshiftError
from planeshift.secrets import work

PLANESHIFT = str(Path(sys.executable).with_name("planeshift"))


def timed(commands: dict[str, Sequence[str]], rounds: int, **options: object) -> dict[str, float]:
    """Median wall seconds of each command, run in turn."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, argv in commands.items():
            begun = time.perf_counter()
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
            taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in taken.items()}


def sops() -> str:
    try:
        return str(tools.find("sops"))
    except PlaneshiftError:
        return ""


def view(place: Path, recipient: str) -> None:
    (place / "s.yaml").write_bytes(work.encrypt("s.yaml", b"db:\n    password: x\nuser: glance\n", age=(recipient,)))
    commands = {"python": [sys.executable, "-c", "pass"], "planeshift": [PLANESHIFT, "secrets", "view", "s.yaml"]}
    if sops():
        commands["sops"] = [sops(), "decrypt", "s.yaml"]
    found = timed(commands, 40)
    print("view:", ", ".join(f"{n} {v * 1000:.1f} ms" for n, v in found.items()), end="; ")
    print(f"{found['planeshift'] / found['python']:.2f} x a bare interpreter")


def seal(place: Path, recipient: str) -> None:
    text = "".join(f"section{i}:\n    password: secret number {i}\n    user: user{i}\n" for i in range(5000))
    (place / "plain.yaml").write_text(text)
    begun = time.perf_counter()
    work.encrypt("s.yaml", text.encode(), age=(recipient,))
    inside = time.perf_counter() - begun
    commands = {"planeshift": [PLANESHIFT, "secrets", "enc", "plain.yaml", "--stdout", "--age", recipient]}
    if sops():
        commands["sops"] = [sops(), "encrypt", "--age", recipient, "plain.yaml"]
    found = timed(commands, 5)
    print(f"seal 10,000 values: {inside:.2f} s in process;", ", ".join(f"{n} {v:.2f} s" for n, v in found.items()))


def audit(place: Path, recipient: str) -> None:
    """10,000 commits over 100 sealed files, each of which changes one value."""
    texts = {f"secrets/s{i}.yaml": b"a: one\nb: two\n" for i in range(100)}
    sealed = {name: work.encrypt(name, text, age=(recipient,)) for name, text in texts.items()}
    names = sorted(sealed)
    lines: list[bytes] = []
    for number in range(10_000):
        name = names[number % len(names)]
        content = sealed[name] + f"# {number}\n".encode()
        lines.append(f"commit refs/heads/main\ncommitter t <t@example.org> {1_700_000_000 + number} +0000\n".encode())
        lines.append(b"data 1\nx\n" + f"M 100644 inline {name}\ndata {len(content)}\n".encode() + content + b"\n")
    subprocess.run(["git", "init", "-q", "-b", "main", "."], check=True)
    subprocess.run(["git", "fast-import", "--quiet"], input=b"".join(lines), check=True)
    subprocess.run(["git", "reset", "-q", "--hard"], check=True)
    begun = time.perf_counter()
    done = subprocess.run([PLANESHIFT, "secrets", "audit"], capture_output=True, text=True, check=False)
    print(f"audit of 10,000 commits: {time.perf_counter() - begun:.1f} s ({done.stderr.strip()})")


def main() -> None:
    parts = sys.argv[1:] or ["view", "seal", "audit"]
    key = pyrage.x25519.Identity.generate()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as where it is installed: compiled once
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        os.environ |= {"SOPS_AGE_KEY": str(key), "XDG_CONFIG_HOME": name}
        for part in parts:
            {"view": view, "seal": seal, "audit": audit}[part](Path(name), str(key.to_public()))
        os.chdir("/")
    print("load", os.getloadavg())


if __name__ == "__main__":
    main()
