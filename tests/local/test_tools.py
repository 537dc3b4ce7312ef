"""Building tools: one for real, and all that can go wrong, with a `go` that fails as the real one does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("tools")

GO = """#!/bin/sh
[ "$1" = env ] && {{ echo go{version}; exit 0; }}
while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; last=$1; shift; done
echo "$last" >>{log}
echo some/package >&2
{build}
printf '#!/bin/sh\\necho v9.9.9\\n' >"$out"
chmod +x "$out"
"""


class Place:
    """A user's cache and PATH of a test's own, with a `go` in it."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.log = directory, directory / "log"
        self.bin, self.cache = directory / "bin", directory / "cache"
        self.bin.mkdir()
        # the programs that a shell script needs, and nothing else that a tool could be found as
        for name in ("sh", "chmod", "sleep", "touch"):
            (self.bin / name).symlink_to(shutil.which(name) or name)

    def go(self, build: str = "", version: str = "1.99.0") -> None:
        self.program("go", GO.format(version=version, log=self.log, build=build))

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": str(self.bin), "XDG_CACHE_HOME": str(self.cache), "UV_OFFLINE": "1"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "planeshift", "tools", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    @property
    def built(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []

    @property
    def partial(self) -> list[Path]:
        return list(self.cache.glob("planeshift/tools/.*.partial"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def until(there: Path) -> None:
    deadline = time.monotonic() + 30
    while not there.exists():
        assert time.monotonic() < deadline, f"{there} does not come"
        time.sleep(0.02)


@pytest.mark.skipif(not shutil.which("go"), reason="there is no Go on this machine")
def test_a_real_build_is_the_pinned_version(tmp_path: Path) -> None:
    go_cache = subprocess.run(["go", "env", "GOCACHE"], capture_output=True, text=True, check=True).stdout.strip()
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "GOCACHE": go_cache}

    def planeshift(*arguments: str) -> str:
        argv = [sys.executable, "-m", "planeshift", "tools", *arguments]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout

    planeshift("build", "--all", "age-keygen")
    program = tmp_path / "planeshift/tools/bin/age-keygen"
    pinned = {t["name"]: t["version"] for t in json.loads(planeshift("list", "-o", "json"))}
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.strip() == f"v{pinned['age-keygen']}"


def test_a_second_build_has_nothing_to_do(place: Place) -> None:
    place.go()
    assert place.run("build", "age", "etcd")[0] == 0
    assert place.run("build", "age", "etcd")[0] == 0
    assert sorted(place.built) == ["filippo.io/age/cmd/age", "go.etcd.io/etcd/server/v3"]
    code, out, _ = place.run("path", "etcd")
    assert code == 0 and out.strip().endswith("/etcd") and Path(out.strip()).is_file()
    assert (place.cache / "planeshift/tools/bin/age").resolve().is_file()


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        ("write /x: no space left on device", "PS404", "Free some space"),
        ("verifying module: checksum mismatch", "PS413", "do not use it"),
        ("dial tcp 192.0.2.1:443: i/o timeout", "PS412", "GOPROXY"),
        ("main.go:3:1: syntax error", "PS414", ""),
    ],
)
def test_what_fails_is_told_by_its_cause_and_leaves_nothing(place: Place, words: str, code: str, hint: str) -> None:
    place.go(f"echo '{words}' >&2; exit 1")
    status, _, err = place.run("build", "etcd")
    assert status == 1
    assert code in err and words in err and hint in err
    assert not place.partial and place.run("path", "etcd")[0] == 1


def test_one_that_fails_does_not_keep_the_others_from_being_built(place: Place) -> None:
    place.go('case "$last" in *coredns*) echo "bad thing here" >&2; exit 1;; esac')
    status, _, err = place.run("build", "coredns", "etcd", "age")
    assert status == 1 and "coredns" in err
    assert place.run("path", "etcd")[0] == 0 and place.run("path", "age")[0] == 0


def test_killed_while_it_builds_the_next_build_goes_on_and_clears_away(place: Place) -> None:
    begun = place.directory / "begun"
    place.go(f'echo half >"$out"; echo $$ >{begun}; sleep 60')
    process = place.start("build", "etcd")
    until(begun)
    time.sleep(0.1)
    process.kill()
    os.killpg(int(begun.read_text()), signal.SIGKILL)  # a go that was left behind would end by itself, later
    process.communicate()
    assert place.partial
    assert place.run("path", "etcd")[0] == 1
    place.go()
    assert place.run("build", "etcd")[0] == 0
    assert not place.partial and place.run("path", "etcd")[0] == 0


def test_interrupted_it_ends_what_it_began(place: Place) -> None:
    begun = place.directory / "begun"
    place.go(f"echo $$ >{begun}; sleep 60")
    process = place.start("build", "etcd")
    until(begun)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)
    assert not place.partial


def test_two_at_once_build_it_once(place: Place) -> None:
    begun = place.directory / "begun"
    place.go(f"touch {begun}; sleep 2")
    first = place.start("build", "etcd")
    until(begun)
    status, _, err = place.run("build", "etcd")
    first.communicate()
    assert (status, first.returncode) == (0, 0)
    assert "waiting for another build" in err and len(place.built) == 1


def test_an_old_go_is_not_taken_and_a_new_one_that_cannot_be_had_is_told(place: Place) -> None:
    place.go(version="1.19.8")
    status, _, err = place.run("build", "etcd")
    assert status == 1 and "PS412" in err and "UV_INDEX_URL" in err
    assert place.built == []


@pytest.mark.parametrize(
    ("says", "used"),
    [
        ("echo v3.15.2+gabc", "PATH"),
        ("echo v2.17.0", "not built"),
        ("echo v4.0.0", "not built"),
        ("exit 3", "not built"),
    ],
)
def test_a_program_on_path_is_used_where_its_version_fits(place: Place, says: str, used: str) -> None:
    place.program("helm", f"#!/bin/sh\n{says}\n")
    _, out, _ = place.run("list", "-o", "json")
    helm = next(t for t in json.loads(out) if t["name"] == "helm")
    assert helm["from"] == used
    if used == "PATH":
        assert helm["version"] != helm["used"] == "3.15.2" and helm["path"] == str(place.bin / "helm")


def test_an_unknown_tool_is_named(place: Place) -> None:
    status, _, err = place.run("build", "helmet")
    assert status == 1 and "PS410" in err and "helmet" in err
