"""`planeshift secrets` as it is typed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from secretrig import Done, Key

from planeshift.errors import PlaneshiftError
from planeshift.secrets import files, work

Run = Callable[..., Done]


@pytest.fixture
def file(place: Path) -> Path:
    path = place / "s.yaml"
    path.write_bytes(work.encrypt(str(path), b"# c\ndb:\n    user: glance\n    password: canary-s3cret\nport: 1\n"))
    return path


def script(place: Path, text: str) -> dict[str, str]:
    editor = place / "editor"
    editor.write_text(f"#!/bin/sh\n{text}\n")
    editor.chmod(0o755)
    return {"EDITOR": str(editor), "VISUAL": "", "SOPS_EDITOR": ""}


def test_enc_view_dec(place: Path, secrets: Run) -> None:
    path = place / "new.yaml"
    path.write_text("a: one\n")
    path.chmod(0o640)
    assert secrets("enc", "new.yaml").code == 0
    assert "one" not in path.read_text() and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert secrets("view", "new.yaml").out == "a: one\n"
    assert secrets("view", "new.yaml", "--path", "a").out == "one\n"
    assert secrets("dec", "new.yaml").out == "a: one\n"
    again = secrets("enc", "new.yaml")
    assert again.code == 1 and "PS1007" in again.err
    assert secrets("dec", "new.yaml", "--in-place").code == 0
    assert path.read_text() == "a: one\n" and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list(place.glob(".*.new"))


def test_view_says_what_is_wrong(place: Path, file: Path, secrets: Run, key: Key) -> None:
    text = file.read_text()
    file.write_text(text.replace("    user:", "    usr:"))
    done = secrets("view", "s.yaml")
    assert done.code == 1 and done.out == "" and "PS1005" in done.err and "db.usr" in done.err
    file.write_text(text)
    done = secrets("view", "s.yaml", env={"SOPS_AGE_KEY_FILE": "", "SOPS_AGE_KEY": ""})
    assert done.code == 1 and "PS1009" in done.err and key.public in done.err
    done = secrets("view", "absent.yaml")
    assert done.code == 1 and "PS105" in done.err
    for bad in ("AGE-SECRET-KEY-1QQQQ",):
        done = secrets("view", "s.yaml", env={"SOPS_AGE_KEY": bad, "SOPS_AGE_KEY_FILE": ""})
        assert done.code == 1 and "PS1008" in done.err and "QQQQ" not in done.err


def test_set_unset_diff(place: Path, file: Path, secrets: Run) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "init", "-q", "."], check=True)
    subprocess.run([*git, "add", "s.yaml"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    assert secrets("diff", "s.yaml").out == ""
    assert secrets("set", "s.yaml", "db.password", stdin="other\n").code == 0
    assert secrets("set", "s.yaml", "db.ports[0]", "--json", stdin="5").code == 0
    assert secrets("unset", "s.yaml", "port").code == 0
    assert work.view("s.yaml") == "# c\ndb:\n    user: glance\n    password: other\n    ports:\n        - 5\n"
    assert secrets("diff", "s.yaml").out == "~ db.password\n+ db.ports[0]\n- port\n"
    assert "'canary-s3cret' → 'other'" in secrets("diff", "s.yaml", "--show").out
    changed = subprocess.run(["git", "diff", "-U0"], capture_output=True, text=True, check=True).stdout
    assert "user:" not in changed
    before = file.read_bytes()
    assert secrets("set", "s.yaml", "db.password", stdin="other").code == 0
    assert file.read_bytes() == before  # set to what it is: not written
    done = secrets("unset", "s.yaml", "db.none")
    assert done.code == 1 and "PS1013" in done.err and file.read_bytes() == before


def test_an_editor_that_fails_or_changes_nothing_leaves_the_file(place: Path, file: Path, secrets: Run) -> None:
    before, inode = file.read_bytes(), file.stat().st_ino
    for text, code in (("exit 3", 1), ("true", 0), ("kill -9 $$", 1), ("echo '{' > $1", 1), ("rm $1", 1)):
        done = secrets("edit", "s.yaml", env=script(place, text))
        assert done.code == code, (text, done.err)
        assert file.read_bytes() == before and file.stat().st_ino == inode
    done = secrets("edit", "s.yaml", env={"EDITOR": "/nowhere/editor", "VISUAL": "", "SOPS_EDITOR": ""})
    assert done.code == 1 and "PS1014" in done.err


def test_an_editor_that_replaces_its_file(place: Path, file: Path, secrets: Run) -> None:
    done = secrets("edit", "s.yaml", env=script(place, "sed s/glance/heat/ $1 > $1.new && mv $1.new $1"))
    assert done.code == 0, done.err
    assert "heat" in work.view("s.yaml")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="root alone can be another user")
def test_a_user_who_may_not_mount_edits_in_memory_too(place: Path, file: Path) -> None:
    env = {**os.environ, "EDITOR": "sed -i s/glance/heat/", "VISUAL": "", "SOPS_EDITOR": ""}
    for path in (place, *place.iterdir()):
        os.chown(path, 65533, 65533)
    reads = "-all,+dac_read_search"  # and nothing else of root's: this program may lie where only root looks
    other = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups", f"--inh-caps={reads}"]
    argv = [*other, f"--ambient-caps={reads}", f"--bounding-set={reads}", sys.executable, "-m", "planeshift", "secrets"]
    done = subprocess.run([*argv, "edit", "s.yaml"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "heat" in work.view("s.yaml")


def test_edit_begins_a_file(place: Path, secrets: Run) -> None:
    assert secrets("edit", "new.yaml", env=script(place, "echo 'a: b' > $1")).code == 0
    assert work.view("new.yaml") == "a: b\n"
    assert secrets("edit", "none.yaml", env=script(place, "true")).code == 0
    assert not (place / "none.yaml").exists()


def test_two_people_editing_lose_nothing(place: Path, file: Path, secrets: Run) -> None:
    env = script(
        place,
        f"cd {place}; touch began; n=0; while [ ! -e go ] && [ $n -lt 3000 ]; do sleep 0.02; n=$((n+1)); done;"
        " sed -i s/glance/heat/ $1",
    )
    done: list[Done] = []
    first = threading.Thread(target=lambda: done.append(secrets("edit", "s.yaml", env=env)))
    first.start()
    deadline = time.monotonic() + 60
    while not (place / "began").exists():
        assert first.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)
    work.set_value("s.yaml", ("db", "password"), "by the other")
    (place / "go").touch()
    first.join()
    assert done[0].code == 1 and "PS1012" in done[0].err
    assert "by the other" in work.view("s.yaml") and "user: glance" in work.view("s.yaml")
    assert "user: heat" in work.view("s.mine1.yaml")


def test_a_file_is_never_over_somebody_elses_change(place: Path, file: Path) -> None:
    opened = work.open_file("s.yaml")
    work.set_value("s.yaml", ("port",), 2)
    with pytest.raises(PlaneshiftError) as error:
        work.change(opened, opened.text + "x: y\n")
    assert error.value.problems[0].code == "PS1012"
    with pytest.raises(PlaneshiftError):
        files.replace("s.yaml", b"x", None)


def _holders(canary: str, places: list[Path]) -> list[str]:
    """Where a text is found: files of these places, and what processes show of themselves."""
    found = []
    for top in places:
        for path in top.rglob("*"):
            try:
                if path.is_file() and not path.is_symlink() and canary.encode() in path.read_bytes():
                    found.append(str(path))
            except OSError:
                continue
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                if canary.encode() in (process / name).read_bytes():
                    found.append(f"{process}/{name}")
            except OSError:
                continue
    return found


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL])
def test_no_plaintext_is_left_when_edit_is_killed(place: Path, sign: signal.Signals) -> None:
    canary = f"canary{os.urandom(8).hex()}"
    path = place / "s.yaml"
    path.write_bytes(work.encrypt(str(path), f"a: {canary}\n".encode()))
    began = place / "began"
    env = {**os.environ, **script(place, f"grep -q {canary[:6]} $1 && touch {began}; exec sleep 60")}
    argv = [sys.executable, "-m", "planeshift", "secrets", "edit", "s.yaml"]
    ignored = [s for s in (signal.SIGHUP, signal.SIGQUIT) if signal.getsignal(s) is signal.SIG_IGN]
    for each in ignored:  # by nohup, or by a shell's `&`: a child would ignore it, too
        signal.signal(each, signal.SIG_DFL)
    process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for each in ignored:
        signal.signal(each, signal.SIG_IGN)
    try:
        while not began.exists():
            assert process.poll() is None
            time.sleep(0.02)
        here = [place, Path("/dev/shm"), Path("/mnt"), Path("/media"), Path("/srv")]
        assert _holders(canary, here) == []
        process.send_signal(sign)
        if sign is signal.SIGINT:
            process.kill()  # the editor's, while it runs
        process.wait(10)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and _running(f"{place}/editor"):
            time.sleep(0.05)
        assert not _running(f"{place}/editor")
        assert _holders(canary, here) == []
        assert work.view(str(path)) == f"a: {canary}\n"
    finally:
        process.kill()
        process.wait()


def _running(program: str) -> bool:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"EDITOR={program}".encode() in (process / "environ").read_bytes():
                return True
        except OSError:
            continue
    return False


def test_keys_rewrap_rotate_key(place: Path, file: Path, secrets: Run, key: Key) -> None:
    import pyrage

    other = pyrage.x25519.Identity.generate()
    public = str(other.to_public())
    rows = json.loads(secrets("keys", "s.yaml", "-o", "json").out)
    assert [(r["key"], r["here"]) for r in rows] == [(key.public, "yes")]
    (place / ".sops.yaml").write_text(f"creation_rules: [{{path_regex: s, age: '{key.public},{public}'}}]\n")
    values = [line for line in file.read_text().splitlines() if "ENC[" in line]
    done = secrets("rewrap", "s.yaml")
    assert done.code == 0 and f"+ {public}" in done.err
    assert [line for line in file.read_text().splitlines() if "ENC[" in line] == values
    assert "as declared" in secrets("rewrap", "s.yaml").err
    text = work.view("s.yaml")
    assert secrets("view", "s.yaml", env={"SOPS_AGE_KEY": str(other), "SOPS_AGE_KEY_FILE": ""}).out == text
    old = work.open_file("s.yaml").key
    assert secrets("rotate-key", "s.yaml").code == 0
    assert work.open_file("s.yaml").key != old and work.view("s.yaml") == text
    assert not set(values) & set(file.read_text().splitlines())
    (place / ".sops.yaml").write_text(f"creation_rules: [{{age: {public}}}]\n")
    done = secrets("rewrap", "s.yaml")
    assert f"- {key.public}" in done.err and "rotate-key" in done.err
    assert "PS1009" in secrets("view", "s.yaml").err


@pytest.mark.parametrize(
    "rules",
    ["creation_rules: [{path_regex: other, age: x}]", "creation_rules: [{pgp: ABC}]", "creation_rules: 3", "{",
     "creation_rules: [{age: age1x, encrypted_regex: a, unencrypted_suffix: b}]", "creation_rules: [{age: nonsense}]",
     "creation_rules: [{path_regex: '(', age: x}]", "creation_rules: [{}]"],
)  # fmt: skip
def test_rules_that_fit_no_file(place: Path, secrets: Run, rules: str) -> None:
    (place / ".sops.yaml").write_text(rules)
    (place / "n.yaml").write_text("a: b\n")
    done = secrets("enc", "n.yaml")
    assert done.code == 1 and ("PS1011" in done.err or "PS1010" in done.err)
    assert (place / "n.yaml").read_text() == "a: b\n"


def test_a_file_that_no_rule_fits_is_sealed_for_whom_it_is_said(place: Path, secrets: Run, key: Key) -> None:
    (place / ".sops.yaml").write_text(f"creation_rules: [{{path_regex: other, age: {key.public}}}]\n")
    (place / "n.yaml").write_text("a: b\n")
    done = secrets("enc", "n.yaml")
    assert done.code == 1 and "PS1011" in done.err and f"{place}/.sops.yaml" in done.err and "--age" in done.err
    assert secrets("enc", "n.yaml", "--age", key.public).code == 0
    assert secrets("view", "n.yaml").out == "a: b\n"


def test_enc_writes_nothing_where_the_disk_refuses(place: Path, secrets: Run) -> None:
    (place / "n.yaml").write_text("a: b\n")
    argv = ["bash", "-c", f"ulimit -f 0; exec {sys.executable} -m planeshift secrets enc n.yaml"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert (place / "n.yaml").read_text() == "a: b\n" and not list(place.glob(".*.new"))
