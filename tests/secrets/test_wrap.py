"""helm and kubectl with sealed files: stock helm, a stock chart, every form of a file flag; nothing rests on a disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from secretrig import Done, stock

from planeshift.secrets import work, wrap
from planeshift.secrets.wrap import HELM, KUBECTL, rewritten

Run = Callable[..., Done]


@pytest.mark.parametrize(
    ("typed", "became"),
    [
        ("r c -f s", "r c -f S"),
        ("r c -fs", "r c -fS"),
        ("r c -f=s", "r c -f=S"),
        ("r c --values s --values=s", "r c --values S --values=S"),
        ("r c --values=p,s,p", "r c --values=p,S,p"),
        ("r c -if s", "r c -if S"),
        ("r c -ifs", "r c -ifS"),
        ("-n -f r c", "-n -f r c"),
        ("-nf s", "-nf s"),
        ("-n ns -f s -f p", "-n ns -f S -f p"),
        ("--set a=s --set-file k=s", "--set a=s --set-file k=S"),
        ("--set-file=k=s,l=p", "--set-file=k=S,l=p"),
        ("r c -- -f s", "r c -- -f s"),
        ("r c -f", "r c -f"),
        ("s c --debug -f -", "s c --debug -f -"),
        ("--filename s", "--filename s"),
    ],
)
def test_helms_flags(typed: str, became: str) -> None:
    assert rewritten(typed.split(), HELM, lambda f: f.replace("s", "S") if f == "s" else f) == became.split()


def test_kubectls_flags() -> None:
    became = rewritten(["-n", "ns", "-Rf", "s", "--filename=s,p", "-f", "p"], KUBECTL, lambda f: f.replace("s", "S"))
    assert became == ["-n", "ns", "-Rf", "S", "--filename=S,p", "-f", "p"]


@given(st.lists(st.text(st.sampled_from("-fvn=, ais"), max_size=8), max_size=8))
def test_without_sealed_files_arguments_stay_as_they_are(words: list[str]) -> None:
    assert rewritten(words, HELM, lambda f: f) == words


@pytest.fixture
def chart(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    helm = stock("helm")
    monkeypatch.setenv(
        "PATH", f"{Path(helm).parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    monkeypatch.setenv("HELM_BIN", helm)
    for name in ("DATA", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"HELM_{name}_HOME", str(place / name.lower()))
    subprocess.run([helm, "create", "web"], check=True, capture_output=True)
    (place / "web/templates/secret.yaml").write_text(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  p: {{ .Values.db.password | quote }}\n"
        '  f: {{ .Values.file | default "" | quote }}\n'
    )
    (place / "s.yaml").write_bytes(work.encrypt("s.yaml", b"db: {password: s3cret-canary}\n"))
    (place / "plain.yaml").write_text("replicaCount: 7\n")
    return place


def made(out: str) -> dict[str, object]:
    return {d["kind"]: d for d in yaml.safe_load_all(out) if d}


def test_template_of_a_stock_chart(chart: Path, secrets: Run) -> None:
    (chart / "f.txt").write_bytes(work.encrypt("f.txt", b"file-canary"))
    done = secrets("template", "r", "web", "-f", "plain.yaml", "--values=s.yaml", "--set-file", "file=f.txt")
    assert done.code == 0, done.err
    kinds = made(done.out)
    assert kinds["Secret"]["stringData"] == {"p": "s3cret-canary", "f": "file-canary"}  # type: ignore[index]
    assert kinds["Deployment"]["spec"]["replicas"] == 7  # type: ignore[index]


def test_helm_says_what_it_says(chart: Path, secrets: Run) -> None:
    helm = os.environ["HELM_BIN"]
    for arguments in (["template", "r", "web", "-f", "absent.yaml"], ["lint", "nowhere"], ["template", "--nonsense"]):
        ours = secrets(*arguments)
        theirs = subprocess.run([helm, *arguments], capture_output=True, text=True, check=False)
        assert (ours.code, ours.out, ours.err) == (theirs.returncode, theirs.stdout, theirs.stderr)
        assert ours.code != 0
    assert secrets("lint", "web", "-f", "s.yaml").code == 0


def test_a_sealed_file_that_does_not_open_stops_it(chart: Path, secrets: Run) -> None:
    file = chart / "s.yaml"
    file.write_text(file.read_text().replace("password", "passwort"))
    done = secrets("template", "r", "web", "-f", "s.yaml")
    assert done.code == 1 and "PS1005" in done.err and done.out == ""


@pytest.mark.parametrize("name", ["helm", "helm4"])
def test_the_plugin(chart: Path, secrets: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    helm = stock(name)
    monkeypatch.setenv("HELM_BIN", helm)
    assert secrets("helm-plugin").code == 0
    assert secrets("helm-plugin").code == 0  # again: ours is replaced

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([helm, "secrets", *arguments], capture_output=True, text=True, check=False)

    assert run("view", "s.yaml").stdout == "db: {password: s3cret-canary}\n"
    done = run("template", "r", "web", "-f", "s.yaml", "--namespace", "elsewhere")
    assert done.returncode == 0 and "s3cret-canary" in done.stdout, done.stderr
    assert run("view", "absent.yaml").returncode == 1


def test_beside_another_plugin_of_that_name(chart: Path, secrets: Run) -> None:
    other = chart / "data/plugins/helm-secrets"
    other.mkdir(parents=True)
    (other / "plugin.yaml").write_text('name: "secrets"\nversion: "4.6.0"\nusage: x\ndescription: x\ncommand: "true"\n')
    done = secrets("helm-plugin")
    assert done.code == 1 and "PS1019" in done.err and "--name" in done.err
    assert secrets("helm-plugin", "--name", "planeshift").code == 0
    done2 = subprocess.run(
        [os.environ["HELM_BIN"], "planeshift", "view", "s.yaml"], capture_output=True, text=True, check=False
    )
    assert "s3cret-canary" in done2.stdout, done2.stderr


def test_kubectl(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl = stock("kubectl")
    (place / ".sops.yaml").write_text(
        (place / ".sops.yaml").read_text().replace("[{", "[{encrypted_regex: '^(data|stringData)$', ")
    )
    manifest = b"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: s3cret-canary}\n"
    (place / "m.yaml").write_bytes(work.encrypt("m.yaml", manifest))
    assert "name: s" in (place / "m.yaml").read_text()
    monkeypatch.setenv(
        "PATH", f"{Path(sys.executable).parent}{os.pathsep}{Path(kubectl).parent}{os.pathsep}{os.environ['PATH']}"
    )
    argv = [kubectl, "secrets", "patch", "-f", "m.yaml", "--local", "-p", "{}", "-o", "json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stringData"] == {"p": "s3cret-canary"}
    done = subprocess.run([kubectl, "secrets", "view", "m.yaml"], capture_output=True, check=True)
    assert done.stdout == manifest
    (place / "dir").mkdir()
    (place / "m.yaml").rename(place / "dir/m.yaml")
    done = subprocess.run([kubectl, "secrets", "apply", "-f", "dir"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "PS1018" in done.stderr


def test_what_is_handed_over_is_in_memory_alone(place: Path) -> None:
    path = wrap.in_memory("a: b\n", "s.yaml")
    assert Path(path).read_text() == "a: b\n" and str(Path(path).readlink()).startswith("/memfd:")
    with pytest.raises(OSError), Path(path).open("w") as file:
        file.write("changed")
    os.close(int(path.rpartition("/")[2]))


def test_nothing_of_it_is_in_arguments_or_environment(chart: Path, secrets: Run) -> None:
    fake = chart / "helm"
    fake.write_text("#!/bin/sh\ncat /proc/$$/cmdline /proc/$$/environ ; ulimit -c\nexit 42\n")
    fake.chmod(0o755)
    done = secrets("install", "r", "web", "-n", "x", "-f", "s.yaml", env={"HELM_BIN": str(fake)})
    assert done.code == 42
    assert "canary" not in done.out and "/proc/self/fd/" in done.out and done.out.endswith("0\n")
    fake.write_text('#!/bin/sh\nfor a; do f=$a; done; cat "$f"; exit 42\n')
    done = secrets("install", "r", "web", "-n", "x", "-f", "s.yaml", env={"HELM_BIN": str(fake)})
    assert (done.code, done.out) == (42, "db: {password: s3cret-canary}\n")
