"""Sealed files: stock sops and age where they are, age keys, and the command in a directory of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyrage
import pytest

from planeshift import tools
from planeshift.errors import PlaneshiftError


@dataclass(frozen=True)
class Key:
    """An age identity."""

    secret: str
    public: str


@pytest.fixture
def key() -> Key:
    identity = pyrage.x25519.Identity.generate()
    return Key(str(identity), str(identity.to_public()))


@pytest.fixture
def place(tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with rules for new files, and an identity that opens them."""
    (tmp_path / ".sops.yaml").write_text(f"creation_rules: [{{age: {key.public}}}]\n")
    identities = tmp_path / "keys.txt"
    identities.write_text(f"# mine\n{key.secret}\n")
    identities.chmod(0o600)
    for name in list(os.environ):
        if name.startswith(("SOPS_", "OS_", "VAULT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(identities))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def stock(name: str) -> str:
    """A stock tool, or a skipped test."""
    try:
        return str(tools.find(name))
    except PlaneshiftError:
        pytest.skip(f"{name} is not here: planeshift tools build {name}")


@pytest.fixture
def sops() -> Callable[..., str]:
    program = stock("sops")

    def run(*arguments: str, stdin: str = "") -> str:
        argv = (
            [program, "--disable-version-check", *arguments]
            if arguments[:1] == ("--version",)
            else [program, *arguments]
        )
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def secrets() -> Callable[..., Done]:
    """`planeshift secrets …` as a process of its own."""

    def run(*arguments: str, stdin: str = "", env: dict[str, str] | None = None) -> Done:
        argv = [sys.executable, "-m", "planeshift", "secrets", *arguments]
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, **(env or {})},
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run
