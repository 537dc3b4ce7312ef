"""Old files and history: what CERN's plugin wrote is read and turned, and what a repository gives away is found."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fakecloud import FakeCloud
from secretrig import Done

from planeshift.errors import PlaneshiftError
from planeshift.secrets import audit, cern, work

Run = Callable[..., Done]
KEY, NONCE = bytes(range(32)), bytes(12)
PAYLOAD = b"\n".join(base64.b64encode(b) for b in (KEY, NONCE))
ONE = b"db:\n  password: first-password\n  user: glance\nurl: rabbit://one\n"
TWO = b"db:\n  password: other-password-that-is-longer\n  user: glance\n"


def old(text: bytes, nonce: bytes = NONCE) -> bytes:
    """What CERN's plugin writes."""
    return base64.b64encode(AESGCM(KEY).encrypt(nonce, text, None))


@pytest.fixture
def repository(place: Path) -> Path:
    for arguments in (["init", "-q", "."], ["config", "user.name", "t"], ["config", "user.email", "t@example.org"]):
        subprocess.run(["git", *arguments], check=True)
    return place


def commit(files: dict[str, bytes], when: int = 1_700_000_000) -> str:
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
        subprocess.run(["git", "add", name], check=True)
    stamp = {**os.environ, "GIT_AUTHOR_DATE": f"{when} +0000", "GIT_COMMITTER_DATE": f"{when} +0000"}
    subprocess.run(["git", "commit", "-qm", "x"], check=True, env=stamp)
    return subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()


def kinds(**options: int) -> list[tuple[str, str]]:
    return [(f.kind, f.path) for f in audit.audit(".", **options)]


def test_an_old_file_opens_with_its_own_key_alone() -> None:
    key = cern.Key(PAYLOAD, "r")
    assert key.open(old(ONE) + b"\n", "f") == ONE
    assert key.open(old(b""), "f") == b"" if cern.ciphertext(old(b"")) else True
    for content in (ONE, b"", b"aGVsbG8=", base64.b64encode(b"x" * 64), old(ONE)[:-4], old(ONE, b"\1" * 12)):
        with pytest.raises(PlaneshiftError) as error:
            key.open(content, "f")
        assert error.value.problems[0].code == "PS1020"
    for payload in (b"", b"x", PAYLOAD[:-3], b"\n".join([PAYLOAD, b"x"])):
        with pytest.raises(PlaneshiftError):
            cern.Key(payload, "r")


def test_two_edits_under_one_nonce_are_proved(repository: Path, secrets: Run) -> None:
    first, second = commit({"prod/secrets.yaml": old(ONE)}), commit({"prod/secrets.yaml": old(TWO)})
    done = secrets("audit", "-o", "json", "--proof")
    [found] = json.loads(done.out)
    assert done.code == 1 and found["kind"] == "nonce" and found["commits"] == [first, second]
    assert "change them all" in found["hint"]
    assert bytes.fromhex(found["proof"]) == bytes(a ^ b for a, b in zip(ONE, TWO, strict=False))
    shown = secrets("audit", "--proof").out
    assert "000000  00 00 00 00" in shown
    assert json.loads(secrets("audit", "-o", "json").out)[0]["proof"] is None


@pytest.mark.parametrize(
    ("one", "two", "known"),
    [
        ("db: first-password\n", "db: other-password\n", True),  # 19 bytes in ASCII, of which four are the same
        ("k\u00e4se: one", "k\u00e4se: two", True),
        ("a: \u00e4\n", "b: \u00f6\n", False),  # too little to be sure
    ],
)
def test_short_files_are_judged_by_all_that_they_show(repository: Path, one: str, two: str, known: bool) -> None:
    for text in (one, two):
        commit({"prod/secrets.yaml": old(text.encode())})
    assert kinds() == ([("nonce", "prod/secrets.yaml")] if known else [])


def test_files_of_one_release_share_the_nonce(repository: Path) -> None:
    commit({"prod/a.yaml": old(ONE), "prod/b.yaml": old(TWO)})
    assert kinds() == [("nonce", "prod/a.yaml")]


def test_good_nonces_and_other_base64_are_no_finding(repository: Path) -> None:
    commit({"a.yaml": old(ONE, os.urandom(12)), "b.txt": base64.b64encode(os.urandom(200)), "c": b"aGVsbG8gd29ybGQ="})
    commit({"a.yaml": old(TWO, os.urandom(12)), "b.txt": base64.b64encode(os.urandom(200)), "c": b"aGVsbG8gd29ybGR4"})
    assert kinds() == []


def test_plaintext_of_sealed_files_and_of_ruled_ones(repository: Path, key: object) -> None:
    rules = Path(".sops.yaml").read_text().replace("[{", "[{path_regex: ^secrets/, ")
    Path(".sops.yaml").write_text(rules)
    one = commit({"secrets/never.yaml": b"a: b\n", "other.yaml": b"a: b\n"})
    two = commit({"secrets/late.yaml": b"a: b\n"})
    commit({"secrets/late.yaml": work.encrypt("secrets/late.yaml", b"a: b\n")})
    found = [(f.kind, f.path, f.commits) for f in audit.audit(".")]
    assert found == [("plaintext", "secrets/late.yaml", (two,)), ("plaintext", "secrets/never.yaml", (one,))]


def test_an_older_file_put_back(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "now", lambda: "2026-01-01T00:00:00Z")
    first = work.encrypt("s.yaml", b"a: one\n")
    commit({"s.yaml": first})
    monkeypatch.setattr(work, "now", lambda: "2026-02-01T00:00:00Z")
    work.set_value("s.yaml", ("a",), "two")
    commit({"s.yaml": Path("s.yaml").read_bytes()})
    assert kinds() == []
    commit({"s.yaml": first})
    assert kinds() == [("put-back", "s.yaml")]


def test_values_that_are_old_and_files_that_nobody_opens(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, day = 1_700_000_000, 86400
    commit({"s.yaml": work.encrypt("s.yaml", b"db: {password: x}\nuser: y\n")}, begun)
    work.set_value("s.yaml", ("user",), "z")
    commit({"s.yaml": Path("s.yaml").read_bytes()}, begun + 50 * day)
    [found] = audit.audit(".", older_than=90, now=begun + 100 * day)
    assert found.kind == "old" and "1 values" in found.words and "db: {password" in found.words
    assert kinds(older_than=200, now=begun + 100 * day) == []
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", "/dev/null")
    assert kinds() == [("unopenable", "s.yaml")]


def test_a_nonce_used_twice_in_sopss_format(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from planeshift.secrets import cipher

    commit({"good.yaml": work.encrypt("good.yaml", b"a: one\nb: two\n")})
    with monkeypatch.context() as broken:
        broken.setattr(cipher, "urandom", lambda n: b"\7" * n)
        bad = work.encrypt("bad.yaml", b"a: one\nb: two\n")
    commit({"bad.yaml": bad, "about.py": b"'sops lastmodified ENC[AES256_GCM,data:AA==,iv:AA==,tag:AA==,type:str]'"})
    assert kinds() == [("nonce", "bad.yaml")]


def test_not_a_repository(place: Path, secrets: Run) -> None:
    done = secrets("audit")
    assert done.code == 1 and "PS1016" in done.err


@pytest.fixture
def cloud(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCloud]:
    fake = FakeCloud()
    for name, value in fake.environment.items():
        monkeypatch.setenv(name, value)
    yield fake
    fake.close()


def test_migrate(place: Path, cloud: FakeCloud, secrets: Run) -> None:
    cloud.secrets["11111111-1111-1111-1111-111111111111"] = PAYLOAD.decode()
    cloud.names["11111111-1111-1111-1111-111111111111"] = "prod"
    file = place / "prod" / "s.yaml"
    file.parent.mkdir()
    file.write_bytes(old(ONE))
    done = secrets("view", str(file))
    assert done.code == 1 and "PS100" in done.err and "migrate" in done.err
    assert secrets("migrate", str(file), "--stdout").out.encode() == ONE
    assert secrets("migrate", str(file), "--release", "other").code == 1
    assert file.read_bytes() == old(ONE)
    assert secrets("migrate", str(file)).code == 0
    assert work.view(str(file)).encode() == ONE
    assert "PS1020" in secrets("migrate", str(file)).err


def test_the_old_format_is_written_once_a_key(place: Path, cloud: FakeCloud, secrets: Run) -> None:
    (place / "s.yaml").write_bytes(ONE)
    done = secrets("enc", "s.yaml", "--helm-barbican", "new")
    assert done.code == 0 and (place / "s.yaml").read_bytes() == ONE
    assert cern.fetch("new").open(done.out.encode(), "f") == ONE
    again = secrets("enc", "s.yaml", "--helm-barbican", "new")
    assert again.code == 1 and "PS1021" in again.err and again.out == ""
