"""Measure what benchmarks/README.md records: each figure beside a peer's, in one run, in turn.

    python benchmarks/run.py [start] [check] [up] [noop] [edge] [--record]

`up` makes a cloud of its own in a temporary directory on addresses of its own, `noop` and `edge` use it, and it is
removed at the end. `--record` writes the figures to benchmarks/README.md. Everything stays on loopback.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import grp
import json
import os
import platform
import pwd
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
README = ROOT / "benchmarks" / "README.md"
SERVICES = ("keystone", "glance", "placement", "barbican")
EDGE, HOST = "127.83.1.1", "127.83.1.2"
Row = tuple[str, str, str, str]  # what, ours, peer's, ratio or note


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["start", "check", "up", "noop", "edge"])
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    rows: list[Row] = []
    if "start" in arguments.parts:
        rows += start()
    if "check" in arguments.parts:
        rows += check()
    if {"up", "noop", "edge"} & set(arguments.parts):
        with cloud() as directory:
            if "up" in arguments.parts:
                rows += up(directory)
            else:
                planeshift(directory, "up", "--yes")
            rows += noop(directory) if "noop" in arguments.parts else []
            rows += edge(directory) if "edge" in arguments.parts else []
    table = "\n".join(["| what | planeshift | peer | |", "|---|---|---|---|", *(f"| {' | '.join(r)} |" for r in rows)])
    print(f"\n{machine()}\n\n{table}")
    if arguments.record:
        text = README.read_text()
        begin, end = "<!-- figures -->\n", "<!-- end -->"
        head, tail = text.split(begin)[0], text.split(end)[1]
        README.write_text(f"{head}{begin}{machine()}\n\n{table}\n{end}{tail}")


def machine(script: str = "run.py") -> str:
    """What was run, when and where."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    day = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    load = os.getloadavg()[0]
    return (
        f"`python benchmarks/{script}`, {day}: {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {load:.1f} at the end."
    )


# --- start-up and check


def start() -> list[Row]:
    ours, peer = pairs([str(BIN / "planeshift"), "--version"], [sys.executable, "-c", "pass"], 15)
    other, _ = pairs([str(BIN / "openstack"), "--version"], [sys.executable, "-c", "pass"], 3)
    return [
        ("`planeshift --version` against `python3 -c pass`", ms(ours), ms(peer), f"{ours / peer:.1f} x"),
        ("`planeshift --version` against `openstack --version`", ms(ours), ms(other), f"{ours / other:.2f} x"),
    ]


def check() -> list[Row]:
    example = ROOT / "examples" / "external-hosts" / "cloud.yaml"
    first = ROOT / "examples" / "first-cloud" / "cloud.yaml"
    ours, alone = pairs(
        [str(BIN / "planeshift"), "check", "-f", str(example)], [str(BIN / "planeshift"), "check", "-f", str(first)], 9
    )
    rows: list[Row] = [("`check` of first-cloud", ms(alone), "", "")]
    with environment("glance") as programs:
        validator = [
            *(str(programs / "oslo-config-validator"), "--namespace", "glance.api", "--namespace", "glance.store"),
            *("--namespace", "oslo.db", "--namespace", "keystonemiddleware.auth_token"),
            *("--input-file", str(example.parent / "config/glance/glance-api.conf")),
        ]
        _, peer = pairs([str(BIN / "planeshift"), "--version"], validator, 3)
    what = "`check` of external-hosts, its options included, against `oslo-config-validator` of one of its files"
    return [*rows, (what, ms(ours), ms(peer), f"{ours / peer:.2f} x")]


# --- up


@contextlib.contextmanager
def cloud() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="planeshift-bench-") as name:
        directory = Path(name)
        backends = "".join(f"    {s}: {{backends: {{vms: {{hosts: [here]}}}}}}\n" for s in SERVICES)
        (directory / "cloud.yaml").write_text(
            "apiVersion: planeshift/v1\nkind: Cloud\nmetadata: {name: bench}\nspec:\n"
            f"  edges: [{{name: edge, address: {EDGE}}}]\n"
            f"  hosts: [{{name: here, via: local, address: {HOST}}}]\n  services:\n{backends}"
        )
        try:
            yield directory
        finally:
            planeshift(directory, "down", "--purge", "--yes")


def up(directory: Path) -> list[Row]:
    rows: list[Row] = []
    cold = {"UV_CACHE_DIR": str(directory / "cold/uv"), "XDG_CACHE_HOME": str(directory / "cold")}
    for name, extra in (("nothing cached", cold), ("everything cached", dict[str, str]())):
        took = timed(lambda extra=extra: planeshift(directory, "up", "--yes", **extra))
        proved = timed(lambda: planeshift(directory, "verify"))
        rows.append((f"`up` of four services, {name}; then `verify`", f"{took:.1f} s + {proved:.1f} s", "", ""))
        if extra:
            planeshift(directory, "down", "--purge", "--yes")
            shutil.rmtree(directory / "secrets")
    by_hand = timed(lambda: hand(directory))
    ours = float(rows[-1][1].split(" s")[0])
    what = "… against the same programs' own commands, one after the other (install, schema, bootstrap)"
    return [*rows, (what, f"{ours:.1f} s", f"{by_hand:.1f} s", f"{ours / by_hand:.2f} x")]


def hand(directory: Path) -> None:
    """What an installation guide types: uv, db_sync, bootstrap, one after the other; no service is started."""
    home = directory / "hand"
    owner = [
        "--keystone-user",
        pwd.getpwuid(os.getuid()).pw_name,
        "--keystone-group",
        grp.getgrgid(os.getgid()).gr_name,
    ]
    for service in SERVICES:
        lock = ROOT / f"src/planeshift/catalog/{service}/releases/2026.2/lock.txt"
        programs = home / service
        run([uv(), "venv", "-q", str(programs)])
        run(
            [
                uv(),
                "pip",
                "install",
                "-q",
                "--python",
                str(programs / "bin/python"),
                "--require-hashes",
                "-r",
                str(lock),
            ]
        )
        config = home / f".{service}"
        config.mkdir()
        section = "placement_database" if service == "placement" else "database"
        text = f"[{section}]\nconnection = sqlite:///{home}/{service}.sqlite\n"
        for group in ("fernet_tokens", "fernet_receipts", "credential") if service == "keystone" else ():
            text += f"[{group}]\nkey_repository = {home}/{group}\n"
            (home / group).mkdir()
        main = "glance-api.conf" if service == "glance" else f"{service}.conf"
        (config / main).write_text(text)
        (config / "glance-manage.conf").write_text(text)
        commands = {
            "keystone": [
                ["keystone-manage", "db_sync"],
                ["keystone-manage", "fernet_setup", *owner],
                ["keystone-manage", "credential_setup", *owner],
                ["keystone-manage", "bootstrap", "--bootstrap-password", "benchmark"],
            ],
            "glance": [["glance-manage", "db", "sync"]],
            "placement": [["placement-manage", "db", "sync"]],
            "barbican": [["barbican-manage", "db", "upgrade"]],
        }
        for command in commands[service]:
            run([str(programs / "bin" / command[0]), *command[1:]], HOME=str(home))


def noop(directory: Path) -> list[Row]:
    ours = min(timed(lambda: planeshift(directory, "up", "--yes")) for _ in range(5))
    plan = min(timed(lambda: planeshift(directory, "plan")) for _ in range(5))
    token = min(timed(lambda: client(directory, "token", "issue")) for _ in range(3))
    return [
        (
            "`up` with nothing to do, against one `openstack token issue`",
            f"{ours:.2f} s",
            f"{token:.2f} s",
            f"{ours / token:.2f} x",
        ),
        ("`plan` with nothing to do", f"{plan:.2f} s", "", ""),
    ]


# --- through the edge and beside it


def edge(directory: Path) -> list[Row]:
    if not shutil.which("wrk"):
        return [("through the edge", "not measured: wrk is not installed", "", "")]
    token = client(directory, "token", "issue", "-f", "value", "-c", "id").strip()
    body = token_request(directory)
    issue = directory / "issue.lua"
    issue.write_text(f"wrk.method = 'POST'\nwrk.body = [[{body}]]\nwrk.headers['Content-Type'] = 'application/json'\n")
    issue.chmod(0o600)
    images = directory / "images.lua"
    images.write_text(f"wrk.headers['X-Auth-Token'] = '{token}'\n")
    rows = []
    for what, script, path, ports in (
        ("Keystone token issue", issue, "/v3/auth/tokens", (5000, 15000)),
        ("Glance GET /v2/images", images, "/v2/images", (9292, 19292)),
        ("Keystone GET /v3", directory / "none.lua", "/v3", (5000, 15000)),
    ):
        (directory / "none.lua").touch()
        urls = (f"http://{EDGE}:{ports[0]}{path}", f"http://{HOST}:{ports[1]}{path}")
        through, beside = ([wrk(script, url) for _ in range(1)] for url in urls)
        for _ in range(2):  # in turn, so that a machine that slows down slows both
            through.append(wrk(script, urls[0]))
            beside.append(wrk(script, urls[1]))
        ours, peer = (tuple(statistics.median(x) for x in zip(*r, strict=True)) for r in (through, beside))
        rows.append(
            (
                f"{what}: through the edge, against the service itself",
                f"{ours[0]:.0f}/s, p99 {ours[1]:.0f} ms",
                f"{peer[0]:.0f}/s, p99 {peer[1]:.0f} ms",
                f"{ours[0] / peer[0]:.2f} x",
            )
        )
    return rows


def token_request(directory: Path) -> str:
    """What a client sends that wants the administrator's token."""
    password = re.search(r'admin_password: "(.+)"', (directory / "secrets/keystone.yaml").read_text())
    assert password
    domain = {"name": "Default"}
    user = {"name": "admin", "domain": domain, "password": password[1]}
    scope = {"project": {"name": "admin", "domain": domain}}
    return json.dumps({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}})


def wrk(script: Path, url: str) -> tuple[float, float]:
    """Requests a second and p99 in milliseconds, of 4 connections for 8 seconds."""
    text = run(["wrk", "-t1", "-c4", "-d8s", "--timeout", "30s", "--latency", "-s", str(script), url])
    if "Non-2xx" in text:
        raise SystemExit(f"{url} answered errors:\n{text}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    assert rate and p99
    return float(rate[1]), float(p99[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[p99[2]]


# --- helpers


@contextlib.contextmanager
def environment(service: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="planeshift-bench-") as name:
        lock = ROOT / f"src/planeshift/catalog/{service}/releases/2026.2/lock.txt"
        run([uv(), "venv", "-q", name, "--allow-existing"])
        run([uv(), "pip", "install", "-q", "--python", f"{name}/bin/python", "--require-hashes", "-r", str(lock)])
        yield Path(name) / "bin"


def uv() -> str:
    return str(BIN / "uv")


def planeshift(directory: Path, *arguments: str, **environment: str) -> str:
    return run([str(BIN / "planeshift"), *arguments, "-f", str(directory / "cloud.yaml")], **environment)


def client(directory: Path, *arguments: str) -> str:
    found = dict(re.findall(r"export (\w+)=(\S+)", planeshift(directory, "env")))
    return run([str(BIN / "openstack"), *arguments], **found)


def run(argv: Sequence[str], **environment: str) -> str:
    done = subprocess.run(argv, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{argv[0]} {argv[1:3]} exited {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def pairs(one: Sequence[str], other: Sequence[str], times: int) -> tuple[float, float]:
    """The medians of two commands, run in turn after a warm-up."""
    figures: tuple[list[float], list[float]] = ([], [])
    for n in range(times + 1):
        for argv, found in zip((one, other), figures, strict=True):
            took = timed(lambda argv=argv: subprocess.run(argv, capture_output=True, check=False))
            if n:
                found.append(took)
    return statistics.median(figures[0]), statistics.median(figures[1])


def timed(what: object) -> float:
    began = time.perf_counter()
    what()  # type: ignore[operator]
    return time.perf_counter() - began


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


if __name__ == "__main__":
    main()
