"""Two users of one thing take turns: both are there until every backend has the new one.

Each step can be done again, and what has been done is seen from the secret file and the world, so that a run that was cut
off is gone on with by the next:

1. the next user and its password are written to the secret file (`…_next`), and made, and tried;
2. one write makes them the ones in use, and keeps the old ones aside (`…_previous`);
3. every backend is brought to it: on hosts by replacing processes under traffic, in clusters by a rollout;
4. the old user is removed once nothing is connected as it, and then forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from planeshift.app.rotation import Rotation, as_declared, file, mapping, refused, roll
from planeshift.catalog.spec import Secret, SecretValue
from planeshift.engine.world import World

BUS = "transport_url"
_WAIT = 900  # seconds that connections of an old user may last
_SECOND = "_b"  # at the end of the name of the second of two users


@dataclass(frozen=True)
class Turn:
    """What takes turns: users of one thing. `prefix` begins their names in the secret file."""

    prefix: str
    place: str  # what knows the users, for people to read
    user: str  # the one in use
    password: str
    make: Callable[[str, str], None] | None  # a user with a password and the rights of the one in use; None: nobody may
    works: Callable[[str, str], bool]  # whether a user can log in
    switched: Callable[[str, str], Mapping[str, SecretValue]]  # what of the secret file makes a user the one in use
    connections: Callable[[str], int]
    remove: Callable[[str], None] | None  # None: nobody may
    hint: str = ""  # what to do where nobody may


Of = Callable[[Rotation, World, str], Turn]  # what takes turns at a service


def take_turns(run: Rotation, service: str, of: Of) -> None:
    """Let the other user have its turn. Raises PlaneshiftError: PS1022, and whatever `up` raises."""
    world = run.world()
    turn = of(run, world, service)
    path, held = file(world, service)
    previous = f"{turn.prefix}_previous"
    if not mapping(held.get(previous)):
        as_declared(world)
        user, password = _made(run, world, turn, path)
        aside = {"user": turn.user, "password": turn.password}
        world.secrets.change(path, {**turn.switched(user, password), previous: aside, f"{turn.prefix}_next": None})
    world = roll(run, service)
    turn = of(run, world, service)
    _, held = file(world, service)
    old = mapping(held[previous])["user"]
    if turn.remove is None or run.others(service):
        run.say(f"nothing of ours uses the user {old} any more: remove it when nobody else does")
    else:
        _drained(run, world, turn, old)
        turn.remove(old)
        run.say(f"the user {old} is removed")
    world.secrets.change(path, {previous: None})


def _made(run: Rotation, world: World, turn: Turn, path: str) -> tuple[str, str]:
    """The next user and its password: kept in the secret file before anything is made of them, then made, and tried."""
    name = f"{turn.prefix}_next"
    found = mapping(world.secrets.read(path).get(name))
    if found and not (found.get("user") and found.get("password")):
        raise refused(f"`{name}` in {path} is not `{{user: …, password: …}}`", hint="Give it both, or remove it.")
    if not found:
        if turn.make is None:
            raise refused(f"nobody may make a second user at {turn.place}", turn.hint)
        made = world.maker.make(Secret(f"{turn.prefix}_password", "password", "the next one"), ())
        found = {"user": _other(turn.user), "password": str(made)}
        world.secrets.change(path, {name: found})
        run.say(f"the next user is {found['user']}")
    user, password = found["user"], found["password"]
    if turn.make is not None:
        turn.make(user, password)
    if not turn.works(user, password):
        raise refused(f"{turn.place} does not take the next user {user}; nothing was switched", _tried(name, path))
    return user, password


def _tried(name: str, path: str) -> str:
    return f"Run it again, or remove `{name}` from {path}: the next run makes another one."


def _other(user: str) -> str:
    """The other one of two users in turn."""
    return user.removesuffix(_SECOND) if user.endswith(_SECOND) else user + _SECOND


def _drained(run: Rotation, world: World, turn: Turn, user: str) -> None:
    """Wait until nothing is connected as a user: processes that were replaced still answer what they had begun."""
    waited = 0.0
    while turn.connections(user):
        if waited >= _WAIT:
            hint = "Run it again: it goes on from here. Who that is, a database says by SHOW PROCESSLIST."
            raise refused(f"something is still connected as {user}", hint)
        if waited == 0:
            run.say(f"waiting until nothing is connected as {user}")
        world.clock.sleep(0.5)
        waited += 0.5


# --- what takes turns


def database(run: Rotation, world: World, service: str, secret: str = "database_password") -> Turn:  # noqa: S107 - a name
    """The users of a service's database, or of a cell's of it, by what the secret file calls the password."""
    databases = world.desired.databases.values()
    found = next((d for d in databases if (d.service, d.secret) == (service, secret)), None)
    if found is None or found.engine == "sqlite":
        raise refused(f"the database of {service} is a file: it has no users")
    users, tries = run.users(world, found.name), run.tries(world, found.name)
    user = urlsplit(found.url).username or service
    prefix = secret.replace("_password", "")
    return Turn(
        prefix=prefix,
        place=f"the database of {found.name}",
        user=user,
        password=world.secret(service, secret),
        make=(lambda new, password: users.copy(user, new, password)) if users else None,
        works=tries.works,
        switched=lambda new, password: {_user(secret): new, secret: password},
        connections=users.connections if users else lambda _: 0,
        remove=users.remove if users else None,
        hint=(
            "secrets/databases.yaml names who may make users (`NAME: {user: …, password: …}`); or make a second user "
            "yourself, and name it as "
            f"`{prefix}_next: {{user: …, password: …}}` in the secret file."
        ),
    )


def messaging(run: Rotation, world: World, service: str, secret: str) -> Turn:
    """The users of a vhost of a service, or of a cell of it, by what the secret file calls the password."""
    found = next(b for b in world.desired.buses.values() if (b.service, b.secret) == (service, secret))
    host, port = found.hosts[0]
    users, tries = run.bus_users(world, host, port), run.bus_tries(world, host, port)
    prefix = secret.replace("_password", "")
    return Turn(
        prefix=prefix,
        place=f"the message bus at {host}",
        user=found.user,
        password=world.secret(service, secret),
        make=(lambda new, password: users.copy(found.user, new, password)) if users else None,
        works=tries.works,
        switched=lambda new, password: {_user(secret): new, secret: password},
        connections=users.connections if users else lambda _: 0,
        remove=users.remove if users else None,
        hint=(
            f"secrets/messaging.yaml names who may make users (`{host}: {{management: URL, user: …, password: …}}`); or "
            f"make a second user yourself, and name it as `{prefix}_next: {{user: …, password: …}}` in the secret file."
        ),
    )


def _user(secret: str) -> str:
    """What the secret file calls the user that goes with a password."""
    return secret.replace("_password", "_user")


def account(run: Rotation, world: World, service: str) -> Turn:
    """A service's own users in Keystone."""
    desired, admin = world.desired, world.secret("keystone", "admin_password")
    entries = desired.identity[service]

    def make(user: str, password: str) -> None:
        wanted = replace(entries, user=user)
        for line in world.identity.ensure(desired.identity_url, admin, desired.ca, wanted, password):
            run.say(line)

    return Turn(
        prefix="service",
        place="Keystone",
        user=entries.user,
        password=world.secret(service, "service_password"),
        make=make,
        works=lambda user, password: True,  # made, or found to have this password: else it is refused by Keystone
        switched=lambda user, password: {"service_user": user, "service_password": password},
        connections=lambda user: 0,  # a token is validated by whoever asks at that moment
        remove=lambda user: world.identity.remove(desired.identity_url, admin, desired.ca, user),
    )


def bus(run: Rotation, world: World, service: str) -> Turn:
    """The users of a message bus: that of `transport_url` in the `options` of the secret file, in all its sections."""
    path, held = file(world, service)
    options: Any = held.get("options")  # a mapping of mappings, which no other secret is
    options = options if isinstance(options, dict) else {}
    urls = {section: str(o[BUS]) for section, o in options.items() if isinstance(o, dict) and o.get(BUS)}
    if not urls:
        hint = "It is one of `options: {SECTION: {transport_url: …}}` there."
        raise refused(f"{path} holds no transport_url", hint)
    parts = urlsplit(next(iter(urls.values())).replace(",", "/", 1))  # the first of its hosts
    host, port, user = parts.hostname or "", parts.port or 5672, unquote(parts.username or "")
    users, tries = run.bus_users(world, host, port), run.bus_tries(world, host, port)

    def switched(new: str, password: str) -> Mapping[str, SecretValue]:
        changed = {section: {**options[section], BUS: _as_user(url, new, password)} for section, url in urls.items()}
        return {"options": {**options, **changed}}

    return Turn(
        prefix="transport",
        place=f"the message bus at {host}",
        user=user,
        password=unquote(parts.password or ""),
        make=(lambda new, password: users.copy(user, new, password)) if users else None,
        works=tries.works,
        switched=switched,
        connections=users.connections if users else lambda _: 0,
        remove=users.remove if users else None,
        hint=(
            f"secrets/messaging.yaml names who may make users (`{host}: {{management: URL, user: …, password: …}}`); or "
            "make a second user yourself, and name it as `transport_next: {user: …, password: …}` in the secret file."
        ),
    )


def _as_user(url: str, user: str, password: str) -> str:
    """A transport URL with another user at each of its hosts."""
    scheme, _, rest = url.partition("://")
    hosts, slash, vhost = rest.partition("/")
    credentials = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return f"{scheme}://" + ",".join(f"{credentials}@{h.rpartition('@')[2]}" for h in hosts.split(",")) + slash + vhost
