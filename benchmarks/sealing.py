"""Measure sealed files beside stock sops and CERN's plugin, in turn in one run.

    python benchmarks/sealing.py [view] [seal] [audit] [barbican] [--record]

`view`: a small file with an age key, beside a bare interpreter and sops. `seal`: a file of 10,000 values. `audit`: a
repository of 10,000 commits, made by git fast-import. `barbican`: a small file whose key is in the Barbican of the cloud
that OS_CLOUD or OS_* name (`eval "$(planeshift env)"`), beside the bare requests that it takes; a key is left there.
sops is the one of `planeshift tools`, or on PATH; HELM_BARBICAN names a built helm-barbican (go build, in a checkout of
cernops/helm-barbican). What is missing is left out. `--record` writes the figures into benchmarks/README.md.
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
from planeshift.secrets.barbican.key import identity
from planeshift.secrets.barbican.session import Failed, Session
from planeshift.secrets.barbican.store import Store

Row = tuple[str, str, str]  # what, ours, a peer's
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


def view(place: Path, recipient: str) -> list[Row]:
    (place / "s.yaml").write_bytes(work.encrypt("s.yaml", b"db:\n    password: x\nuser: glance\n", age=(recipient,)))
    commands = {"python": [sys.executable, "-c", "pass"], "planeshift": [PLANESHIFT, "secrets", "view", "s.yaml"]}
    if sops():
        commands["sops"] = [sops(), "decrypt", "s.yaml"]
    found = timed(commands, 40)
    ratio = found["planeshift"] / found["python"]
    what = f"`view` of a small file with an age key ({ratio:.2f} × a bare interpreter; aim 2.5), against `sops decrypt`"
    return [(what, ms(found["planeshift"]), ms(found.get("sops")))]


def seal(place: Path, recipient: str) -> list[Row]:
    text = "".join(f"section{i}:\n    password: secret number {i}\n    user: user{i}\n" for i in range(5000))
    (place / "plain.yaml").write_text(text)
    begun = time.perf_counter()
    work.encrypt("s.yaml", text.encode(), age=(recipient,))
    inside = time.perf_counter() - begun
    commands = {"planeshift": [PLANESHIFT, "secrets", "enc", "plain.yaml", "--stdout", "--age", recipient]}
    if sops():
        commands["sops"] = [sops(), "encrypt", "--age", recipient, "plain.yaml"]
    found = timed(commands, 5)
    what = f"10,000 values sealed ({ms(inside)} in a process that runs; aim 1 s), against `sops encrypt`"
    return [(what, ms(found["planeshift"]), ms(found.get("sops")))]


def audit(place: Path, recipient: str) -> list[Row]:
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
    subprocess.run([PLANESHIFT, "secrets", "audit"], capture_output=True, check=False)
    return [("`audit` of 10,000 commits (aim 60 s)", f"{time.perf_counter() - begun:.1f} s", "")]


def barbican(place: Path, recipient: str) -> list[Row]:
    """A file whose key is in Barbican, beside the two requests that opening it takes; and CERN's plugin, with its own."""
    try:
        key = Store(Session()).create("benchmark/view")
    except Failed as error:
        print(f"barbican: left out, {error}", file=sys.stderr)
        return []
    (place / "b.yaml").write_bytes(work.encrypt("b.yaml", b"db:\n    password: x\n", age=(str(key),)))
    (place / "id.txt").write_text(identity() + "\n")
    os.environ["SOPS_AGE_KEY_FILE"] = str(place / "id.txt")
    os.environ["PATH"] = f"{Path(PLANESHIFT).parent}{os.pathsep}{os.environ['PATH']}"
    commands = {"planeshift": [PLANESHIFT, "secrets", "view", "b.yaml"]}
    if sops():
        commands["sops"] = [sops(), "decrypt", "b.yaml"]
    cern = os.environ.get("HELM_BARBICAN", "")
    if cern:
        release = f"benchmark-{os.urandom(4).hex()}"
        (place / "cern.yaml").write_text("db:\n    password: x\n")
        subprocess.run([cern, "enc", "cern.yaml", "--name", release], check=True, stdout=subprocess.DEVNULL)
        commands["cern"] = [cern, "view", "cern.yaml", "--name", release]
    rounds, requests, found = 20, [], {name: [] for name in commands}
    for _ in range(rounds):
        begun = time.perf_counter()
        Store(Session()).get(key.uuid)
        requests.append(time.perf_counter() - begun)
        for name, taken in timed(commands, 1).items():
            found[name].append(taken)
    trips, mine = statistics.median(requests), statistics.median(found["planeshift"])
    before = os.times()
    timed({"planeshift": commands["planeshift"]}, rounds)
    after = os.times()
    busy = (after.children_user + after.children_system - before.children_user - before.children_system) / rounds
    more = f"the two requests alone {ms(trips)}: {ms(mine - trips)} on top of them, aim 100 ms; {ms(busy)} of processor time"
    rows = [(f"`view` with a key in Barbican ({more})", ms(mine), "")]
    peers = {
        "sops": "… by `sops decrypt` and age-plugin-barbican",
        "cern": "… `view` of CERN's plugin, with its key and format",
    }
    return rows + [(words, "", ms(statistics.median(found[n]))) for n, words in peers.items() if n in found]


def ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.0f} ms"


def record(table: str) -> None:
    """Write the figures between their marks."""
    page = Path(__file__).with_name("README.md")
    before, begin, rest = page.read_text().partition("<!-- sealing -->\n")
    _, end, after = rest.partition("<!-- end of sealing -->")
    page.write_text(before + begin + table + end + after)


def main() -> None:
    words = sys.argv[1:]
    parts = [w for w in words if w != "--record"] or ["view", "seal", "audit", "barbican"]
    key = pyrage.x25519.Identity.generate()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as where it is installed: compiled once
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        os.environ |= {"SOPS_AGE_KEY": str(key), "XDG_CONFIG_HOME": name}
        for part in parts:
            rows += {"view": view, "seal": seal, "audit": audit, "barbican": barbican}[part](
                Path(name), str(key.to_public())
            )
        os.chdir("/")
    when = f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end"
    lines = [
        f"`python benchmarks/sealing.py {' '.join(words)}`, {when}.",
        "",
        "| what | planeshift | peer |",
        "|---|---|---|",
    ]
    table = "\n".join([*lines, *(f"| {what} | {ours} | {peer} |" for what, ours, peer in rows)]) + "\n"
    print(table, end="")
    if "--record" in words:
        record(table)


if __name__ == "__main__":
    main()
