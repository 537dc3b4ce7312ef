"""Change a live credential while its service runs: two users in turn, both there until every backend has the new one.

Each step can be done again, and what has been done is seen from the secret file and the world, so that a run that was cut
off is gone on with by the next:

1. the next user and its password are written to the secret file (`…_next`), and made, and tried;
2. one write makes them the ones in use, and keeps the old ones aside (`…_previous`);
3. `up` brings every backend to it: on hosts by replacing processes under traffic, in clusters by a rollout;
4. the old user is removed once nothing is connected as it, and then forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from planeshift.app import change
from planeshift.catalog.spec import Secret, SecretValue
from planeshift.engine.run import Listener
from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError, Problem
from planeshift.ports import CredentialUsers, Say

DATABASE, SERVICE, BUS = "database_password", "service_password", "transport_url"
KEPT = 5  # generations of token keys: tokens outlive a rotation or two
_WAIT = 900  # seconds that connections of an old user may last


@dataclass(frozen=True)
class Rotation:
    """What a rotation works with. `world` is made anew where secrets have changed."""

    compose: Callable[[], World]
    # Of a service's database, and of the message bus at a host and port; None where nobody may make any.
    users: Callable[[World, str], CredentialUsers | None]
    bus_users: Callable[[World, str, int], CredentialUsers | None]
    tries: Callable[[World, str], CredentialUsers]  # the same, for looking
    bus_tries: Callable[[World, str, int], CredentialUsers]
    listen: Listener
    say: Say
    sleep: Callable[[float], None]
    others: Callable[[str], bool]  # whether hosts of somebody else run a service, too


def rotate(run: Rotation, service: str, name: str) -> None:
    """Rotate a service's credential: `database_password`, `service_password`, `transport_url`, or keys that sign tokens.

    Raises PlaneshiftError: PS1022 where the credential cannot be rotated, and whatever `up` raises.
    """
    world = run.compose()
    spec = world.desired.specs.get(service)
    if spec is None:
        hint = f"It runs {', '.join(world.desired.specs)}."
        raise PlaneshiftError(Problem("PS205", f"this cloud runs no service {service}", hint=hint))
    kinds = {s.name: s for s in spec.secrets}
    if name == DATABASE:
        _database(run, world, service)
    elif name == BUS:
        _bus(run, world, service)
    elif name == SERVICE and name in kinds:
        _account(run, world, service)
    elif name in kinds and kinds[name].kind == "fernet-keys":
        _keys(run, world, service, kinds[name])
    else:
        known = [DATABASE, BUS, *(s.name for s in spec.secrets if s.name == SERVICE or s.kind == "fernet-keys")]
        hint = f"What can be, of {service}: {', '.join(known)}."
        raise PlaneshiftError(Problem("PS1022", f"{name} of {service} cannot be rotated", hint=hint))


def _file(world: World, service: str) -> tuple[str, Mapping[str, SecretValue]]:
    path = world.desired.secrets[service].path
    return path, world.secrets.read(path)


def _mapping(value: SecretValue | None) -> dict[str, str]:
    return dict(value) if isinstance(value, dict) else {}


def _as_declared(world: World) -> None:
    """Nothing else may be due: it would be carried out under the same hands."""
    due = change.plan(world).operations
    if due:
        hint = "`planeshift up` first."
        raise PlaneshiftError(
            Problem("PS1022", f"the cloud is not as declared: {len(due)} operations are due", hint=hint)
        )


def _other(user: str, base: str) -> str:
    """The other one of two users in turn."""
    return base if user != base else f"{base}_b"


def _next(run: Rotation, world: World, service: str, prefix: str, user: str) -> dict[str, str]:
    """The next user and its password; kept in the secret file before anything is made of them."""
    path, held = _file(world, service)
    found = _mapping(held.get(f"{prefix}_next"))
    if not found:
        made = world.maker.make(Secret(f"{prefix}_password", "password", "the next one"), ())
        found = {"user": user, "password": str(made)}
        world.secrets.change(path, {f"{prefix}_next": found})
        run.say(f"the next user is {user}")
    return found


def _switch(world: World, service: str, prefix: str, old: str, new: Mapping[str, str]) -> None:
    """One write: the new ones in use, the old ones kept aside."""
    path, held = _file(world, service)
    previous = {"user": old, "password": str(held.get(f"{prefix}_password", ""))}
    world.secrets.change(
        path,
        {
            f"{prefix}_user": new["user"],
            f"{prefix}_password": new["password"],
            f"{prefix}_previous": previous,
            f"{prefix}_next": None,
        },
    )


def _roll(run: Rotation, service: str) -> World:
    """Bring every backend to what the secret file says now, and see that it is so."""
    run.say(f"bringing every backend of {service} to it")
    change.up(run.compose(), agree=lambda _: True, listen=run.listen, say=run.say)
    world = run.compose()
    _as_declared(world)
    return world


# --- a database's user


def _database(run: Rotation, world: World, service: str) -> None:
    database = world.desired.databases.get(service)
    if database is None or database.engine == "sqlite":
        raise PlaneshiftError(Problem("PS1022", f"the database of {service} is a file: it has no users"))
    _, held = _file(world, service)
    if not _mapping(held.get("database_previous")):
        _as_declared(world)
        user = urlsplit(database.url).username or service
        users = run.users(world, service)
        given = _mapping(held.get("database_next"))
        if users is None and not given:
            hint = (
                "secrets/databases.yaml names who may make users (`NAME: {user: …, password: …}`); or make a second user "
                "yourself, and name it as `database_next: {user: …, password: …}` in the secret file."
            )
            raise PlaneshiftError(Problem("PS1022", f"nobody may make a second user for {service}", hint=hint))
        base = user.removesuffix("_b")
        following = _next(run, world, service, "database", _other(user, base))
        if users is not None:
            users.copy(user, following["user"], following["password"])
        if not run.tries(world, service).works(following["user"], following["password"]):
            what = f"the database does not take the next user {following['user']}; nothing was switched"
            raise PlaneshiftError(Problem("PS1022", what))
        _switch(world, service, "database", user, following)
    world = _roll(run, service)
    path, held = _file(world, service)
    old = _mapping(held["database_previous"])["user"]
    users = run.users(world, service)
    if users is None or run.others(service):
        run.say(f"nothing of ours uses the user {old} any more: remove it when nobody else does")
    else:
        _drained(run, users, old)
        users.remove(old)
        run.say(f"the user {old} is removed")
    world.secrets.change(path, {"database_previous": None})


def _drained(run: Rotation, users: CredentialUsers, user: str) -> None:
    """Wait until nothing is connected as a user: processes that were replaced still answer what they had begun."""
    waited = 0.0
    while users.connections(user):
        if waited >= _WAIT:
            hint = "Run it again: it goes on from here. Or see who that is: SHOW PROCESSLIST."
            raise PlaneshiftError(Problem("PS1022", f"something is still connected as {user}", hint=hint))
        if waited == 0:
            run.say(f"waiting until nothing is connected as {user}")
        run.sleep(0.5)
        waited += 0.5


# --- a message bus's user


def _transports(held: Mapping[str, SecretValue]) -> list[tuple[str, str]]:
    """The `transport_url` options of a secret file: section and URL."""
    options: Any = held.get("options")  # a mapping of mappings, which no other secret is
    found = options.items() if isinstance(options, dict) else ()
    return [(s, str(o[BUS])) for s, o in found if isinstance(o, dict) and o.get(BUS)]


def _as_user(url: str, user: str, password: str) -> str:
    """A transport URL with another user at each of its hosts."""
    scheme, _, rest = url.partition("://")
    hosts, slash, vhost = rest.partition("/")
    credentials = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return f"{scheme}://" + ",".join(f"{credentials}@{h.rpartition('@')[2]}" for h in hosts.split(",")) + slash + vhost


def _bus(run: Rotation, world: World, service: str) -> None:
    path, held = _file(world, service)
    urls = _transports(held)
    if not urls:
        hint = "It is one of `options: {SECTION: {transport_url: …}}` there."
        raise PlaneshiftError(Problem("PS1022", f"{path} holds no transport_url", hint=hint))
    parts = urlsplit(urls[0][1].replace(",", "/", 1))  # the first of its hosts
    host, port, user = parts.hostname or "", parts.port or 5672, unquote(parts.username or "")
    users = run.bus_users(world, host, port)
    if not _mapping(held.get("transport_previous")):
        _as_declared(world)
        if users is None and not _mapping(held.get("transport_next")):
            hint = (
                f"secrets/messaging.yaml names who may make users (`{host}: {{management: URL, user: …, password: …}}`); or "
                "make a second user yourself, and name it as `transport_next: {user: …, password: …}` in the secret file."
            )
            raise PlaneshiftError(Problem("PS1022", f"nobody may make a second user at {host}", hint=hint))
        following = _next(run, world, service, "transport", _other(user, user.removesuffix("_b")))
        if users is not None:
            users.copy(user, following["user"], following["password"])
        if not run.bus_tries(world, host, port).works(following["user"], following["password"]):
            what = f"the message bus does not take the next user {following['user']}; nothing was switched"
            raise PlaneshiftError(Problem("PS1022", what))
        _, held = _file(world, service)
        given: Any = held["options"]
        options: Any = {section: dict(values) for section, values in given.items()}
        for section, url in _transports(held):
            options[section][BUS] = _as_user(url, following["user"], following["password"])
        previous = {"user": user, "password": unquote(parts.password or "")}
        world.secrets.change(path, {"options": options, "transport_previous": previous, "transport_next": None})
    world = _roll(run, service)
    _, held = _file(world, service)
    old = _mapping(held["transport_previous"])["user"]
    if users is None or run.others(service):
        run.say(f"nothing of ours uses the user {old} any more: remove it when nobody else does")
    else:
        _drained(run, users, old)
        users.remove(old)
        run.say(f"the user {old} is removed")
    world.secrets.change(path, {"transport_previous": None})


# --- a service's own user in Keystone


def _account(run: Rotation, world: World, service: str) -> None:
    desired = world.desired
    _, held = _file(world, service)
    admin = world.secret("keystone", "admin_password")
    if not _mapping(held.get("service_previous")):
        _as_declared(world)
        user = desired.identity[service].user
        following = _next(run, world, service, "service", _other(user, service))
        entries = replace(desired.identity[service], user=following["user"])
        for line in world.identity.ensure(desired.identity_url, admin, desired.ca, entries, following["password"]):
            run.say(line)
        _switch(world, service, "service", user, following)
    world = _roll(run, service)
    path, held = _file(world, service)
    old = _mapping(held["service_previous"])["user"]
    if run.others(service):
        run.say(f"nothing of ours uses the user {old} any more: remove it when nobody else does")
    else:
        world.identity.remove(world.desired.identity_url, admin, world.desired.ca, old)
        run.say(f"the user {old} is removed")
    world.secrets.change(path, {"service_previous": None})


# --- keys


def _keys(run: Rotation, world: World, service: str, secret: Secret) -> None:
    """Promote the staged key, which every backend has already, and stage a new one.

    What is staged was laid out with the last change, and that every backend has it is what `plan` sees. Keys of tokens and
    receipts are kept for some generations, keys of stored credentials for good: what they encrypted is in the database.
    """
    _as_declared(world)  # so every backend has the staged key
    path, held = _file(world, service)
    there = {int(n): str(k) for n, k in _mapping(held.get(secret.name)).items()}
    if 0 not in there or len(there) < 2:
        raise PlaneshiftError(
            Problem("PS1022", f"{secret.name} has no staged key 0", hint="Add one, and `planeshift up`.")
        )
    fresh = _mapping(world.maker.make(secret, ()))
    promoted = {max(there) + 1: there[0], **{n: k for n, k in there.items() if n}}
    kept = sorted(promoted, reverse=True)[: None if secret.backup else KEPT]
    keys = {"0": fresh["0"]} | {str(n): promoted[n] for n in sorted(kept)}
    world.secrets.change(path, {secret.name: keys})
    run.say(f"key {max(promoted)} is promoted, and a new one is staged")
    _roll(run, service)
