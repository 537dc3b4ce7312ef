"""Locks every release of every service and writes what it knows to the catalog: `make refresh`.

    python scripts/refresh.py [SERVICE ...] [--release SERIES] [--upgrade]

For each `catalog/SERVICE/releases/SERIES/requirements.in`: resolves `lock.txt` (all hashes), installs it in a venv that
is thrown away, and asks that venv (`scripts/extract.py`) for `options.json` and `release.json`. What is locked already
stays as it is, unless `--upgrade` is given. It needs the network (the package registry) and takes a minute or two each.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CATALOG = ROOT / "src" / "planeshift" / "catalog"
EXTRACT = ROOT / "scripts" / "extract.py"
PYTHON = "3.11"  # the oldest that is supported; the locks hold for it and for all newer ones
FORMAT = 1


def uv(*arguments: str) -> None:
    beside = Path(sys.executable).with_name("uv")
    subprocess.run([str(beside) if beside.exists() else "uv", *arguments], check=True)


def lock(folder: Path, upgrade: bool) -> None:
    """Resolves requirements.in to lock.txt, for every platform and Python from the oldest supported one."""
    source = folder / "requirements.in"
    newest = re.search(r"^# exclude-newer: (\S+)$", source.read_text(), re.MULTILINE)
    uv(
        "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--python-version", PYTHON,
        "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links",
        *(["--exclude-newer", newest[1]] if newest else []),
        *(["--upgrade"] if upgrade else []),
        str(source), "--output-file", str(folder / "lock.txt"),
    )  # fmt: skip


def extract(folder: Path) -> Any:
    """What the locked release says of itself, asked in a venv of its own."""
    rule_files = [CATALOG / "options.toml", folder.parent.parent / "options.toml"]
    also = [name for file in rule_files for name in tomllib.loads(file.read_text()).get("also-install", [])]
    with tempfile.TemporaryDirectory(prefix="planeshift-refresh-") as scratch:
        venv, out = Path(scratch) / "venv", Path(scratch) / "out.json"
        python = venv / "bin" / "python"
        locked = str(folder / "lock.txt")
        uv("venv", "--quiet", "--python", PYTHON, str(venv))
        uv("pip", "install", "--quiet", "--python", str(python), "--require-hashes", "--requirement", locked)
        uv("pip", "install", "--quiet", "--python", str(python), "--constraint", unhashed(locked, scratch), *also)
        # An empty HOME and working directory: some services read their configuration when imported.
        environment = {"PATH": os.environ["PATH"], "HOME": scratch, "OS_NOVA_DISABLE_EVENTLET_PATCHING": "true"}
        command = [str(python), str(EXTRACT), *map(str, rule_files), str(out)]
        run = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=False)
        if run.returncode:
            sys.exit(f"{folder}: extraction failed:\n{run.stderr}")
        return json.loads(out.read_text())


def unhashed(locked: str, scratch: str) -> str:
    """The lock as plain constraints, since what comes on top of it for the extraction has no hashes here."""
    lines = [line.removesuffix(" \\") for line in Path(locked).read_text().splitlines() if "==" in line]
    path = Path(scratch) / "constraints.txt"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def pretty(value: Any, depth: int, indent: int = 0) -> str:
    """JSON with one entry per line down to `depth`, one line below it, always in the same order."""
    if not depth or not isinstance(value, (dict, list)) or not value:
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    pad = " " * (indent + 1)
    if isinstance(value, list):
        lines = [pretty(item, depth - 1, indent + 1) for item in value]
        brackets = "[]"
    else:
        lines = [f"{json.dumps(key)}: {pretty(value[key], depth - 1, indent + 1)}" for key in sorted(value)]
        brackets = "{}"
    return brackets[0] + "\n" + ",\n".join(pad + line for line in lines) + "\n" + " " * indent + brackets[1]


def refresh(folder: Path, upgrade: bool) -> None:
    series, service = folder.name, folder.parent.parent.name
    lock(folder, upgrade)
    said = extract(folder)
    release = said["release"]
    about = {"format": FORMAT, "service": service, "release": series, "version": release["version"]}
    (folder / "options.json").write_text(pretty({**about, **said["options"]}, depth=3) + "\n")
    (folder / "release.json").write_text(pretty(release, depth=2) + "\n")
    count = sum(len(options) for options in said["options"]["sections"].values())
    print(f"{service} {series}: {release['version']}, {count} options, schema {', '.join(release['heads'])}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Lock every release and extract what it knows.")
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="default: all")
    parser.add_argument("--release", metavar="SERIES", help="default: all")
    parser.add_argument("--upgrade", action="store_true", help="take newer versions than those locked")
    arguments = parser.parse_args()
    folders = [
        source.parent
        for source in sorted(CATALOG.glob("*/releases/*/requirements.in"))
        if not arguments.services or source.parts[-4] in arguments.services
        if not arguments.release or source.parent.name == arguments.release
    ]
    if not folders:
        parser.error("no such service or release in the catalog")
    for folder in folders:
        refresh(folder, arguments.upgrade)


if __name__ == "__main__":
    main()
