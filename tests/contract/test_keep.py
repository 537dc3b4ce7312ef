"""What control, secret files, their maker and the clock do, in memory and for real."""

from __future__ import annotations

import base64
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from planeshift.catalog.spec import Secret, SecretKind
from planeshift.drivers.clock import SystemClock
from planeshift.drivers.control import LocalControl
from planeshift.drivers.maker import RandomMaker
from planeshift.drivers.memory import Memory
from planeshift.drivers.secretfiles import SecretFiles
from planeshift.errors import PlaneshiftError
from planeshift.plan.observed import Pause, Standing
from planeshift.ports import Clock, Control, Maker, Secrets


@dataclass
class ControlRig:
    """Control, as one process sees it after another; and somebody who takes its directory away."""

    next: Callable[[], Control]
    take_away: Callable[[], None]


@pytest.fixture
def control(kind: str, tmp_path: Path) -> ControlRig:
    if kind == "memory":
        memory = Memory()
        return ControlRig(lambda: Memory(memory.data).control, lambda: memory.mishaps.lease_is_taken_away())
    root = tmp_path / ".planeshift"

    def take_away() -> None:
        shutil.rmtree(root)
        root.mkdir(mode=0o700)

    return ControlRig(lambda: LocalControl(root), take_away)


# --- the lease


def test_one_at_a_time_holds_the_lease_and_the_other_is_told_who(control: ControlRig) -> None:
    with control.next().lease("ada") as keep:
        keep()
        with pytest.raises(PlaneshiftError) as caught, control.next().lease("ben"):
            pytest.fail("two hold it")
        assert caught.value.problems[0].code == "PS801"
        assert "ada" in caught.value.problems[0].message
        keep()
    with control.next().lease("ben") as keep:
        keep()


def test_a_lease_ends_with_a_failure_too(control: ControlRig) -> None:
    with pytest.raises(KeyError), control.next().lease("ada"):
        raise KeyError
    with control.next().lease("ben"):
        pass


def test_a_lease_that_was_taken_away_is_noticed(control: ControlRig) -> None:
    with control.next().lease("ada") as keep:
        control.take_away()
        with pytest.raises(PlaneshiftError) as caught:
            keep()
        assert caught.value.problems[0].code == "PS802"


def test_a_real_lease_is_free_when_its_holder_is_killed(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time; from planeshift.drivers.control import LocalControl\n"
        "with LocalControl(pathlib.Path(sys.argv[1])).lease('ada'): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, tmp_path / "c"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(PlaneshiftError, match="ada"), LocalControl(tmp_path / "c").lease("ben"):
            pytest.fail("two hold it")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with LocalControl(tmp_path / "c").lease("ben"):
        pass


# --- what is kept


def test_before_anything_was_done_nothing_is_kept_and_looking_keeps_nothing(
    control: ControlRig, tmp_path: Path
) -> None:
    looked = control.next()
    assert looked.unfinished() is None
    assert dict(looked.applied()) == {}
    assert looked.key()
    assert not (tmp_path / ".planeshift").exists()


def test_the_digest_key_is_the_same_for_every_process(control: ControlRig) -> None:
    with control.next().lease("ada"):
        key = control.next().key()
    assert control.next().key() == key
    assert len(key) >= 12


def test_a_pause_is_kept_until_it_is_lifted_and_needs_no_lease(control: ControlRig) -> None:
    with control.next().lease("ada"):
        control.next().pause("nova@c1", Pause("now", "ben"))
        control.next().pause("glance", Pause("later", "ada"))
        assert dict(control.next().paused()) == {"nova@c1": Pause("now", "ben"), "glance": Pause("later", "ada")}
        control.next().pause("glance", None)
        control.next().pause("glance", None)
    assert dict(control.next().paused()) == {"nova@c1": Pause("now", "ben")}


def test_shifts_that_go_on_side_by_side_are_all_noted(control: ControlRig) -> None:
    port, names = control.next(), [f"nova@c{n}" for n in range(20)]
    with port.lease("ada"), ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda name: port.stand(name, Standing({}, {}, {})), names))
    assert set(control.next().standing()) == set(names)


def test_a_plan_is_unfinished_from_its_begin_to_its_end(control: ControlRig) -> None:
    with control.next().lease("ada"):
        port = control.next()
        port.journal({"what": "begin plan", "who": "ada", "plan": "p1"})
        port.journal({"what": "begin", "operation": "one"})
        port.journal({"what": "end", "operation": "one"})
        port.journal({"what": "begin", "operation": "two"})
        left = control.next().unfinished()
        assert left is not None
        assert (left["who"], left["plan"], left["ended"]) == ("ada", "p1", ["one"])
        port.journal({"what": "end plan", "result": "failed"})
        assert control.next().unfinished() is None


def test_a_new_plan_forgets_the_one_before(control: ControlRig) -> None:
    with control.next().lease("ada"):
        port = control.next()
        port.journal({"what": "begin plan", "who": "ada"})
        port.journal({"what": "end", "operation": "one"})
        port.journal({"what": "begin plan", "who": "ben"})
        left = control.next().unfinished()
    assert left is not None
    assert (left["who"], left["ended"]) == ("ben", [])


def test_what_was_applied_is_that_of_the_last_plan_that_was_done(control: ControlRig) -> None:
    with control.next().lease("ada"):
        port = control.next()
        port.audit({"result": "done", "applied": {"a": "1"}})
        port.audit({"result": "done", "applied": {"a": "2"}})
        port.audit({"result": "failed"})
        assert control.next().applied() == {"a": "2"}
        port.audit({"result": "down"})
        assert control.next().applied() == {}


def test_half_a_line_that_a_kill_has_left_is_passed_over(tmp_path: Path) -> None:
    control = LocalControl(tmp_path)
    control.journal({"what": "begin plan", "who": "ada"})
    control.journal({"what": "end", "operation": "one"})
    control.audit({"result": "done", "applied": {"a": "1"}})
    for name in ("journal", "audit"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes() + b'{"what": "end", "opera')
    left = control.unfinished()
    assert left is not None
    assert left["ended"] == ["one"]
    assert control.applied() == {"a": "1"}


@pytest.mark.parametrize("name", ["journal", "audit"])
def test_what_is_written_after_half_a_line_is_not_lost_with_it(tmp_path: Path, name: str) -> None:
    control = LocalControl(tmp_path)
    control.journal({"what": "begin plan", "who": "ada"})
    (tmp_path / name).open("ab").write(b'{"what": "be')
    if name == "journal":
        control.journal({"what": "end plan"})
        assert control.unfinished() is None
    else:
        control.audit({"result": "done", "applied": {"a": "1"}})
        assert control.applied() == {"a": "1"}


# --- secret files


@pytest.fixture
def secrets(kind: str, tmp_path: Path) -> Secrets:
    return Memory().secrets if kind == "memory" else SecretFiles(tmp_path)


VALUES = {"password": 'a "quoted" $word: # \\ ü', "keys": {"0": "zero=", "1": "one="}, "number": "0123"}


def test_secrets_that_are_added_read_back(secrets: Secrets) -> None:
    assert secrets.read("secrets/a.yaml") == {}
    secrets.add("secrets/a.yaml", VALUES)
    assert secrets.read("secrets/a.yaml") == VALUES
    assert secrets.read("secrets/b.yaml") == {}


def test_what_is_there_is_never_replaced(secrets: Secrets) -> None:
    secrets.add("secrets/a.yaml", {"password": "first"})
    secrets.add("secrets/a.yaml", {"password": "second", "more": "x"})
    assert secrets.read("secrets/a.yaml") == {"password": "first", "more": "x"}


def test_values_are_changed_and_removed(secrets: Secrets) -> None:
    secrets.add("secrets/a.yaml", VALUES)
    secrets.change("secrets/a.yaml", {"password": "new # one", "keys": None, "more": {"0": "x"}, "absent": None})
    assert secrets.read("secrets/a.yaml") == {"password": "new # one", "number": "0123", "more": {"0": "x"}}
    secrets.change("secrets/a.yaml", {"more": {"1": "y"}})
    assert secrets.read("secrets/a.yaml") == {"password": "new # one", "number": "0123", "more": {"1": "y"}}


def test_a_real_secret_file_keeps_its_words_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "a.yaml"
    path.parent.mkdir()
    path.write_text("# my own words\npassword: 123456  # from the vault\n")
    path.chmod(0o600)
    secrets = SecretFiles(tmp_path)
    assert secrets.read("secrets/a.yaml") == {"password": "123456"}
    secrets.add("secrets/a.yaml", {"more": "x"})
    assert path.read_text().startswith("# my own words\npassword: 123456  # from the vault\n")
    secrets.change("secrets/a.yaml", {"more": None, "last": "y"})
    assert path.read_text() == '# my own words\npassword: 123456  # from the vault\nlast: "y"\n'
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets" / ".gitignore").read_text() == "*\n"


def test_a_secret_file_that_others_can_read_is_refused(kind: str, tmp_path: Path) -> None:
    memory = Memory()
    memory.data.public_secrets.add("a.yaml")
    (tmp_path / "a.yaml").write_text("password: x\n")
    (tmp_path / "a.yaml").chmod(0o640)
    port: Secrets = memory.secrets if kind == "memory" else SecretFiles(tmp_path)
    with pytest.raises(PlaneshiftError) as caught:
        port.read("a.yaml")
    assert caught.value.problems[0].code == "PS503"


@pytest.mark.parametrize("text", ["- a\n", "hunter2: [\n", "a: hunter2\na: b\n", "just hunter2\n", "a: !hunter2 x\n"])
def test_what_is_wrong_with_a_secret_file_is_told_without_a_secret(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "a.yaml").chmod(0o600)
    with pytest.raises(PlaneshiftError) as caught:
        SecretFiles(tmp_path).read("a.yaml")
    told = "".join(f"{p} {p.why} {p.hint} {p.where and p.where.text}" for p in caught.value.problems)
    assert "hunter2" not in told


@pytest.mark.parametrize(
    "text", ["{password: x}\n", "password: x\n...\n", "password: |\n  x\n", "", "---\npassword: x"]
)
def test_a_secret_file_of_any_form_is_added_to_or_left_whole(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    path.chmod(0o600)
    secrets = SecretFiles(tmp_path)
    before = secrets.read("a.yaml")
    try:
        secrets.add("a.yaml", {"more": "y"})
    except PlaneshiftError:
        assert path.read_text() == text
    else:
        assert secrets.read("a.yaml") == {**before, "more": "y"}


# --- making secrets


@pytest.fixture
def maker(kind: str) -> Maker:
    return Memory().maker if kind == "memory" else RandomMaker()


@pytest.mark.parametrize("what", ["password", "fernet-key", "fernet-keys", "trial-tls"])
def test_no_two_secrets_are_alike(maker: Maker, what: SecretKind) -> None:
    made = [maker.make(Secret("name", what, "for a test"), ["a.example", "127.0.0.1"]) for _ in range(3)]
    assert len({str(m) for m in made}) == 3


def test_keys_have_the_form_that_fernet_asks_for(maker: Maker) -> None:
    from cryptography.fernet import Fernet

    key = maker.make(Secret("kek", "fernet-key", ""), ())
    keys = maker.make(Secret("keys", "fernet-keys", ""), ())
    assert isinstance(keys, dict)
    assert set(keys) == {"0", "1"}
    for found in (key, *keys.values()):
        assert isinstance(found, str)
        assert Fernet(found).decrypt(Fernet(found).encrypt(b"x")) == b"x"
        assert len(base64.urlsafe_b64decode(found)) == 32


def test_a_trial_certificate_has_its_three_parts(maker: Maker) -> None:
    made = maker.make(Secret("trial_tls", "trial-tls", ""), ["a.example"])
    assert isinstance(made, dict)
    assert set(made) == {"ca_certificate", "certificate", "key"}
    assert all(made.values())


def test_a_control_is_told_from_its_copies(tmp_path: Path) -> None:
    """Who has the lease of one has not that of another: what the other left in a cluster may be alive."""
    one = LocalControl(tmp_path / "one")
    with one.lease("ada"):
        mark = one.mark()
        assert LocalControl(tmp_path / "one").mark() == mark
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    with LocalControl(tmp_path / "copy").lease("ben"):
        assert LocalControl(tmp_path / "copy").mark() != mark


def test_what_the_operator_gives_is_never_made(maker: Maker) -> None:
    with pytest.raises(ValueError):
        maker.make(Secret("password", "given", ""), ())


def test_a_real_trial_certificate_is_for_its_names_and_of_its_authority() -> None:
    from cryptography import x509

    made = RandomMaker().make(Secret("trial_tls", "trial-tls", ""), ["a.example", "192.0.2.1", "2001:db8::1"])
    assert isinstance(made, dict)
    authority = x509.load_pem_x509_certificate(made["ca_certificate"].encode())
    certificate = x509.load_pem_x509_certificate(made["certificate"].encode())
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1", "2001:db8::1"]


# --- the clock


def test_a_clock_goes_on_and_says_who(kind: str) -> None:
    clock: Clock = Memory().clock if kind == "memory" else SystemClock()
    first, began = clock.now(), clock.monotonic()
    time.sleep(0.002)
    assert clock.now() > first
    assert clock.monotonic() > began
    assert clock.now().endswith("+00:00")
    assert "pid" in clock.who()
