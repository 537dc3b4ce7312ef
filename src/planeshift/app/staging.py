"""Keys that sign tokens, or encrypt what is stored: staged on every backend, verified there, then promoted.

Keystone encrypts with the key of the highest number, and accepts all that it has:
https://docs.openstack.org/keystone/latest/admin/fernet-token-faq.html. A backend that does not know a key yet would refuse
what another one made with it. So a key is on every backend as number 0 before the first of them uses it. Where a rotation
is, the secret file says: `…_promoting` is there while one is under way, the number that key 0 is to have.

1. stage: one write makes a new key number 0, and notes the number that it shall have;
2. every backend is brought to it, and looked at: each must have it, and be as declared;
3. promote: one write gives it its number. It stays number 0 as well, so that it is missing at no moment while files are
   replaced one by one, and Keystone's own tools find the key 0 that they expect;
4. every backend is brought to that; what is stored is encrypted anew; the note is removed.
"""

from __future__ import annotations

from planeshift.app.rotation import Rotation, as_declared, backends, file, mapping, refused, roll
from planeshift.catalog.spec import Secret
from planeshift.engine.actions import run as run_command
from planeshift.engine.world import World

KEPT = 5  # generations of keys that sign tokens, which outlive a rotation or two
STAGED = 0

Keys = dict[int, str]


def promote(run: Rotation, service: str, secret: Secret) -> None:
    """Let a new key take over. Raises PlaneshiftError: PS1022, and whatever `up` raises."""
    world = run.world()
    path, held = file(world, service)
    if not backends(world, service):
        raise refused(f"no backend of {service} is ours")
    note = f"{secret.name}_promoting"
    if not held.get(note):
        as_declared(world)
        keys = _in_use(_keys(world, service, secret))
        number = max(keys) + 1
        keys[STAGED] = mapping(world.maker.make(secret, ()))[str(STAGED)]
        world.secrets.change(path, {secret.name: _written(keys), note: str(number)})
        run.say(f"a new key is staged, to be number {number}")
    else:
        number = int(str(held[note]))
    world = roll(run, service)
    keys = _keys(world, service, secret)
    if number not in keys:
        run.say(f"the staged key is on {', '.join(backends(world, service))}")
        _elsewhere(run, service, path)
        world.secrets.change(path, {secret.name: _written(_promoted(keys, number, secret))})
        run.say(f"key {number} is promoted")
        world = roll(run, service)
    if secret.anew:
        run.say("what is stored is encrypted anew with it")
        place = world.desired.place(world.desired.databases[service].unit)
        run_command(world, place, secret.anew, {}, run.say)
    world.secrets.change(path, {note: None})


def _keys(world: World, service: str, secret: Secret) -> Keys:
    path, held = file(world, service)
    found = mapping(held.get(secret.name))
    if not found or not all(str(number).isdecimal() for number in found):
        raise refused(
            f"{secret.name} in {path} is not `{{NUMBER: KEY, …}}`", hint="`planeshift up` makes what is missing."
        )
    return {int(number): key for number, key in found.items()}


def _in_use(keys: Keys) -> Keys:
    """Keys without the one that is staged. A key 0 that is the only one is no such: it is in use, and gets a number."""
    return {number: key for number, key in keys.items() if number != STAGED} or {1: keys[STAGED]}


def _promoted(keys: Keys, number: int, secret: Secret) -> Keys:
    """Keys with the staged one as the newest.

    Those that encrypt what is stored are kept for good: a backup of the database may be put back.
    """
    used = {number: keys[STAGED], **_in_use(keys)}
    kept = sorted(used, reverse=True)[: None if secret.backup else KEPT]
    return {n: used[n] for n in kept} | {STAGED: keys[STAGED]}


def _written(keys: Keys) -> dict[str, str]:
    """The newest first: in this order files are replaced, so that a key has its new number before it loses the old one."""
    return {str(number): keys[number] for number in sorted(keys, reverse=True)}


def _elsewhere(run: Rotation, service: str, path: str) -> None:
    """Hosts of somebody else must have the staged key, too, and only its owner knows whether they do."""
    if run.others(service) and not run.followed:
        hint = f"Give them key 0 of {path}; then run this again with --followed."
        raise refused(f"hosts that are not ours run {service}: whether they have the staged key is not known", hint)
