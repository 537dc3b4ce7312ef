"""Hosts of a lab as `via: ssh` hosts of a cloud: a real sshd, a real systemd, and a Keystone that its journal speaks of.

The tests build on one another, on one lab of their own, whose hosts reach no package registry.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import pytest
from labrig import Rig

from planeshift.app.compose import ssh_hosts
from planeshift.app.site import open_site
from planeshift.errors import PlaneshiftError
from planeshift.openloop import Flow, Load, Step, load
from planeshift.ports import Host, quiet
from planeshift.render import supervisor
from planeshift.render.desired import File, Program
from planeshift.render.supervisor import MARKER

LAB = """
  hosts:
    - {name: vm1, runs: {systemd: {}, sshd: {}}}
    - {name: vm2}
    - {name: db1, runs: {mariadb: {databases: [keystone]}}}
"""
MISSING = [p for p in ("mariadbd", "ssh", "/usr/sbin/sshd", "/lib/systemd/systemd") if not shutil.which(p)]
pytestmark = [
    pytest.mark.xdist_group("lab-killed"),
    pytest.mark.skipif(
        bool(MISSING), reason=f"{MISSING}: apt-get install mariadb-server openssh-client openssh-server systemd"
    ),
]
UNIT = "planeshift-*-keystone-units-keystone-api.service"


class Cloud:
    """A Keystone on vm1, by ssh, and on vm2, as a host of the lab, behind an edge on this machine."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.file = rig, rig.directory / "cloud.yaml"
        self.address = {h.name: h.address for h in rig.site.lab.hosts}
        self.write({})

    def write(self, settings: dict[str, Any], ssh: dict[str, Any] | None = None) -> None:
        """The cloud's file, with settings of vm1's backend and of the way there."""
        keys = f".planeshift/lab-{self.rig.site.lab.name}/ssh"
        way = {"key": f"{keys}/key", "known-hosts": f"{keys}/known_hosts"} | (ssh or {})
        backends = {"units": {"hosts": ["vm1"], "weight": 0} | settings, "others": {"hosts": ["vm2"], "weight": 100}}
        if settings.get("weight"):
            backends["others"]["weight"] = 100 - settings["weight"]
        spec = {
            "edges": [{"name": "lb", "address": self.rig.site.lab.gateway}],
            "databases": {"main": {"engine": "mysql", "host": self.address["db1"]}},
            "hosts": [
                {"name": "here", "via": "local"},
                {"name": "vm1", "via": "ssh", "address": self.address["vm1"], "ssh": way},
                {"name": "vm2", "via": "lab", "lab": "lab.yaml", "address": self.address["vm2"]},
            ],
            "services": {"keystone": {"shift": {"time": 2, "steps": [25, 100]}, "backends": backends}},
        }
        whole = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "test"}, "spec": spec}
        self.file.write_text(json.dumps(whole))

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.rig.planeshift(*arguments, "-f", str(self.file), check=check)

    def health(self) -> dict[str, str]:
        rows = json.loads(self.run("status", "-o", "json", check=False).stdout)
        return {row["host"]: row["health"] for row in rows if row["service"] == "keystone"}

    def inside(self, *command: str) -> str:
        return self.rig.inside("vm1", *command)

    def pid(self) -> int:
        """Of the server that systemd looks after."""
        return int(self.inside("sh", "-c", f"systemctl show -P MainPID '{UNIT}'"))


@pytest.fixture(scope="module")
def cloud(rig: Callable[..., Rig]) -> Iterator[Cloud]:
    made = rig(LAB, name="ssh")
    made.up()
    cloud = Cloud(made)
    cloud.run("up", "--yes")
    yield cloud
    cloud.write({})
    cloud.run("down", "--purge", "--yes")
    left = "ls /var/lib/planeshift /run/planeshift /run/systemd/system/planeshift* 2>/dev/null; ps axww | grep drivers.agent"
    assert "planeshift.drivers" not in made.inside("vm1", "sh", "-c", left).replace("grep drivers.agent", "")


def test_what_is_missing_is_carried_and_services_are_units_of_systemd(cloud: Cloud) -> None:
    assert cloud.health() == {"vm1": "up", "vm2": "up"}
    shown = cloud.inside("sh", "-c", f"systemctl show -p ActiveState,ProtectSystem,NoNewPrivileges '{UNIT}'")
    assert set(shown.split()) == {"ActiveState=active", "ProtectSystem=strict", "NoNewPrivileges=yes"}
    secret = "grep -rlE 'connection = mysql' /run/planeshift | xargs stat -c %a"
    assert set(cloud.inside("sh", "-c", secret).split()) == {"600"}
    cloud.run("verify")
    assert "Nothing to do" in cloud.run("up", "--yes").stdout
    doctor = cloud.run("doctor", check=False).stdout
    assert "ok   vm1: root@" in doctor and ", systemd, " in doctor
    assert "==> vm1/keystone/units <==" in cloud.run("logs").stdout


def test_a_service_moves_from_a_host_of_a_lab_to_one_by_ssh_and_back_and_no_request_is_lost(cloud: Cloud) -> None:
    url = f"http://{cloud.rig.site.lab.gateway}:5000/v3"
    with load(Load(flows=(Flow(steps=(Step(name="version", url=url),), rate=60),))) as found:
        for weight in (100, 0):
            cloud.write({"weight": weight})
            cloud.run("up", "--yes")
    assert found.failures == [] and found.sent > 100
    assert "Nothing to do" in cloud.run("up", "--yes").stdout


def test_systemd_starts_what_dies_again(cloud: Cloud) -> None:
    before = cloud.pid()
    cloud.inside("kill", "-9", str(before))
    deadline = time.monotonic() + 60
    while cloud.pid() in (0, before) or cloud.health()["vm1"] != "up":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert "Nothing to do" in cloud.run("up", "--yes").stdout


def test_killed_while_it_works_there_the_next_run_goes_on(cloud: Cloud) -> None:
    before = cloud.pid()
    cloud.write({"components": {"keystone-api": {"threads": 3}}, "port": 15001})
    argv = [sys.executable, "-m", "planeshift", "up", "--yes", "-f", str(cloud.file)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as run:
        assert run.stderr
        next(line for line in run.stderr if "done files" in line)
        time.sleep(0.3)  # it restarts the service now
        run.send_signal(signal.SIGKILL)
    cloud.run("up", "--yes")
    assert cloud.health()["vm1"] == "up" and cloud.pid() != before
    assert "Nothing to do" in cloud.run("up", "--yes").stdout
    assert "PS471" in refused(cloud, {"known-hosts": "nobody"})
    assert "PS472" in refused(cloud, {"key": "nothing"})
    assert "not available" in refused(cloud, {"user": "nobody"})  # whose shell is nologin
    cloud.write({"components": {"keystone-api": {"threads": 3}}, "port": 15001})


def refused(cloud: Cloud, ssh: dict[str, Any]) -> str:
    """What is said where the way there is another."""
    cloud.write({"components": {"keystone-api": {"threads": 3}}, "port": 15001}, ssh)
    done = cloud.run("plan", check=False)
    assert done.returncode == 1
    return done.stderr


def test_a_host_that_dies_is_told_and_the_next_run_after_it_is_back_starts_all_again(cloud: Cloud) -> None:
    cloud.rig.fault("kill", "vm1")
    down = cloud.run("up", "--yes", check=False)
    assert down.returncode == 1 and "PS473" in down.stderr and f"root@{cloud.address['vm1']}" in down.stderr
    cloud.rig.up()
    cloud.run("up", "--yes")
    assert cloud.health() == {"vm1": "up", "vm2": "up"}


@pytest.mark.parametrize("user", ["root", "cloudops"])
def test_units_of_systemd_or_of_a_users_own_keep_the_contract_of_hosts(cloud: Cloud, user: str) -> None:
    made = "id cloudops >/dev/null 2>&1 || useradd --uid 4321 --create-home --password '*' cloudops"
    cloud.inside("sh", "-c", made)
    cloud.write({"port": 15001}, {"user": user})
    site = open_site(str(cloud.file))
    [host] = ssh_hosts(site)
    if user != "root":
        with pytest.raises(PlaneshiftError) as caught:
            host.look()
        assert "loginctl enable-linger cloudops" in caught.value.problems[0].hint
        cloud.inside("systemctl", "start", "user@4321.service")
        time.sleep(2.5)  # a failure is remembered for a moment
    port, unit = cast(Host, host), "vm1/web/small"
    directory = f"{host.paths.runtime}/{unit}"

    def lay_out(setting: str) -> list[Program]:
        """A server of its directory, which says how it was started."""
        script = (
            f"echo started with {setting}; exec /usr/bin/python3 -m http.server 18888 --bind {cloud.address['vm1']}"
        )
        variables = {"PATH": "/usr/bin:/bin", MARKER: f"{directory}#web"}
        programs = [Program("web", ("/bin/sh", "-c", script), variables, "", "", stop_seconds=5)]
        files = supervisor.files(host.paths, directory, "", unit, programs)
        port.lay_out(unit, files | {"page.txt": File(setting.encode())})
        return programs

    url = f"http://{cloud.address['vm1']}:18888/page.txt"
    port.make_directories([host.paths.state])
    programs = lay_out("one")
    port.start(unit, programs)
    port.wait_ready(url, unit, quiet)
    first = port.units(b"")[unit]
    assert first.supervised and set(first.running) == {"web"} and not first.orphans
    port.start(unit, programs)
    assert port.units(b"")[unit] == first
    # A journal in memory alone, as the lab's is, is root's to read.
    assert user != "root" or "started with one" in port.tail(unit, 20)
    port.restart(unit, lay_out("two"))
    port.wait_ready(url, unit, quiet)
    second = port.units(b"")[unit]
    assert second.running != first.running and second.supervision != first.supervision
    assert user != "root" or "started with two" in port.tail(unit, 20)
    assert cloud.inside("ps", "-o", "user=", "-p", str(second.running["web"])).strip() == user
    port.reload(unit, programs)  # it knows no signal, so it is started anew
    port.wait_ready(url, unit, quiet)
    port.stop(unit)
    stopped = port.units(b"")[unit]
    assert not stopped.supervised and not stopped.running and not stopped.orphans
    port.remove(unit)
    assert unit not in port.units(b"")
    if user == "root":
        host.close()
    else:
        host.purge()
        assert "planeshift" not in cloud.inside("sh", "-c", "ls -A /home/cloudops /dev/shm /run/user/4321/systemd/user")


def test_another_supervisor_takes_a_units_programs_over(cloud: Cloud) -> None:
    cloud.write({"port": 15001})
    [host] = ssh_hosts(open_site(str(cloud.file)))
    paths, unit = host.paths, "vm1/web/small"
    directory = f"{paths.runtime}/{unit}"
    programs = [Program("web", ("/bin/sleep", "600"), {MARKER: f"{directory}#web"}, f"{directory}/web.log", "")]
    before = None
    for name in ("supervisord", "systemd", "supervisord"):
        host.close()
        host.paths = replace(paths, supervisor=name)
        port = cast(Host, host)
        files = supervisor.files(host.paths, directory, directory, unit, programs)
        port.lay_out(unit, files)
        if before:
            assert port.units(b"")[unit].running == before.running  # by who looked after them until now
            port.restart(unit, programs)
        else:
            port.start(unit, programs)
        after = port.units(b"")[unit]
        assert after.supervised and set(after.running) == {"web"} and not after.orphans
        assert before is None or (after.running != before.running and after.supervision != before.supervision)
        before = after
    port.stop(unit)
    assert not port.units(b"")[unit].supervised
    port.remove(unit)
    host.close()
