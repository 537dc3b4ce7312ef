"""Wycheproof's vectors of AES-GCM, from its Go module, through the values of SOPS's format."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from planeshift.secrets import cipher
from planeshift.secrets.scalars import plain_bytes

MODULE = "github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a"


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed")
    here = tmp_path_factory.mktemp("wycheproof")
    (here / "go.mod").write_text("module vectors\n")
    done = subprocess.run([go, "mod", "download", "-json", MODULE], cwd=here, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("the Go module of the vectors cannot be had")
    place = Path(json.loads(done.stdout)["Dir"]) / "testvectors_v1" / "aes_gcm_test.json"
    found: dict[str, Any] = json.loads(place.read_text())
    return found


def token(test: dict[str, str]) -> str:
    data, iv, tag = (base64.b64encode(bytes.fromhex(test[name])).decode() for name in ("ct", "iv", "tag"))
    return f"ENC[AES256_GCM,data:{data},iv:{iv},tag:{tag},type:str]"


def test_aes_gcm(vectors: dict[str, Any]) -> None:
    opened = 0
    for group in vectors["testGroups"]:
        for test in group["tests"] if (group["keySize"], group["tagSize"]) == (256, 128) else ():
            aead = cipher.aead(bytes.fromhex(test["key"]))
            try:
                value, _ = cipher.unseal(aead, token(test), bytes.fromhex(test["aad"]))
            except cipher.Unopened:
                # Nonces of less than 8 bytes or more than 128 are refused, whatever they seal: sops writes 32.
                assert test["result"] == "invalid" or not 64 <= group["ivSize"] <= 1024, test["tcId"]
                continue
            assert test["result"] != "invalid" and plain_bytes(value) == bytes.fromhex(test["msg"]), test["tcId"]
            opened += 1
    invalid = [t for g in vectors["testGroups"] if g["keySize"] == 256 for t in g["tests"] if t["result"] == "invalid"]
    assert opened > 50 and len(invalid) > 20
