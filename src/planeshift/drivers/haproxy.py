"""HAProxy by its runtime socket. Implements `ports.Edge`.

Commands: https://docs.haproxy.org/2.6/management.html#9.3.
"""

from __future__ import annotations

import errno
import socket
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.observed import EdgeState, ServerState
from planeshift.ports import Say
from planeshift.render.haproxy import HOP

SOCKET, MASTER = "admin.sock", "master.sock"
_NO_WORKER = "Can't find the target"
DRAIN_SECONDS = 620
AWAY = 50  # tries, five a second, after which an edge that does not answer does not run
CHECK_SECONDS = 60
AT_ONCE = 50  # orders in one line, which HAProxy takes up to 16 KiB of
_WITHHELD = 0x01 | 0x08 | 0x02 | 0x10  # forced or inherited maintenance and drain, 9.3 "show servers state"


class HAProxy:
    """The HAProxys of a cloud.

    `runtimes` maps a host's name to its runtime directory; `sockets` the unit of an edge that is somebody else's to its
    runtime socket.
    """

    def __init__(
        self, runtimes: Mapping[str, str], sockets: Mapping[str, str] | None = None, program: str = "haproxy"
    ) -> None:
        self.runtimes, self.sockets, self.program = runtimes, sockets or {}, program

    def state(self, unit: str) -> EdgeState | None:
        try:
            told = self._ask(unit, "show info;show servers state;show stat")
        except OSError:
            return None
        info, servers, statistics = (*told.split("\n\n"), "", "")[:3]
        description = next((line for line in info.splitlines() if line.startswith("description:")), "")
        return EdgeState(description.rpartition(" ")[2], _servers(servers, _checks(statistics)), _busy(statistics))

    def check(self, unit: str) -> None:
        path = self._directory(unit) / "haproxy.cfg"
        try:
            done = subprocess.run([self.program, "-c", "-f", str(path)], capture_output=True, text=True, check=False)
        except OSError as error:
            hint = "apt-get install haproxy"
            raise PlaneshiftError(Problem("PS605", "haproxy is not installed", hint=hint)) from error
        if done.returncode:
            words = (done.stderr or done.stdout).strip()[-2000:]
            raise PlaneshiftError(Problem("PS606", f"HAProxy refuses the configuration of {unit}", why=words))

    def wait(self, unit: str, structure: str, say: Say) -> None:
        began, told = time.monotonic(), 0.0
        while True:
            state = self.state(unit)
            if state and state.structure == structure:
                return
            waited = time.monotonic() - began
            if waited > 30:
                raise PlaneshiftError(
                    Problem("PS607", f"HAProxy of {unit} did not take the new configuration within 30 s")
                )
            if waited - told > 2:
                told = waited
                say(f"waiting for HAProxy to take the new configuration since {waited:.0f} s")
            time.sleep(0.02)

    def settle(self, unit: str, say: Say) -> None:
        began, told = time.monotonic(), 0.0
        while True:
            try:
                processes = self._ask(unit, "show proc", MASTER)
            except OSError:
                if self.state(unit) is None:
                    return  # no HAProxy runs, so no older one of it does
                processes = "# old workers\nits master does not listen yet"
            # https://docs.haproxy.org/2.6/management.html#9.4: workers of before a reload are listed on their own.
            older = processes.partition("# old workers")[2].partition("# programs")[0].strip()
            waited = time.monotonic() - began
            if not older or waited > DRAIN_SECONDS:
                return
            if waited - told > 2:
                told = waited
                say(f"waiting for connections of before the last reload since {waited:.0f} s")
            time.sleep(0.1)

    def set_weights(self, unit: str, weights: Mapping[tuple[str, str], int]) -> None:
        self._orders(unit, [f"set server {frontend}/{server} weight {n}" for (frontend, server), n in weights.items()])
        self._orders(unit, self._takes(unit, {place for place, n in weights.items() if n}))

    def withhold(self, unit: str, frontend: str, server: str, say: Say) -> None:
        if self.state(unit) is None:
            return  # an edge that does not run sends nothing
        drain = f"set server {frontend}/{server} state drain"
        self._order(unit, drain)
        began = time.monotonic()
        while sessions := self._sessions(unit, frontend, server, drain):
            waited = time.monotonic() - began
            if waited > DRAIN_SECONDS:
                say(f"{sessions} requests still run after {DRAIN_SECONDS} s; going on")
                return
            say(f"waiting for {sessions} requests in flight since {waited:.0f} s")
            time.sleep(0.2)

    def admit(self, unit: str, frontend: str, server: str) -> None:
        if self.state(unit) is not None:
            self._order(unit, f"set server {frontend}/{server} state ready")
            self._orders(unit, self._takes(unit, {(frontend, server)}))

    def wait_up(self, unit: str, frontend: str, server: str, say: Say) -> None:
        began, told = time.monotonic(), 0.0
        while True:
            state = self.state(unit)
            now = state.servers.get((frontend, server)) if state else None
            if now is None or now.up:
                return
            waited = time.monotonic() - began
            if waited > CHECK_SECONDS:
                why = f"its check says: {now.check}"
                raise PlaneshiftError(
                    Problem("PS607", f"HAProxy of {unit} does not find {frontend}/{server} up", why=why)
                )
            if waited - told > 2:
                told = waited
                say(f"waiting for {frontend}/{server} to be found up since {waited:.0f} s ({now.check})")
            time.sleep(0.05)

    def _sessions(self, unit: str, frontend: str, server: str, order: str) -> int:
        """How many requests a server has in hand: none where HAProxy stays away.

        `order` is given each time: a HAProxy that its supervisor has started again meanwhile knows of none.
        """
        for _ in range(AWAY):
            try:
                for row in rows(self._ask(unit, f"{order};show stat")):
                    if (row.get("pxname"), row.get("svname")) == (frontend, server):
                        return int(row.get("scur") or 0)
                return 0
            except OSError:
                time.sleep(0.2)
        return 0

    def _takes(self, unit: str, places: Collection[tuple[str, str]]) -> list[str]:
        """What lets servers take of the requests that wait for any server of theirs: an order of the limit that each has.

        While requests wait, `roundrobin` thinks that every server is full, and gives new ones to none; those that wait are
        taken by servers that have finished one (HAProxy's src/backend.c, `assign_server`, and src/queue.c). One that had no
        weight, or was withheld, would take nothing while the others are overloaded, which is when it is needed most.
        """
        try:
            told = rows(self._ask(unit, "show stat"))
        except OSError:
            return []
        waiting = {row["pxname"] for row in told if row["svname"] == "BACKEND" and int(row.get("qcur") or 0)}
        found = {(row["pxname"], row["svname"]): row.get("slim") for row in told if row["pxname"] in waiting}
        return [f"set maxconn server {'/'.join(place)} {found[place]}" for place in places if found.get(place)]

    def _orders(self, unit: str, orders: Sequence[str]) -> None:
        for some in range(0, len(orders), AT_ONCE):
            self._order(unit, ";".join(orders[some : some + AT_ONCE]))

    def _order(self, unit: str, command: str) -> None:
        try:
            answer = self._ask(unit, command).strip()
        except OSError as error:
            why = f"its runtime socket: {error.strerror}"
            raise PlaneshiftError(Problem("PS607", f"HAProxy of {unit} cannot be reached", why=why)) from error
        if answer:
            raise PlaneshiftError(Problem("PS607", f"HAProxy of {unit} refused `{command}`", why=answer))

    def _ask(self, unit: str, command: str, name: str = SOCKET) -> str:
        return ask(self.sockets.get(unit) or str(self._directory(unit) / name), command)

    def _directory(self, unit: str) -> Path:
        return Path(self.runtimes[unit.split("/", 1)[0]]) / unit


def ask(path: str, command: str) -> str:
    """What HAProxy answers on a runtime socket. Raises OSError."""
    with connect(path, command) as connection:
        connection.shutdown(socket.SHUT_WR)  # the master's socket answers on and on until it knows that this was all
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    answer = b"".join(parts).decode("utf-8", "replace")
    if answer.startswith(_NO_WORKER):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "its master has no worker")
    return answer


def connect(path: str, command: str) -> socket.socket:
    """A connection to a runtime socket that was sent a command. Raises OSError.

    Where the socket of a HAProxy of ours was removed, which no reload brings back, its master passes the command on:
    .../management.html#9.4.
    """
    place = Path(path)
    if place.name == SOCKET and not place.exists():
        place, command = place.with_name(MASTER), ";".join(f"@1 {order}" for order in command.split(";"))
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(5)
        connection.connect(str(place))
        connection.sendall(command.encode() + b"\n")
    except OSError:
        connection.close()
        raise
    return connection


def _servers(text: str, checks: Mapping[tuple[str, str], tuple[bool, str]]) -> dict[tuple[str, str], ServerState]:
    lines = [line for line in text.splitlines() if line and line != "1"]
    if not lines:
        return {}
    names = lines[0].lstrip("# ").split()
    result = {}
    for line in lines[1:]:
        row = dict(zip(names, line.split(), strict=False))
        place = (row["be_name"], row["srv_name"])
        if place[1] == HOP:
            continue
        up, check = checks.get(place, (False, ""))
        result[place] = ServerState(
            weight=int(row["srv_uweight"]),
            withheld=bool(int(row["srv_admin_state"]) & _WITHHELD),
            up=up,
            check=check,
            address=f"{row['srv_addr']}:{row['srv_port']}",
        )
    return result


def _busy(text: str) -> dict[str, float]:
    """Requests that are served at any one time: by the last second, and the means of the last 1024 requests.

    The time of a request to its first byte does not know of long bodies, which the number under way at this moment does; and
    `ttime` bounds that, although it has in it how long a client kept its connection for the next request (HAProxy's
    management guide, 9.1).
    """
    return {row["pxname"]: _at_a_time(row) for row in rows(text) if row.get("svname") == "BACKEND"}


def _at_a_time(row: dict[str, str]) -> float:
    rate, now, whole, *parts = (int(row.get(n) or 0) for n in ("rate", "scur", "ttime", "qtime", "ctime", "rtime"))
    return min(rate * whole / 1000, max(rate * sum(parts) / 1000, now))


def _checks(text: str) -> dict[tuple[str, str], tuple[bool, str]]:
    return {
        (row["pxname"], row["svname"]): (
            row["status"].startswith(("UP", "DRAIN", "no check")),
            f"{row['status']} {row.get('check_status', '')} {row.get('last_chk', '')}".strip(),
        )
        for row in rows(text)
        if row.get("svname") not in ("FRONTEND", "BACKEND")
    }


def rows(text: str) -> list[dict[str, str]]:
    """The rows of a table that HAProxy answers with, by the names in its head."""
    lines = [line for line in text.splitlines() if line]
    names = lines[0].lstrip("# ").split(",") if lines else []
    return [dict(zip(names, line.split(","), strict=False)) for line in lines[1:]]
