"""Look at the world: every driver at once, no change made."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from planeshift.engine.world import World
from planeshift.plan.observed import DatabaseState, EdgeState, Observed, UnitState
from planeshift.ports import Cluster
from planeshift.render.build import edge_unit
from planeshift.render.desired import Bind


def observe(world: World) -> Observed:
    """What is there by now. Raises PlaneshiftError only where looking itself is impossible."""
    desired, key = world.desired, world.control.key()
    with ThreadPoolExecutor(max_workers=16) as pool:
        units = {name: pool.submit(host.units, key) for name, host in world.hosts.items()}
        environments = {name: pool.submit(host.environments) for name, host in world.hosts.items()}
        password, entries = world.secret("keystone", "admin_password"), list(desired.identity.values())
        identity = pool.submit(world.identity.state, desired.identity_url, password, desired.ca, entries)
        databases = {name: pool.submit(_database(world, name)) for name in desired.databases}
        edges = {e.name: pool.submit(world.edge.state, edge_unit(e.name, e.host)) for e in desired.edges.values()}
        binds = [(e.host, b) for e in desired.edges.values() for b in e.binds]
        binds += [(u.unit.host, Bind(u.unit.address, u.unit.port)) for u in desired.units.values()]
        listeners = {(b.address, b.port): pool.submit(world.hosts[host].listener, b) for host, b in binds}
        pods = {name: pool.submit(cluster.pods, key) for name, cluster in _seen(world)}
        ours = {(p.pods.cluster, p.pods.image) for p in desired.pods.values() if p.pods.built}
        ours = {place for place in ours if place[0] in pods}
        brought = {place: pool.submit(world.clusters[place[0]].has, place[1]) for place in ours}
        built = pool.submit(world.images.built) if ours else None
        seen: dict[str, UnitState] = {}
        for found in units.values():
            seen |= found.result()
        running: dict[str, EdgeState] = {}
        for name, edge in edges.items():
            state = edge.result()
            if state is not None:
                running[name] = state
        looked_at = {name: d.result() for name, d in databases.items()}
        # Keystone may run already while its administrator is still to be made: then it knows nobody, and nothing.
        knows = "keystone" not in looked_at or looked_at["keystone"].bootstrapped
        return Observed(
            secrets={name: world.secret_names(name) for name in desired.secrets},
            environments={name: e.result() for name, e in environments.items()},
            units=seen,
            pods={name: state for found in pods.values() for name, state in found.result().items()},
            built=built.result() if built else frozenset(),
            brought=frozenset(place for place, there in brought.items() if there.result()),
            databases=looked_at,
            edges=running,
            identity=identity.result() if knows else None,
            listeners={p: holder for p, h in listeners.items() if (holder := h.result()) is not None},
            applied=world.control.applied(),
        )


def _seen(world: World) -> list[tuple[str, Cluster]]:
    """The clusters that can be looked at; of the others the plan says so."""
    return [(name, c) for name, c in world.clusters.items() if not world.desired.views[name].problem]


def _database(world: World, service: str) -> Callable[[], DatabaseState]:
    database, spec = world.desired.databases[service], world.desired.specs[service]
    exists = spec.bootstrap.exists if spec.bootstrap else ""
    password = world.secret(service, "database_password")
    return lambda: world.databases.state(database, password, exists)
