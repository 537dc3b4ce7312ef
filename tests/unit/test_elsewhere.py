"""Hosts that are reached by ssh, as far as it takes none: the cloud file, how ssh is called, what its words mean."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from planeshift.app.site import host_paths, open_site
from planeshift.drivers.ssh import luggage
from planeshift.drivers.ssh.client import Client
from planeshift.errors import PlaneshiftError

CLOUD = """\
apiVersion: planeshift/v1
kind: Cloud
metadata: {name: first}
spec:
  edges: [{name: lb, address: 192.0.2.10}]
  databases: {main: {engine: mysql, host: 192.0.2.20}}
  hosts: [{name: here, via: local}, HOST]
  services: {keystone: {backends: {vms: {hosts: [vm1]}}}}
"""
SSH = "{name: vm1, via: ssh, address: 192.0.2.31}"


def site(tmp_path: Path, host: str, cloud: str = CLOUD) -> list[str]:
    """The problems of a cloud with this host."""
    (tmp_path / "cloud.yaml").write_text(cloud.replace("HOST", host))
    try:
        open_site(str(tmp_path / "cloud.yaml"))
    except PlaneshiftError as error:
        return [f"{p.code} {p.message}" for p in error.problems]
    return []


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("{name: vm1, via: ssh}", "PS108 `address` of the host `vm1` is missing"),
        ("{name: vm1, address: 192.0.2.31, ssh: {user: root}}", "PS107 `ssh` goes with `via: ssh`"),
        ("{name: vm1, via: ssh, address: 192.0.2.31, observe: ssh}", "PS107 `observe: ssh` goes with `via: external`"),
        ("{name: vm1, via: external, observe: ssh}", "PS108 `address` of the host `vm1` is missing"),
        ("{name: vm1, via: ssh, address: 192.0.2.31, lab: lab.yaml}", "PS107 `lab` goes with `via: lab`"),
        (
            "{name: vm1, via: external, address: 192.0.2.31, supervisor: systemd}",
            "PS107 `supervisor: systemd` does not go with `via: external`",
        ),
        ("{name: vm1, via: ssh, address: 192.0.2.31, ssh: {user: -oProxyCommand=x}}", "PS107 `user`"),
        ("{name: vm1, via: ssh, address: 192.0.2.31, ssh: {host: -oProxyCommand=x}}", "PS107 `host`"),
        ("{name: vm1, via: ssh, address: 192.0.2.31, ssh: {key: -x}}", "PS107 `key`"),
        ("{name: vm1, via: ssh, address: 192.0.2.31, ssh: {directory: /a/../b}}", "PS107 `directory`"),
        ("{name: vm1, via: ssh, address: 192.0.2.31, ssh: {usr: a}}", "PS106 unknown key `usr`"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, host: str, problem: str) -> None:
    [found] = site(tmp_path, host)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("databases: {main: {engine: mysql, host: 192.0.2.20}}", "databases: {}", "PS212"),
        ("host: 192.0.2.20", "host: 127.0.0.1", "PS219"),
        ("address: 192.0.2.10", "address: 127.0.0.1", "PS219"),
    ],
)
def test_what_hosts_elsewhere_cannot_reach_is_refused(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert site(tmp_path, SSH) == []
    [found] = site(tmp_path, SSH, CLOUD.replace(old, new))
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("ssh", "runtime", "state"),
    [
        ("{}", "/run/planeshift/first", "/var/lib/planeshift/first"),
        ("{user: ops}", "/dev/shm/planeshift-ops/first", "/home/ops/.planeshift/first"),
        ("{user: ops, directory: /srv/ps}", "/dev/shm/planeshift-ops/first", "/srv/ps/first"),
    ],
)
def test_where_things_are_follows_from_the_user_and_the_clouds_name(
    tmp_path: Path, ssh: str, runtime: str, state: str
) -> None:
    (tmp_path / "cloud.yaml").write_text(CLOUD.replace("HOST", SSH.replace("}", f", ssh: {ssh}}}")))
    paths = host_paths(open_site(str(tmp_path / "cloud.yaml")))["vm1"]
    assert (paths.runtime, paths.state, paths.supervisor) == (runtime, state, "systemd")
    assert paths.root == (ssh == "{}")


def test_the_hosts_key_is_checked_and_nothing_asked_or_forwarded_whatever_else_is_set(tmp_path: Path) -> None:
    plain = Client("vm1", "192.0.2.31", "root", tmp_path)
    for client in (plain, Client("vm1", "vm", "ops", tmp_path, 2222, "/k", "/h", "/c")):
        argv = client.argv("true")
        assert {"-oStrictHostKeyChecking=yes", "-oBatchMode=yes", "-oForwardAgent=no"} <= set(argv)
        assert "-oClearAllForwardings=yes" in argv and argv[-3:] == ["--", client.host, "true"]
    for other in (
        Client("vm1", "192.0.2.31", "root", tmp_path, known_hosts="/h"),
        Client("vm1", "192.0.2.31", "root", tmp_path, key="/k"),
        Client("vm1", "192.0.2.31", "ops", tmp_path),
    ):
        assert _socket(other) != _socket(plain)


def _socket(client: Client) -> str:
    return next(a for a in client.argv("true") if a.startswith("-oControlPath="))


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("No ED25519 host key is known for vm1 and you have …\nHost key verification failed.", "PS471"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", "PS471"),
        ("root@vm1: Permission denied (publickey,password).", "PS472"),
        ("ssh: connect to host vm1 port 22: Connection refused", "PS473"),
        ("ssh: Could not resolve hostname vm1: Name or service not known", "PS473"),
        ("Connection closed by 192.0.2.31 port 22", "PS473"),
        ("tar: agent: Cannot write: No space left on device", "PS404"),
        ("mkdir: cannot create directory '/var/lib/planeshift': Permission denied", "PS474"),
        ("", "PS474"),
    ],
)  # fmt: skip
def test_the_words_of_ssh_say_what_is_wrong(tmp_path: Path, words: str, code: str) -> None:
    [problem] = Client("vm1", "vm1", "root", tmp_path).failure(io.BytesIO(words.encode())).problems
    assert problem.code == code and "vm1" in problem.message and problem.hint


def test_scripts_find_the_interpreter_that_they_lie_beside(tmp_path: Path) -> None:
    scripts = tmp_path / "bin"
    scripts.mkdir()
    (scripts / "tool").write_text("#!/somewhere/else/bin/python\nimport sys\nprint(sys.argv[1:], sys.executable)\n")
    (scripts / "tool").chmod(0o755)
    (scripts / "shell").write_text("#!/bin/sh\necho python\n")
    luggage._scripts(tmp_path)
    tmp_path.rename(tmp_path.with_name("moved here"))
    moved = tmp_path.with_name("moved here") / "bin"
    (moved / "python").symlink_to(sys.executable)
    done = subprocess.run([moved / "tool", "one two"], capture_output=True, text=True, check=True)
    assert "['one two']" in done.stdout
    assert (moved / "shell").read_text() == "#!/bin/sh\necho python\n"
    assert (moved / "tool").stat().st_mode & 0o777 == 0o755
