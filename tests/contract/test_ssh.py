"""Hosts that are reached by ssh, where it goes wrong; what they do otherwise is in test_host.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from conftest import address
from sshrig import ROOT, Sshd, reason, until

from planeshift.app import external
from planeshift.app.site import open_site
from planeshift.drivers.local import processes
from planeshift.drivers.ssh import client as ssh_client
from planeshift.drivers.ssh import reading
from planeshift.errors import PlaneshiftError
from planeshift.plan.observed import Foreign
from planeshift.ports import quiet
from planeshift.render import topology
from planeshift.render.desired import File, HostPaths
from planeshift.render.files import foreign_digest, operator_paths, shared_digest

pytestmark = pytest.mark.skipif(bool(reason()), reason=reason())
KEY, UNIT = b"key", "here/web/vms"


@pytest.fixture
def paths(directory: Path) -> HostPaths:
    return HostPaths(runtime=str(directory / "r"), state=str(directory / "s"))


@pytest.fixture
def fresh(directory: Path) -> Iterator[Sshd]:
    """A sshd of the test's own, on a host where there is nothing of ours yet."""
    made = Sshd(directory, address())
    yield made
    made.stop()


def code(host: object) -> tuple[str, str]:
    with pytest.raises(PlaneshiftError) as caught:
        host.units(KEY)  # type: ignore[attr-defined]
    (problem,) = caught.value.problems
    return problem.code, f"{problem.message}\n{problem.why}\n{problem.hint}"


def test_a_host_whose_key_nobody_compared_is_sent_nothing(sshd: Sshd, paths: HostPaths) -> None:
    found, words = code(sshd.host(paths, sshd.client(known_hosts="none")))
    assert found == "PS471" and "is not known" in words and "fingerprint" in words
    assert not (sshd.directory / "none").exists()


def test_a_host_that_shows_another_key_is_sent_nothing(sshd: Sshd, paths: HostPaths) -> None:
    sshd.know("other_key")
    try:
        found, words = code(sshd.host(paths, sshd.client()))
    finally:
        sshd.know("host_key")
    assert found == "PS471" and "another key" in words and "ssh-keygen -R" in words


def test_a_connection_is_not_shared_with_who_connects_by_other_rules(sshd: Sshd, paths: HostPaths) -> None:
    sshd.host(paths).units(KEY)
    assert code(sshd.host(paths, sshd.client(known_hosts="none")))[0] == "PS471"
    assert code(sshd.host(paths, sshd.client(key="other_key")))[0] == "PS472"


def test_a_host_that_takes_none_of_our_keys_says_so(sshd: Sshd, paths: HostPaths) -> None:
    found, words = code(sshd.host(paths, sshd.client(key="other_key")))
    assert found == "PS472" and "Permission denied" in words and "ssh-add" in words


def test_a_host_where_nobody_listens_is_told_in_the_words_of_ssh(sshd: Sshd, paths: HostPaths) -> None:
    found, words = code(sshd.host(paths, sshd.client(host=address(), port=9)))
    assert found == "PS473" and "refused" in words


@pytest.mark.skipif(Path("/run/systemd/system").exists() or not ROOT, reason="this machine has systemd")
def test_a_host_without_systemd_says_what_needs_none(sshd: Sshd, paths: HostPaths) -> None:
    without = HostPaths(runtime=paths.runtime, state=paths.state, supervisor="systemd")
    found, words = code(sshd.host(without))
    assert found == "PS474" and "supervisor: supervisord" in words


@pytest.mark.skipif(not ROOT, reason="mounts take root")
def test_a_host_without_python_says_so(fresh: Sshd, paths: HostPaths) -> None:
    hide = 'mount -t tmpfs tmpfs "$HOME"; for p in /usr/bin/python3* /usr/local/bin/python3*; do '
    fresh.prepare = hide + '[ ! -x "$p" ] || mount --bind /bin/false "$p"; done'
    fresh.start()
    found, words = code(fresh.host(paths))
    assert found == "PS474" and "no Python 3.11" in words and "apt-get install python3" in words


@pytest.mark.skipif(not ROOT, reason="mounts take root")
def test_a_full_disk_leaves_nothing_half_made_and_the_next_run_goes_on(fresh: Sshd, paths: HostPaths) -> None:
    kept = fresh.directory / "kept"
    kept.mkdir()
    fresh.prepare = f"mount -t tmpfs -o size=8m tmpfs {kept}"
    fresh.start()
    host = fresh.host(paths)
    found, words = code(host)
    assert found == "PS404" and "No space left" in words
    fresh.client().run('test -z "$(ls -A "$1"/agents)" && mount -o remount,size=1g "$1"', str(kept))
    assert dict(fresh.host(paths).units(KEY)) == {}
    host.close()


def test_a_connection_that_is_cut_is_told_and_the_next_call_connects_again(sshd: Sshd, paths: HostPaths) -> None:
    host = sshd.host(paths)
    host.units(KEY)
    caught: list[PlaneshiftError] = []

    def work() -> None:
        try:
            host.run(["/bin/sleep", "3"], {"PATH": "/usr/bin:/bin"}, "/", quiet)
        except PlaneshiftError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: list(processes.marked(paths.state, processes.RUN_MARKER)))
    sshd.cut()
    thread.join(30)
    assert [e.problems[0].code for e in caught] == ["PS409"]
    said: list[str] = []
    host.settle(said.append)  # what was begun there is waited for, or ended
    assert not list(processes.marked(paths.state, processes.RUN_MARKER))
    host.lay_out(UNIT, {"file": File(b"after")})
    assert set(host.units(KEY)) == {UNIT}
    host.remove(UNIT)
    host.close()


def test_a_host_that_hangs_is_given_up(sshd: Sshd, paths: HostPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ssh_client._OPTIONS, "ServerAliveInterval", "1")
    host = sshd.host(paths)
    host.units(KEY)
    stopped = sshd.sessions()
    for pid in stopped:
        os.kill(pid, 19)
    try:
        assert code(host)[0] == "PS409"
    finally:
        for pid in stopped:
            os.kill(pid, 18)
    host.close()


def test_an_agent_that_hears_of_nobody_ends(paths: HostPaths) -> None:
    argv = [sys.executable, "-m", "planeshift.drivers.agent"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as agent:
        assert agent.stdin
        begin = {"name": "here", "paths": asdict(paths), "patience": 2, "ready_seconds": 1}
        agent.stdin.write(json.dumps(begin).encode() + b"\n")
        for _ in range(6):  # it stays for who only says that they are there
            agent.stdin.write(b"\n")
            agent.stdin.flush()
            time.sleep(0.5)
        assert agent.poll() is None
        assert agent.wait(30) == 1


def test_nothing_that_is_laid_out_is_seen_in_an_argument(sshd: Sshd, paths: HostPaths) -> None:
    host = sshd.host(paths)
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for entry in processes.PROC.iterdir():
                if entry.name.isdigit() and int(entry.name) != os.getpid():
                    for name in ("cmdline", "environ"):
                        try:
                            seen.add((entry / name).read_bytes())
                        except OSError:
                            continue

    thread = threading.Thread(target=watch)
    thread.start()
    secret = os.urandom(16).hex().encode()
    for _ in range(20):
        host.lay_out(UNIT, {"secret": File(secret, 0o600, secret=True)})
        host.lay_out(UNIT, {})
    done.set()
    thread.join()
    assert seen and not any(secret in text for text in seen)
    host.remove(UNIT)
    host.close()


def test_files_of_a_host_that_is_not_ours_are_read_and_nothing_is_left_there(sshd: Sshd, directory: Path) -> None:
    etc, client = directory / "etc glance", sshd.client()
    (etc / "glance-api.conf.d").mkdir(parents=True)
    (etc / "glance-api.conf").write_bytes(b"[DEFAULT]\n\xff\n")
    (etc / "glance-api.conf.d/10-site.conf").symlink_to(etc / "glance-api.conf")
    (etc / "secret.conf").write_text("password")
    before = sorted(directory.rglob("*"))
    names = ["glance-api.conf", "glance-api.conf.d/10-site.conf", "policy.yaml"]
    assert reading.read_files(client, str(etc), names) == dict.fromkeys(names[:2], b"[DEFAULT]\n\xff\n")
    assert reading.read_files(client, str(etc), ["policy.yaml"]) == {}
    assert reading.read_files(client, str(directory / "nothing"), names) == {}
    assert [p for p in sorted(directory.rglob("*")) if "sockets" not in p.parts] == before
    with pytest.raises(PlaneshiftError) as caught:
        reading.read_files(client, str(etc / "secret.conf"), names)
    assert caught.value.problems[0].code == "PS474"


def test_a_file_that_may_not_be_read_is_no_file_that_is_missing(directory: Path) -> None:
    (directory / "hidden").touch(0o000)
    directory.chmod(0o755)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if ROOT else []
    argv = [*nobody, "sh", "-c", reading.SCRIPT, "sh", str(directory), "hidden"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 3 and "hidden may not be read" in done.stderr


@pytest.mark.skipif(not ROOT, reason="root gives the sshd an /etc of its own")
def test_the_configuration_of_an_external_host_is_the_clouds_own_or_another_or_unknown(directory: Path) -> None:
    ours, etc = directory / "site/glance", directory / "etc"
    for tree in (ours, etc / "glance"):
        tree.mkdir(parents=True)
        (tree / "glance-api.conf").write_text("[DEFAULT]\ndebug = true\n")
    (etc / "glance/policy.yaml").write_text("not of the cloud's tree\n")
    (directory / "point/glance").mkdir(parents=True)
    own = f"mount -t overlay overlay -o lowerdir={directory / 'point'}:/etc /etc"
    made = Sshd(directory, address(), f"{own} && mount --bind {etc / 'glance'} /etc/glance")
    ways = {"host": "there", "key": "client_key", "known-hosts": "known_hosts", "config": "config"}
    host = {"name": "vm1", "via": "external", "address": "192.0.2.21", "observe": "ssh", "ssh": ways}
    spec = {
        "edges": [{"name": "lb", "address": "192.0.2.1"}],
        "hosts": [{"name": "here", "via": "local"}, host],
        "databases": {"main": {"engine": "mysql", "host": "192.0.2.9"}},
        "services": {
            "keystone": {"endpoint": "http://192.0.2.8:5000/v3"},
            "glance": {"config": "site/glance", "backends": {"vms": {"hosts": ["vm1"]}}},
        },
    }
    cloud = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "test"}, "spec": spec}
    (directory / "cloud.yaml").write_text(json.dumps(cloud))
    try:
        made.start()
        site = open_site(str(directory / "cloud.yaml"))
        made.clients.append(external.ssh_client(site, topology.hosts(site.cloud)["vm1"]))
        glance = topology.ours(site.cloud)["glance"]
        laid = operator_paths(glance, {"glance-api.conf": (ours / "glance-api.conf").read_bytes()})
        expected = shared_digest(glance, {path: File(text).digest(b"") for path, text in laid.items()})
        [same] = external.look(site, ["glance"]).values()
        assert foreign_digest(glance, same.files) == expected and external.look(site, ["keystone"]) == {}
        (etc / "glance/glance-api.conf").write_text("[DEFAULT]\ndebug = false\n")
        [other] = external.look(site, ["glance"]).values()
        assert other == Foreign({"glance-api.conf": b"[DEFAULT]\ndebug = false\n"})
        assert foreign_digest(glance, other.files) not in ("", expected)
        (etc / "glance/glance-api.conf").unlink()
        [none] = external.look(site, ["glance"]).values()
        assert none == Foreign(why="none of the service's files were found there")
    finally:
        made.stop()
    [gone] = external.look(site, ["glance"]).values()
    assert not gone.files and "cannot be reached" in gone.why
