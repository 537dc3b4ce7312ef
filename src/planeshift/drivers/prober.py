"""Real round trips with openstacksdk, through the edge or through one server alone. Implements `ports.Prober`."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import subprocess
import sys
import threading
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


SOON = 300  # seconds before its end from which on a token is not kept


def prove(
    spec: ServiceSpec, settings: dict[str, Any], only: Collection[str] = (), known: dict[str, str] | None = None
) -> Iterator[str]:
    """Yield what was proved of a service, step by step; `only` as `ports.Prober`. Raises whatever the library does.

    `known` keeps a token from one time to the next, since a password's hash costs Keystone more than all the rest. Other
    services take it as it is, while it holds; Keystone is to make a new one of it, and is shown the password again after
    anything that failed.
    """
    import openstack

    for library in ("keystoneauth", "urllib3"):  # what they warn of, the error says: it is not for a terminal
        logging.getLogger(library).addHandler(logging.NullHandler())
    token = known.pop(spec.name, "") if known is not None else ""
    if token and spec.name == "keystone":
        names = ("auth_url", "project_name", "project_domain_name")
        auth = {name: settings["auth"][name] for name in names} | {"token": token}
        settings = settings | {"auth_type": "v3token", "auth": auth}
    with openstack.connect(load_yaml_config=False, load_envvars=False, **settings) as connection:
        session: Any = connection.session
        if known is not None and spec.name != "keystone":
            session.auth.set_auth_state(token or None)
            session.auth.get_access(session)
        yield from spec.verify(connection, only) if only else spec.verify(connection)
        if known is not None and not session.auth.get_access(session).will_expire_soon(SOON):
            keystone = spec.name == "keystone"
            known[spec.name] = session.auth.get_token(session) if keystone else session.auth.get_auth_state()


def why(error: Exception) -> str:
    """What a failed round trip is told as."""
    return control_free(f"{type(error).__name__}: {error}")[:500]


# Whoever gives an order meanwhile would wait for the interpreter after each call to the system, 5 ms each time.
SWITCH_SECONDS = 0.0005


class _Probe:
    """Something that goes on beside; whoever ends does not wait for it."""

    def __init__(self) -> None:
        self.found: Mapping[str, str] | None = None

    def result(self) -> Mapping[str, str] | None:
        return self.found


class RoundTrips:
    """Round trips of one cloud, made by a process of their own (`probing`): it ends with this one."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._under_way: dict[int, tuple[_Probe, Collection[str]]] = {}
        self._count = itertools.count()

    def start(self, service: str, urls: Mapping[str, str], password: str, only: Collection[str] = ()) -> _Probe:
        probe, number = _Probe(), next(self._count)
        asked = {"number": number, "service": service, "urls": urls, "password": password, "only": list(only)}
        with self._lock:
            self._under_way[number] = probe, list(urls)
            process = self._process = self._process or self._begin()
        with contextlib.suppress(OSError):  # one that ends is told of by its reader
            print(json.dumps(asked | {"access": asdict(self.access)}), file=process.stdin, flush=True)
        return probe

    def beside(self, work: Callable[[], Mapping[str, str]]) -> _Probe:
        sys.setswitchinterval(SWITCH_SECONDS)
        probe = _Probe()

        def run() -> None:
            probe.found = work()

        threading.Thread(target=run, name="beside", daemon=True).start()
        return probe

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
            probe, _ = self._under_way.pop(number)
        probe.found = found

    def ended(self, process: subprocess.Popen[str]) -> None:
        """The process has ended: what was under way failed, and the next ones have another."""
        why = f"round trips ended with status {process.wait()}"
        with self._lock:
            self._process, lost, self._under_way = None, self._under_way, {}
        for probe, names in lost.values():
            probe.found = dict.fromkeys(names, why)


def _read(trips: weakref.ref[RoundTrips], process: subprocess.Popen[str]) -> None:
    """What the process tells, to whoever still wants to know."""
    for line in process.stdout or ():
        told = json.loads(line)
        if found := trips():
            found.told(told["number"], told["found"])
        del found
    if left := trips():
        left.ended(process)


def _end(process: subprocess.Popen[str]) -> None:
    if process.stdin:
        with contextlib.suppress(OSError):
            process.stdin.close()
    process.wait()
