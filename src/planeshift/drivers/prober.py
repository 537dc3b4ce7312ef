"""Real round trips with openstacksdk, through the edge or through one server alone. Implements `ports.Prober`."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from planeshift import catalog
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


class _Probe:
    """Round trips that go on beside; whoever ends does not wait for them."""

    def __init__(self, work: Callable[[], Mapping[str, str]]) -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        self._found: Mapping[str, str] | None = None
        self._work = work
        threading.Thread(target=self._run, name="probe", daemon=True).start()

    def _run(self) -> None:
        self._found = self._work()

    def result(self) -> Mapping[str, str] | None:
        return self._found


class RoundTrips:
    """Round trips of one cloud."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._known: dict[str, str] = {}

    def start(self, service: str, urls: Mapping[str, str], password: str, only: Collection[str] = ()) -> _Probe:
        return _Probe(lambda: {name: self.probe(service, url, password, only) for name, url in urls.items()})

    def beside(self, work: Callable[[], Mapping[str, str]]) -> _Probe:
        return _Probe(work)

    def probe(self, service: str, url: str, password: str, only: Collection[str] = ()) -> str:
        """Why a round trip through a URL failed; empty where it did not."""
        spec = catalog.service(service)
        settings = self.access.settings(password)
        settings[f"{spec.type.replace('-', '_')}_endpoint_override"] = url + spec.path
        if service == "keystone":
            settings["auth"]["auth_url"] = url + spec.path
        try:
            for _ in prove(spec, settings, only, self._known):
                pass
        except Exception as error:  # a client's library may raise anything; it is what came of the round trip
            return why(error)
        return ""
