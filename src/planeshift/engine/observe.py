"""Look at the world: every driver at once, no change made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from planeshift.engine.fleet import known_or_none, members_if_known
from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.observed import BusState, DatabaseState, EdgeState, Observed, UnitState
from planeshift.plan.shifts import same
from planeshift.ports import Cluster, Host
from planeshift.render.desired import Bind, Desired

AT_ONCE = 64  # whoever is asked, most of the time is spent waiting; for those that do not answer, all of it


def observe(world: World, *, identity: bool = True) -> Observed:
    """What is there by now; what Keystone has only where `identity` is wanted.

    Raises PlaneshiftError only where looking itself is impossible.
    """
    desired, key = world.desired, world.control.key()
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        places = _places(desired)
        hosts = {name: pool.submit(_look, host, key, places.get(name, ())) for name, host in world.hosts.items()}
        password, entries = world.secret("keystone", "admin_password"), list(desired.identity.values())
        url = desired.identity_url if identity else ""
        known = pool.submit(world.identity.state, url, password, desired.ca, entries)
        databases = {name: pool.submit(_database(world, name)) for name in desired.databases}
        buses = {name: pool.submit(_bus(world, name)) for name in desired.buses}
        divided = {c.service for c in desired.cells.values()} & set(desired.databases)
        cells = {service: pool.submit(known_or_none, world, service) for service in divided}
        members = {n: pool.submit(members_if_known, world, desired.databases[n]) for n in desired.cells}
        edges = {name: pool.submit(world.edge.state, unit) for name, (unit, _) in desired.fronts.items()}
        pods = {name: pool.submit(cluster.pods, key) for name, cluster in _seen(world)}
        ours = {(p.pods.cluster, p.pods.image) for p in desired.pods.values() if p.pods.built}
        ours = {place for place in ours if place[0] in pods}
        brought = {place: pool.submit(_has, world.clusters[place[0]], place[1]) for place in ours}
        built = pool.submit(world.images.built) if ours else None
        foreign = pool.submit(world.foreign, _moving(desired))
        seen, unreached = _sorted(hosts)
        running: dict[str, EdgeState] = {}
        for name, edge in edges.items():
            state = edge.result()
            if state is not None:
                running[name] = state
        images = {place: found.result() for place, found in brought.items()}
        looked_at = {name: d.result() for name, d in databases.items()}
        # Keystone may run already while its administrator is still to be made: then it knows nobody, and nothing.
        knows = "keystone" not in looked_at or looked_at["keystone"].bootstrapped
        return Observed(
            secrets={name: world.secret_names(name) for name in desired.secrets},
            environments={name: host.environments for name, host in seen.items()},
            units={unit: state for host in seen.values() for unit, state in host.units.items()},
            unreached={**world.unanswered, **unreached},  # where what takes messages was not seen, shares are not known
            pods={name: state for found in pods.values() for name, state in found.result().items()},
            built=built.result() if built else frozenset(),
            brought=frozenset(place for place, found in images.items() if found is True),
            unasked={place: found for place, found in images.items() if isinstance(found, str)},
            databases=looked_at,
            buses={name: found.result() for name, found in buses.items()},
            cells={service: states for service, f in cells.items() if (states := f.result()) is not None},
            members={name: found.result() for name, found in members.items()},
            edges=running,
            identity=known.result() if knows else None,
            listeners={place: holder for host in seen.values() for place, holder in host.listeners.items()},
            applied=world.control.applied(),
            standing=world.control.standing(),
            paused=world.control.paused(),
            foreign=foreign.result(),
        )


@dataclass(frozen=True)
class _Seen:
    """What a host shows."""

    units: Mapping[str, UnitState]
    environments: frozenset[str]
    listeners: Mapping[tuple[str, int], str]


def _places(desired: Desired) -> Mapping[str, Collection[Bind]]:
    """Where something of ours listens, by host."""
    result: dict[str, list[Bind]] = {}
    for edge in desired.edges.values():
        result.setdefault(edge.host, []).extend(edge.binds)
    for unit in (u.unit for u in desired.units.values()):
        if unit.port:
            result.setdefault(unit.host, []).append(Bind(unit.address, unit.port))
    return result


def _look(host: Host, key: bytes, places: Collection[Bind]) -> _Seen:
    """All that is asked of a host, one after the other: one that does not answer is waited for once."""
    units, environments = host.units(key), host.environments()
    holders = {(place.address, place.port): host.listener(place) for place in places}
    return _Seen(units, environments, {place: who for place, who in holders.items() if who is not None})


def _sorted(hosts: Mapping[str, Future[_Seen]]) -> tuple[dict[str, _Seen], dict[str, tuple[Problem, ...]]]:
    """What hosts show, and of those that cannot be looked at, why."""
    seen: dict[str, _Seen] = {}
    unreached: dict[str, tuple[Problem, ...]] = {}
    for name, found in hosts.items():
        try:
            seen[name] = found.result()
        except PlaneshiftError as error:
            unreached[name] = error.problems
    return seen, unreached


def _moving(desired: Desired) -> set[str]:
    """The services whose traffic, or consumers, are not where the file wants them."""
    shares = desired.shares
    return {name.partition("@")[0] for name, wanted in desired.weights.items() if not same(shares[name], wanted)}


def _seen(world: World) -> list[tuple[str, Cluster]]:
    """The clusters that can be looked at; of the others the plan says so."""
    return [(name, c) for name, c in world.clusters.items() if not world.desired.views[name].problem]


def _has(cluster: Cluster, image: str) -> bool | str:
    """Whether a cluster's nodes can start an image, or why nobody can tell."""
    try:
        return cluster.has(image)
    except PlaneshiftError as error:
        return "; ".join(f"{p.message}: {p.why}".rstrip(": ") for p in error.problems)


def _database(world: World, name: str) -> Callable[[], DatabaseState]:
    database = world.desired.databases[name]
    spec = world.desired.specs[database.service]
    exists = spec.bootstrap.exists if spec.bootstrap and not database.cell else ""
    password = world.secret(database.service, database.secret)
    return lambda: world.databases.state(database, password, exists)


def _bus(world: World, name: str) -> Callable[[], BusState]:
    bus = world.desired.buses[name]
    password = world.secret(bus.service, bus.secret)
    return lambda: world.buses.state(bus, password)
