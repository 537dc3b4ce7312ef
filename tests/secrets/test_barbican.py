"""Keys that Barbican keeps: the age plugin protocol, stock age and sops, and every fault of the other side."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakecloud import FakeCloud
from hypothesis import given, settings
from hypothesis import strategies as st
from secretrig import Done, Key, stock

from planeshift.errors import PlaneshiftError
from planeshift.secrets import agefile, agekeys, work
from planeshift.secrets.barbican import bech32, plugin, session
from planeshift.secrets.barbican.key import Recipient, Refused, Stanza, identity, purpose_of, unwrap, wrap
from planeshift.secrets.barbican.session import Failed, Session
from planeshift.secrets.barbican.store import Store


@pytest.fixture
def cloud(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCloud]:
    fake = FakeCloud()
    for name, value in fake.environment.items():
        monkeypatch.setenv(name, value)
    # As where it is installed: the plugin on PATH.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(agekeys, "_STORE", [])
    yield fake
    fake.close()


@pytest.fixture
def recipient(cloud: FakeCloud) -> Recipient:
    return Store(Session()).create("cloud/glance")


@pytest.fixture
def file(place: Path, recipient: Recipient, monkeypatch: pytest.MonkeyPatch) -> str:
    (place / "s.yaml").write_bytes(work.encrypt("s.yaml", b"a: one\n", age=(str(recipient),)))
    (place / "id.txt").write_text(identity() + "\n")
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(place / "id.txt"))
    return "s.yaml"


def test_one_authentication_a_run(cloud: FakeCloud, file: str, secrets: Callable[..., Done]) -> None:
    cloud.asked.clear()
    assert secrets("view", file).out == "a: one\n"
    assert [a.split("/")[-1] for a in cloud.asked] == ["tokens", "payload"]
    (Path(file).parent / "t.yaml").write_bytes(Path(file).read_bytes())
    cloud.asked.clear()
    assert work.view(file) == work.view("t.yaml") == "a: one\n"
    assert [a.split("/")[-1] for a in cloud.asked] == ["tokens", "payload"]


@pytest.mark.parametrize(
    "text",
    [
        "clouds:\n  mine:\n    region_name: R\n    auth: {auth}\n",
        "{{clouds: {{mine: {{region_name: R, auth: {auth}}}}}}}\n",
    ],
)
def test_clouds_yaml_and_its_secure_file(cloud: FakeCloud, place: Path, text: str) -> None:
    auth = f"{{auth_url: '{cloud.url}/v3', username: u, project_name: p}}"
    (place / "clouds.yaml").write_text(text.format(auth=auth))
    (place / "secure.yaml").write_text("clouds:\n  mine:\n    auth:\n      password: hush-canary\n")
    environment = {"OS_CLOUD": "mine", "OS_CLIENT_CONFIG_FILE": str(place / "clouds.yaml")}
    assert Store(Session(environment)).list() == []
    for broken in ("clouds: [", "- a\n", "clouds:\n  other: {}\n"):
        (place / "clouds.yaml").write_text(broken)
        with pytest.raises(Failed, match=r"clouds\.yaml"):
            Session(environment)


def test_sealing_needs_no_barbican(cloud: FakeCloud, recipient: Recipient, secrets: Callable[..., Done]) -> None:
    cloud.asked.clear()
    cloud.close()
    assert secrets("enc", "-", "--age", str(recipient), stdin="a: b\n").code == 0
    assert cloud.asked == []


def test_sealing_finds_the_plugin_that_is_installed_beside_it(
    cloud: FakeCloud, recipient: Recipient, secrets: Callable[..., Done]
) -> None:
    elsewhere = os.pathsep.join(
        p for p in os.environ["PATH"].split(os.pathsep) if p != str(Path(sys.executable).parent)
    )
    done = secrets("enc", "-", "--age", str(recipient), stdin="a: b\n", env={"PATH": elsewhere})
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("acl", "may not be read by this user"),
        ("down", "503"),
        ("garbage", "no age key of ours"),
        ("another's", "does not open"),
        ("no catalogue", "no public key-manager endpoint"),
        ("keystone refuses", "its password"),
        ("slow", "did not answer"),
    ],
)
def test_what_goes_wrong_is_said_and_files_stay(
    cloud: FakeCloud, file: str, fault: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(Session()).create("cloud/glance")  # another key, of the same purpose
    before = Path(file).read_bytes()
    monkeypatch.setattr(session, "TIMEOUT", 1)
    monkeypatch.setattr(agekeys, "_STORE", [])
    cloud.faults.add(fault)
    for run in (lambda: work.view(file), lambda: work.set_value(file, ("a",), "two"), lambda: work.rotate_key(file)):
        with pytest.raises(PlaneshiftError) as error:
            run()
        problem = error.value.problems[0]
        assert problem.code == "PS1009" and words in problem.why, problem
        assert "hush-canary" not in problem.why and "\x1b" not in problem.why
    assert Path(file).read_bytes() == before
    cloud.faults.clear()
    assert work.view(file) == "a: one\n"


def test_a_token_that_expires_in_the_middle_is_asked_for_again(cloud: FakeCloud, file: str) -> None:
    store = Store(Session())
    store.session.request("GET", f"/v1/secrets/{next(iter(cloud.secrets))}/payload", accept="text/plain")
    cloud.faults.add("expires")
    assert store.get(next(iter(cloud.secrets)))[1] == "cloud/glance"


def test_a_barbican_that_is_gone(
    cloud: FakeCloud, file: str, key: Key, place: Path, secrets: Callable[..., Done]
) -> None:
    work.rewrap(file, age=(*[e["recipient"] for e in work.look(file)[2].meta.entries("age")], key.public))
    assert secrets("doctor", file).code == 0
    cloud.close()
    done = secrets("view", file)
    assert done.code == 1 and "cannot be reached" in done.err
    assert secrets("view", file, env={"SOPS_AGE_KEY_FILE": str(place / "keys.txt")}).out == "a: one\n"  # break-glass


def test_doctor_insists_on_a_key_besides_barbicans(cloud: FakeCloud, file: str, secrets: Callable[..., Done]) -> None:
    done = secrets("doctor", file)
    assert done.code == 1 and "PS1015" in done.err


def test_purposes_are_bound(cloud: FakeCloud, file: str, place: Path, secrets: Callable[..., Done]) -> None:
    (place / "id.txt").write_text(identity("cloud/heat"))
    done = secrets("view", file)
    assert done.code == 1 and "'cloud/glance'" in done.err and "'cloud/heat'" in done.err
    (place / "id.txt").write_text(identity("cloud/glance"))
    assert secrets("view", file).code == 0
    # A recipient that claims another purpose than its key's: sealed, but never opened.
    real = Recipient.parse(work.look(file)[2].meta.entries("age")[0]["recipient"])
    false = Recipient(real.uuid, real.public, "cloud/heat")
    (place / "f.yaml").write_bytes(work.encrypt("f.yaml", b"a: b\n", age=(str(false),)))
    (place / "id.txt").write_text(identity())
    assert "sealed for 'cloud/heat'" in secrets("view", "f.yaml").err


def test_rotation_keeps_the_purpose_and_old_files_open(
    cloud: FakeCloud, file: str, recipient: Recipient, secrets: Callable[..., Done]
) -> None:
    new = secrets("key", "rotate", str(recipient)).out.strip()
    assert Recipient.parse(new).purpose == "cloud/glance" and Recipient.parse(new).uuid != recipient.uuid
    assert Store(Session()).get(Recipient.parse(new).uuid)[2] == 2
    old = Path(file).read_bytes()
    assert secrets("rewrap", file, "--age", new).code == 0
    assert secrets("view", file).out == "a: one\n"
    Path(file).write_bytes(old)
    assert secrets("view", file).out == "a: one\n"


def test_stock_age_and_sops(cloud: FakeCloud, file: str, recipient: Recipient, place: Path) -> None:
    age, sops = stock("age"), stock("sops")
    sealed = subprocess.run([age, "-r", str(recipient)], input=b"hello", capture_output=True, check=True).stdout
    opened = subprocess.run([age, "-d", "-i", "id.txt"], input=sealed, capture_output=True, check=True).stdout
    assert opened == b"hello"
    done = subprocess.run([sops, "decrypt", file], capture_output=True, text=True, check=True)
    assert done.stdout == "a: one\n"
    (place / "p.yaml").write_text("b: two\n")
    out = subprocess.run([sops, "encrypt", "--age", str(recipient), "p.yaml"], capture_output=True, check=True).stdout
    (place / "o.yaml").write_bytes(out)
    assert work.view("o.yaml") == "b: two\n"
    cloud.faults.add("acl")
    done = subprocess.run([sops, "decrypt", file], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "may not be read" in done.stderr.replace("\n      | ", " ")


def test_pyrage_starts_the_plugin(cloud: FakeCloud, recipient: Recipient) -> None:
    body = agekeys.wrap(b"k" * 32, str(recipient))
    # In a process of its own: pyrage lets no other thread run while it waits, not the fake cloud's either.
    code = (
        "import sys; from planeshift.secrets import agekeys; "
        "sys.stdout.buffer.write(agekeys._by_plugin(sys.stdin.buffer.read(), sys.argv[1], 'barbican', [], str))"
    )
    argv = [sys.executable, "-c", code, identity()]
    assert subprocess.run(argv, input=body.encode(), capture_output=True, check=True).stdout == b"k" * 32
    said: list[str] = []
    assert agekeys._by_barbican(body.encode(), identity(), said) == b"k" * 32 and said == []


def talk(machine: str, *stanzas: tuple[str, list[str], bytes], answers: int = 8) -> list[tuple[str, list[str], bytes]]:
    """Run a state machine with a client that says these things and then `ok` to everything."""
    source, target = io.BytesIO(), io.BytesIO()
    for command, arguments, body in [*stanzas, ("done", [], b""), *[("ok", [], b"")] * answers]:
        plugin.write(source, command, arguments, body)
    source.seek(0)

    def store() -> Store:
        raise Failed("no Barbican here")

    run = plugin.Machine(source, target, store)
    run.recipient_v1() if machine == "recipient" else run.identity_v1()
    target.seek(0)
    said = []
    while target.tell() < len(target.getvalue()):
        said.append(plugin.read(target))
    return said


SOME = Recipient("12345678-1234-5678-1234-567812345678", bytes(range(32)), "a/b")


def test_the_protocol_of_recipients() -> None:
    said = talk(
        "recipient",
        ("grease-xyz", ["a"], b"z" * 100),
        ("add-recipient", [str(SOME)], b""),
        ("wrap-file-key", [], b"k" * 16),
        ("extension-labels", [], b""),
        ("wrap-file-key", [], b"l" * 16),
    )
    assert [(c, a[:2]) for c, a, _ in said] == [
        ("recipient-stanza", ["0", "barbican"]),
        ("recipient-stanza", ["1", "barbican"]),
        ("done", []),
    ]


def test_a_recipient_that_is_wrong_gets_no_stanza_for_any() -> None:
    broken = str(SOME)[:-1] + ("q" if str(SOME)[-1] != "q" else "p")
    said = talk(
        "recipient",
        ("add-recipient", [str(SOME)], b""),
        ("add-recipient", [broken], b""),
        ("add-identity", [identity()], b""),
        ("wrap-file-key", [], b"k" * 16),
    )
    assert [(c, a) for c, a, _ in said] == [("error", ["recipient", "1"]), ("error", ["identity", "0"]), ("done", [])]


def test_the_protocol_of_identities_ignores_what_is_not_ours() -> None:
    said = talk(
        "identity",
        ("add-identity", [identity()], b""),
        ("recipient-stanza", ["0", "X25519", "abc"], b"x" * 32),
        ("recipient-stanza", ["0", "barbican", "abc"], b"x" * 32),
    )
    assert [c for c, _, _ in said] == ["msg", "error", "done"] and said[1][1] == ["stanza", "0", "1"]


def test_an_unknown_state_machine_is_refused() -> None:
    argv = [sys.executable, "-m", "planeshift.secrets.barbican.plugin", "--age-plugin=identity-v9"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and "unknown state machine" in done.stderr and done.stdout == ""


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_client_is_answered_or_left(noise: bytes) -> None:
    machine = plugin.Machine(io.BytesIO(noise), io.BytesIO(), lambda: Store(None))  # type: ignore[arg-type]
    for run in (machine.recipient_v1, machine.identity_v1):
        with pytest.raises((EOFError, ValueError)):
            run()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100), st.integers(0, 200), st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l"))
def test_bech32(data: bytes, at: int, letter: str) -> None:
    text = bech32.encode("age1barbican", data)
    assert bech32.decode(text) == bech32.decode(text.upper()) == ("age1barbican", data)
    at = len(text) - 1 - at % (len(text) - 13)
    if text[at] != letter:
        with pytest.raises(ValueError):
            bech32.decode(text[:at] + letter + text[at + 1 :])


def test_a_stanza_opens_for_its_own_key_and_purpose_alone() -> None:
    from planeshift.secrets.barbican.key import new_private, public_of

    private = new_private()
    recipient = Recipient(SOME.uuid, public_of(private), "a/b")
    stanza = wrap(recipient, b"k" * 16)
    assert unwrap(stanza, private) == b"k" * 16
    other = str(SOME.uuid)[:-1] + "9"
    for changed in (
        Stanza(other, stanza.purpose, stanza.ephemeral, stanza.body),
        Stanza(stanza.uuid, "a/c", stanza.ephemeral, stanza.body),
        Stanza(stanza.uuid, stanza.purpose, bytes(32), stanza.body),
        Stanza(stanza.uuid, stanza.purpose, stanza.ephemeral, bytes(32)),
    ):
        with pytest.raises(Refused):
            unwrap(changed, private)
    with pytest.raises(Refused):
        wrap(Recipient(SOME.uuid, bytes(32), "a/b"), b"k" * 16)  # a point of small order
    assert Stanza.parse(stanza.arguments(), stanza.body).arguments() == stanza.arguments()
    assert purpose_of(identity("a/b")) == "a/b" and purpose_of(identity()) == ""


def test_an_altered_age_file_is_refused(cloud: FakeCloud, recipient: Recipient) -> None:
    import binascii

    body = agekeys.wrap(b"k" * 32, str(recipient))
    lines = body.strip().splitlines()
    data = binascii.a2b_base64("".join(lines[1:-1]))
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        text = binascii.b2a_base64(changed, newline=False)
        armored = lines[0].encode() + b"\n" + text + b"\n" + lines[-1].encode()
        said: list[str] = []
        assert agekeys._by_barbican(armored, identity(), said) is None, at
    assert agefile.stanzas(body.encode())[0][0][0] == "barbican"
