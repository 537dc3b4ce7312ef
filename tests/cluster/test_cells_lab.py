"""examples/cells on its lab: servers in three cells; and what `whatif` says of a zone is what its loss really takes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bootloop import Api, BootLoop
from labrig import Rig

from planeshift.app.site import open_site
from planeshift.model import cloud as model

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
pytestmark = [
    pytest.mark.xdist_group("cells-lab"),
    pytest.mark.skipif(
        not shutil.which("mariadbd") or not RABBITMQ.exists(),
        reason="MariaDB or RabbitMQ is not installed: apt-get install mariadb-server rabbitmq-server",
    ),
]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples/cells"
NETWORK = "172.30.0."  # of the example; a test's lab has another
LOST = ("down", "no quorum")  # of whatif's verdicts
WAIT = 240  # seconds until what is seen is what was said: Nova gives a silent cell up to a minute, in each process anew
# A request to each service that has to look into its database.
ASKED = {
    "keystone": (5000, "/v3/users"),
    "glance": (9292, "/v2/images"),
    "placement": (8778, "/resource_providers"),
    "neutron": (9696, "/v2.0/networks"),
    "nova": (8774, "/v2.1/flavors"),
}


class Cloud:
    """The example, beside a lab of its own network."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.file = rig, rig.directory / "cloud.yaml"
        network = rig.site.lab.gateway.rpartition(".")[0]
        self.file.write_text((EXAMPLE / "cloud.yaml").read_text().replace(NETWORK, f"{network}."))

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.rig.planeshift(*arguments, "-f", str(self.file), check=check)

    @property
    def spec(self) -> model.Spec:
        return open_site(str(self.file)).cloud.spec

    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("status", "-o", "json", check=False).stdout)
        return found

    def without(self, *lost: str) -> list[dict[str, Any]]:
        """What `whatif` says, row by row."""
        said = self.run("whatif", *(w for name in lost for w in ("--without", name)), "-o", "json")
        rows: list[dict[str, Any]] = json.loads(said.stdout)["rows"]
        return rows

    def client(self, *arguments: str) -> str:
        """The stock client, as `planeshift env` has it."""
        lines = [line.removeprefix("export ") for line in self.run("env").stdout.splitlines()]
        given = dict(line.split("=", 1) for line in lines if "=" in line)
        environment = os.environ | {name: value.strip("'\"") for name, value in given.items()}
        argv = [str(Path(sys.executable).with_name("openstack")), *arguments]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def cloud(rig: Callable[..., Rig]) -> Iterator[Cloud]:
    made = rig((EXAMPLE / "lab.yaml").read_text().partition("spec:\n")[2], name="cells")
    made.up()
    found = Cloud(made)
    found.run("up", "--yes")
    yield found
    made.down()  # first: nothing is waited for then
    with contextlib.suppress(AssertionError):
        found.run("down", "--purge", "--yes")


@pytest.fixture(scope="module")
def api(cloud: Cloud) -> Api:
    secrets = yaml.safe_load((cloud.file.parent / "secrets/keystone.yaml").read_text())
    found = Api(cloud.rig.site.lab.gateway, secrets["admin_password"])
    found.log_in()
    return found


class Seen:
    """What a client, `status` and this machine see of a cloud at one moment: how many of each thing are of use."""

    def __init__(self, cloud: Cloud, api: Api, servers: dict[str, str], things: Collection[str]) -> None:
        """`servers` has the id of a server on each compute node, `things` what whatif knows."""
        self.spec, self.api, self.servers = cloud.spec, api, servers
        self.runs = [thing.removeprefix("run:") for thing in things if thing.startswith("run:")]
        self.rows = cloud.rows()
        status, found = api.nova("GET", "/os-services")
        assert status == 200, found
        self.alive = {(s["binary"], s["host"]) for s in found["services"] if s.get("state") == "up"}
        self.programs = {s["binary"] for s in found["services"]}
        status, found = api.nova("GET", "/servers/detail?all_tenants=1")
        assert status == 200, found
        self.listed = {s["id"]: s["status"] for s in found["servers"]}
        self.cells = {r["backend"]: r["health"] for r in self.rows if r["service"] == "cell"}

    def count(self, thing: str) -> int:
        """How many there are of a thing, named as `whatif` names it."""
        kind, _, name = thing.partition(":")
        return {
            "database": self.database,
            "messaging": self.messaging,
            "edge": self.edge,
            "run": self.run,
            "component": self.component,
            "cell": self.cell,
            "service": self.service,
        }[kind](name)

    def database(self, name: str) -> int:
        """A server that greets, as MariaDB does."""
        database = self.spec.databases[name]
        return int(_greets(self.address(database.host), database.port))

    def messaging(self, name: str) -> int:
        """A server that answers the first words of AMQP with its own."""
        bus = self.spec.messaging[name]
        return int(_greets(self.address(bus.host), bus.port, b"AMQP\x00\x00\x09\x01"))

    def edge(self, name: str) -> int:
        edge = next(e for e in self.spec.edges if e.name == name)
        return int(_greets(edge.address, 5000, b"GET / HTTP/1.0\r\n\r\n"))

    def run(self, name: str) -> int:
        """Of what takes messages those that Nova's API knows to be alive; of APIs those that `status` calls up."""
        service, backend, component = name.split("/")
        hosts = self.spec.services[service].backends[backend].hosts
        if component in self.programs:
            return sum((component, host) in self.alive for host in hosts)
        up = {r["host"] for r in self.rows if (r["service"], r["backend"], r["health"]) == (service, backend, "up")}
        return len(up & set(hosts))

    def component(self, name: str) -> int:
        """All of a program, in a cell or above the cells."""
        whole, _, cell = name.partition("@")
        service, _, component = whole.partition("/")
        backends = self.spec.services[service].backends
        runs = [r.split("/") for r in self.runs if r.startswith(f"{service}/") and r.endswith(f"/{component}")]
        return sum(self.run("/".join(r)) for r in runs if (backends[r[1]].cell or "") == cell)

    def cell(self, name: str) -> int:
        """Its compute nodes whose servers are listed as what they are; `status` must say the same of the cell."""
        found = sum(self.listed.get(self.servers[n]) == "ACTIVE" for n in computes(self.spec, name))
        return found if self.cells[name] == "up" else 0

    def service(self, name: str) -> int:
        """Its APIs, if a request through the edge comes through."""
        port, path = ASKED[name]
        status, _ = self.api.ask("GET", port, path, version="compute 2.74")
        return self.component(f"{name}/{name}-api") if status == 200 else 0

    def address(self, host: str | None) -> str:
        return next(h.address for h in self.spec.hosts if h.name == host)


def computes(spec: model.Spec, cell: str) -> list[str]:
    """The compute nodes of a cell."""
    backends = spec.services["nova"].backends.values()
    return [h for b in backends if b.cell == cell and "nova-compute" in b.components for h in b.hosts]


def _greets(address: str, port: int, first: bytes = b"") -> bool:
    """Whether a server says anything, at once or to these bytes."""
    try:
        with socket.create_connection((address, port), timeout=5) as connection:
            connection.settimeout(5)
            connection.sendall(first)
            return bool(connection.recv(1))
    except OSError:
        return False


def agree(look: Callable[[], Seen], said: dict[str, int]) -> None:
    """Until so many of each thing are seen as were said."""
    deadline = time.monotonic() + WAIT
    while True:
        seen = look()
        wrong = {t: (count, found) for t, count in said.items() if (found := seen.count(t)) != count}
        if not wrong:
            return
        assert time.monotonic() < deadline, f"said, found: {wrong}; {seen.rows}"


def test_servers_boot_in_every_cell_and_there_is_nothing_left_to_do(cloud: Cloud, api: Api) -> None:
    said = cloud.run("verify").stdout
    assert "6 servers were booted" in said, said
    loop = BootLoop(api, [])
    made = cloud.client(
        *("server", "create", "--flavor", loop.flavor, "--image", loop.image, "--no-network", "--wait"),
        *("-f", "json", "one"),
    )
    server = json.loads(made)
    assert server["status"] == "ACTIVE"
    loop.delete(server["id"])
    loop.assert_nothing_lost()
    assert "Nothing to do" in cloud.run("up", "--yes").stdout


def test_what_whatif_says_of_zone_a_is_what_cutting_it_takes(cloud: Cloud, api: Api) -> None:
    rows = cloud.without("zone:A")
    before = {r["thing"]: r["before"] for r in rows}
    after = {r["thing"]: 0 if r["verdict"] in LOST else r["after"] for r in rows}
    assert {r["verdict"] for r in rows} == {"as before", "fewer", "down"}
    cells = {c.name: computes(cloud.spec, c.name) for c in cloud.spec.cells}
    nodes = [node for there in cells.values() for node in there]
    loop = BootLoop(api, nodes)
    servers = {node: loop.boot(node) for node in nodes}

    def look() -> Seen:
        return Seen(cloud, api, servers, before)

    agree(look, before)
    cloud.rig.fault("cut", "A")
    try:
        agree(look, after)
        for cell, there in cells.items():
            alive = bool(after[f"cell:{cell}"])
            for node in there:
                status, shown = api.nova("GET", f"/servers/{servers[node]}")
                assert (status, shown["server"]["status"]) == (200, "ACTIVE" if alive else "UNKNOWN"), (node, shown)
            if alive:
                loop.delete(loop.boot(there[0]))
    finally:
        cloud.rig.fault("mend", "A")
    agree(look, before)
    cloud.run("up", "--yes")
    assert "Nothing to do" in cloud.run("up", "--yes").stdout
    for server in servers.values():
        loop.delete(server)
    loop.assert_nothing_lost()


# --- the cells' conductors move

WAVES = [["cell1"], ["cell2", "cell3"]]


@pytest.fixture
def doubled(cloud: Cloud) -> Iterator[Cloud]:
    """Each cell has a second place for its conductor, on its first compute node."""
    before = cloud.file.read_text()
    whole = yaml.safe_load(before)
    nova = whole["spec"]["services"]["nova"]
    nova["shift"] = {"steps": [100], "time": 4, "waves": WAVES}
    nova["backends"]["cell{1..3}"]["weight"] = 100
    nova["backends"]["new{1..3}"] = {"hosts": ["compute{}a"], "cell": "cell{}", "weight": 0}
    cloud.file.write_text(yaml.safe_dump(whole, sort_keys=False))
    cloud.run("up", "--yes")
    yield cloud
    cloud.file.write_text(before)
    cloud.run("up", "--yes")


def shifted(cloud: Cloud) -> dict[str, tuple[str, str]]:
    """When the last shift of each cell began and ended."""
    found = {}
    for log in sorted((cloud.file.parent / ".planeshift/shifts").glob("*/events.jsonl")):
        events = [json.loads(line) for line in log.read_text().splitlines()]
        found[events[0]["service"]] = (events[0]["at"], events[-1]["at"])
    return found


def test_cells_move_in_waves_under_a_boot_loop_and_nothing_is_lost(doubled: Cloud, api: Api) -> None:
    nodes = [f"compute{number}a" for number in (1, 2, 3)]
    with BootLoop(api, nodes) as loop:
        loop.flow(3)
        for target, other in (("new", "cell"), ("cell", "new")):
            doubled.run("shift", "nova@cell{1..3}", f"{target}{{}}=100", "--yes")
            rows = {r["backend"]: r for r in doubled.rows() if r["service"] == "nova"}
            assert {rows[f"{target}{n}"]["health"] for n in (1, 2, 3)} == {"up"}, rows
            assert {rows[f"{other}{n}"]["detail"] for n in (1, 2, 3)} == {"idle"}, rows
            times = shifted(doubled)
            one, two, three = (times[f"nova@cell{number}"] for number in (1, 2, 3))
            assert one[1] <= min(two[0], three[0]) and max(two[0], three[0]) < min(two[1], three[1]), times
            loop.flow(3)
    loop.assert_nothing_lost()
    assert "Nothing to do" in doubled.run("up", "--yes").stdout
