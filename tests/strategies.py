"""Valid clouds, drawn by hypothesis: one to four services, on hosts of ours and of others, in every mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml
from hypothesis import assume
from hypothesis import strategies as st

from planeshift.model import cloud as model
from planeshift.model.load import load
from planeshift.render import rules

SERVICES = ("glance", "placement", "barbican")
RELEASES = ("2026.1", "2026.2")
Draw = Any


@dataclass(frozen=True)
class Ground:
    """What a cloud stands on, and does not change while it lives: databases, and whose Keystone it is."""

    ours: list[str]
    theirs: list[str]
    mysql: bool
    elsewhere: bool
    cluster: bool = False


@st.composite
def grounds(draw: Draw) -> Ground:
    """Hosts, and what they keep their state in."""
    theirs = [f"x{n}" for n in range(1, draw(st.integers(0, 2)) + 1)]
    cluster = draw(st.booleans())
    return Ground(
        ours=[f"h{n}" for n in range(1, draw(st.integers(1, 3)) + 1)],
        theirs=theirs,
        mysql=cluster or bool(theirs) or draw(st.booleans()),
        elsewhere=draw(st.integers(0, 4)) == 0,
        cluster=cluster,
    )


@st.composite
def clouds(draw: Draw, ground: st.SearchStrategy[Ground] = grounds()) -> model.Cloud:  # noqa: B008
    """A cloud that the rules have nothing against, named `test`."""
    spec = _spec(draw, draw(ground))
    text = yaml.safe_dump({"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "test"}, "spec": spec})
    loaded = load(text, "cloud.yaml")
    assume(not [p for p in rules.check(loaded) if not p.warning])
    return loaded.cloud


@st.composite
def changes(draw: Draw) -> tuple[model.Cloud, model.Cloud]:
    """A cloud and what its file says later."""
    ground = st.just(draw(grounds()))
    return draw(clouds(ground)), draw(clouds(ground))


def _spec(draw: Draw, ground: Ground) -> dict[str, Any]:
    hosts = [{"name": h, "via": "local", "address": f"127.0.1.{n}"} for n, h in enumerate(ground.ours, 1)]
    hosts += [{"name": h, "via": "external", "address": f"127.0.2.{n}"} for n, h in enumerate(ground.theirs, 1)]
    others = draw(st.lists(st.sampled_from(SERVICES), unique=True, max_size=3, min_size=int(ground.elsewhere)))
    spec: dict[str, Any] = {
        "release": draw(st.sampled_from(RELEASES)),
        "region": draw(st.sampled_from(("RegionOne", "west"))),
        "hosts": draw(st.permutations(hosts)),
        "services": {name: _service(draw, ground) for name in ["keystone", *others]},
    }
    if ground.elsewhere:
        spec["services"]["keystone"] = {"endpoint": "http://192.0.2.91:5000/v3"}
    if draw(st.booleans()):
        spec["caches"] = {"shared": {"hosts": ["192.0.2.9:11211"]}}
    if ground.mysql:
        spec["databases"] = {"main": {"engine": "mysql", "host": "192.0.2.81"}}
    if ground.cluster:
        spec["clusters"] = [{"name": "k1", "registry": "registry.example.org/site"}]
        spec["edges"] = [{"name": "lb", "address": "192.0.2.1"}]
        spec |= draw(st.sampled_from(({}, {"endpoints": {"public": {"tls": _TRIAL}}})))
    else:
        spec |= draw(st.sampled_from(_FACES))
    return spec


_TRIAL = {"trial": True}
_FACES: tuple[dict[str, Any], ...] = (
    {},
    {"edges": [{"name": "lb", "address": "127.0.3.1"}]},
    {"edges": [{"name": "lb1", "address": "127.0.3.1"}, {"name": "lb2", "address": "127.0.3.2"}]},
    {"endpoints": {"public": {"tls": _TRIAL}}},
    {"endpoints": {"public": {"host": "cloud.example.org", "address": "127.0.3.3", "tls": _TRIAL}, "internal": {}}},
    {"endpoints": {"public": {"host": "cloud.example.org"}, "internal": {"address": "127.0.3.4"}}},
)


def _service(draw: Draw, ground: Ground) -> dict[str, Any]:
    service: dict[str, Any] = {"backends": _backends(draw, ground)}
    if draw(st.integers(0, 3)) == 0:
        service["release"] = draw(st.sampled_from(RELEASES))
    if draw(st.integers(0, 5)) == 0:
        service["server"] = "httpd"
    if draw(st.integers(0, 5)) == 0:
        service["extras"] = {"pip": ["site-plugin==1.2"]}
    return service


def _backends(draw: Draw, ground: Ground) -> dict[str, Any]:
    """One to four, on hosts of their own or in the cluster; an external one beside at least one of ours."""
    theirs = ground.theirs
    mine = draw(st.lists(st.sampled_from(ground.ours), unique=True, min_size=1))
    cut = draw(st.integers(1, len(mine)))
    groups: list[Any] = [g for g in (mine[:cut], mine[cut:]) if g]
    if ground.cluster and draw(st.booleans()):
        groups = [*groups, 1] if draw(st.booleans()) else [1]
    if theirs and draw(st.booleans()):
        groups.append(draw(st.lists(st.sampled_from(theirs), unique=True, min_size=1)))
    names = draw(st.permutations(("vms", "vms2", "pods", "pods2")))[: len(groups)]
    shares = _shares(draw, len(groups))
    result: dict[str, Any] = {}
    for name, hosts, share in zip(names, groups, shares, strict=True):
        place = {"cluster": "k1", "replicas": draw(st.integers(1, 3))} if hosts == 1 else {"hosts": hosts}
        backend: dict[str, Any] = {**place, "weight": share}
        if draw(st.integers(0, 3)) == 0:
            backend["release"] = draw(st.sampled_from(RELEASES))
        result[name] = backend
    return result


def _shares(draw: Draw, count: int) -> list[int]:
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=count - 1, max_size=count - 1)))
    return [after - before for before, after in zip([0, *cuts], [*cuts, 100], strict=True)]
