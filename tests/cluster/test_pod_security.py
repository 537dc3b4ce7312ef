"""The upstream evaluator, as `planeshift tools` builds it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from labrig import Rig

from planeshift.tools import find

POD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: one}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
        - {name: c, image: i, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    Rig(tmp_path_factory.mktemp("none")).planeshift("tools", "build", "pod-security")
    return find("pod-security")


def judge(program: Path, text: str, *arguments: str) -> tuple[int, str]:
    done = subprocess.run([str(program), *arguments], input=text, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_what_keeps_to_the_standard_passes(program: Path) -> None:
    other = "---\n# nothing\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"
    other += "---\napiVersion: x.io/v1\nkind: Own\n"
    assert judge(program, POD + other) == (0, "")


def test_what_breaks_it_is_told_by_object_and_check(program: Path) -> None:
    status, said = judge(
        program, POD + "---" + POD.replace("allowPrivilegeEscalation: false, ", "").replace("one", "two")
    )
    assert status == 1 and said.startswith("Deployment/two: allowPrivilegeEscalation")
    assert "Deployment/one" not in said


def test_levels_differ(program: Path) -> None:
    root = POD.replace("runAsNonRoot: true, ", "")
    assert judge(program, root)[0] == 1
    assert judge(program, root, "baseline")[0] == 0
    host = root.replace("containers:", "hostNetwork: true\n      containers:")
    assert judge(program, host, "baseline")[0] == 1


def test_what_cannot_be_read_is_no_pass(program: Path) -> None:
    assert judge(program, "apiVersion: apps/v1\nkind: Deployment\nspec: [")[0] == 2
    assert judge(program, POD, "nonsense")[0] == 2
