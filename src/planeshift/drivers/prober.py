"""Real round trips with openstacksdk, through the edge or through one server alone. Implements `ports.Prober`."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from planeshift.catalog.spec import ServiceSpec
from planeshift.errors import control_free


@dataclass(frozen=True)
class Access:
    """How a client gets in, but for the password."""

    identity: str  # Keystone's URL, with /v3
    region: str
    ca_file: str = ""

    def settings(self, password: str) -> dict[str, Any]:
        """A cloud as clouds.yaml has it: https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html."""
        found: dict[str, Any] = {
            "auth": {
                "auth_url": self.identity,
                "username": "admin",
                "password": password,
                "project_name": "admin",
                "user_domain_name": "Default",
                "project_domain_name": "Default",
            },
            "region_name": self.region,
            "identity_api_version": 3,
            "interface": "public",
        }
        return found | ({"cacert": self.ca_file} if self.ca_file else {})


def prove(
    spec: ServiceSpec, settings: dict[str, Any], only: Collection[str] = (), known: dict[str, str] | None = None
) -> Iterator[str]:
    """Yield what was proved of a service, step by step; `only` as `ports.Prober`. Raises whatever the library does.

    `known` keeps a token from one time to the next, since a password's hash costs Keystone more than all the rest; one
    that holds no longer is replaced. Keystone itself is to issue one each time.
    """
    import openstack

    for library in ("keystoneauth", "urllib3"):  # what they warn of, the error says: it is not for a terminal
        logging.getLogger(library).addHandler(logging.NullHandler())
    with openstack.connect(load_yaml_config=False, load_envvars=False, **settings) as connection:
        session: Any = connection.session
        if known is not None and spec.name != "keystone":
            session.auth.set_auth_state(known.get("token"))
            session.auth.get_access(session)
            known["token"] = session.auth.get_auth_state()
        yield from spec.verify(connection, only) if only else spec.verify(connection)


def why(error: Exception) -> str:
    """What a failed round trip is told as."""
    return control_free(f"{type(error).__name__}: {error}")[:500]


# Whoever gives an order meanwhile would wait for the interpreter after each call to the system, 5 ms each time.
SWITCH_SECONDS = 0.0005


DEATHS = 3  # of the process, in a row, after which round trips count as failed
PAUSE = 1.0  # seconds before another one is started


class _Probe:
    """Something that goes on beside; whoever ends does not wait for it."""

    def __init__(self) -> None:
        self.found: Mapping[str, str] | None = None

    def result(self) -> Mapping[str, str] | None:
        return self.found


@dataclass
class _Asked:
    """Round trips that are under way: their line, and how often they were begun."""

    probe: _Probe
    names: Collection[str]
    line: str
    begun: int = 0


class RoundTrips:
    """Round trips of one cloud, made by a process of their own (`probing`): it ends with this one.

    A process that dies says nothing of the service: what was under way is begun again by another.
    """

    def __init__(self, access: Access) -> None:
        self.access = access
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._under_way: dict[int, _Asked] = {}
        self._count = itertools.count()

    def start(self, service: str, urls: Mapping[str, str], password: str, only: Collection[str] = ()) -> _Probe:
        number = next(self._count)
        asked = {"number": number, "service": service, "urls": urls, "password": password, "only": list(only)}
        line = json.dumps(asked | {"access": asdict(self.access)}) + "\n"
        found = _Asked(_Probe(), list(urls), line)
        with self._lock:
            self._under_way[number] = found
            self._ask(number)
        return found.probe

    def beside(self, work: Callable[[], Mapping[str, str]]) -> _Probe:
        sys.setswitchinterval(SWITCH_SECONDS)
        probe = _Probe()

        def run() -> None:
            probe.found = work()

        threading.Thread(target=run, name="beside", daemon=True).start()
        return probe

    def _ask(self, number: int) -> None:
        asked = self._under_way[number]
        asked.begun += 1
        try:
            process = self._process = self._process or self._begin()
        except OSError as error:
            return self._fail(number, f"no process could make round trips: {error.strerror}")
        if process.stdin:
            with contextlib.suppress(OSError):  # one that has ended is told of by its reader
                process.stdin.write(asked.line)
                process.stdin.flush()

    def _fail(self, number: int, why: str) -> None:
        asked = self._under_way.pop(number)
        asked.probe.found = dict.fromkeys(asked.names, why)

    def _begin(self) -> subprocess.Popen[str]:
        # In a session of its own: an interrupt is for us, and what is under way cleans up behind itself.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "planeshift.drivers.probing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        weakref.finalize(self, _end, process)
        threading.Thread(target=_read, args=(weakref.ref(self), process), name="probes", daemon=True).start()
        return process

    def told(self, number: int, found: Mapping[str, str]) -> None:
        """What came of round trips."""
        with self._lock:
            asked = self._under_way.pop(number)
        asked.probe.found = found

    def ended(self, process: subprocess.Popen[str]) -> None:
        """The process has ended: what was under way is begun again, unless that was so too often."""
        why = f"no process could make round trips; the last one ended with status {process.returncode}"
        with self._lock:
            self._process = None
            for number, asked in list(self._under_way.items()):
                if asked.begun < DEATHS:
                    self._ask(number)
                else:
                    self._fail(number, why)


def _read(trips: weakref.ref[RoundTrips], process: subprocess.Popen[str]) -> None:
    """What the process tells, to whoever still wants to know."""
    try:
        for line in process.stdout or ():
            told = json.loads(line)
            if found := trips():
                found.told(told["number"], told["found"])
            del found
    finally:  # a line that was cut off as well
        process.kill()
        process.wait()
        time.sleep(PAUSE)
        if left := trips():
            left.ended(process)


def _end(process: subprocess.Popen[str]) -> None:
    if process.stdin:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
