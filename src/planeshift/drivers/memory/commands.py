"""What commands of a service's environment do to its database: migrations and the first content."""

from __future__ import annotations

from collections.abc import Mapping

from planeshift import catalog
from planeshift.catalog.spec import ServiceSpec
from planeshift.drivers.memory import cells, processes
from planeshift.drivers.memory.data import Command, Data, DatabaseData, KeystoneData
from planeshift.drivers.memory.users import credentials, may_use
from planeshift.errors import PlaneshiftError, Problem
from planeshift.render.desired import File


def perform(data: Data, command: Command) -> None:
    """Do what a command does, to its end. Raises PlaneshiftError (PS603) where it fails."""
    service, release, database, files = _target(data, command)
    spec, anew = catalog.service(service), {s.anew: s.name for s in catalog.service(service).secrets if s.anew}
    words = (command.argv[0].rsplit("/", 1)[1], *command.argv[1:])
    if words[:2] == ("python", "-c"):
        return  # it looks whether the application can be loaded
    if cells.perform(data, service, release, database, words, command.environment):
        return
    migration = spec.migration
    heads = frozenset(catalog.facts(service, release)["heads"])
    if not _known(service, release, database.heads):
        raise failed(words, "Can't locate revision")
    if words in (migration.create, migration.upgrade):
        database.heads, database.tables = heads, True
    elif words in migration.expand:
        database.heads, database.tables = database.heads | processes.expanded(service, release), True
        if words == migration.expand[-1]:
            database.heads = processes.expanded(service, release)
    elif words == migration.contract:
        if not (processes.expanded(service, release) <= database.heads or heads <= database.heads):
            raise failed(words, "the schema is not expanded")
        database.heads = heads
    elif words in anew:
        found = processes.keys(files, service, anew[words])
        if database.keystone.sealed not in ("", *found.values()):
            raise failed(words, "CredentialEncryptionError")
        database.keystone.sealed = found[max(found)]
    elif spec.bootstrap and words == spec.bootstrap.command:
        _bootstrap(spec, database, command.environment, words)
    else:
        raise failed(words, "unknown command")


def half(data: Data, command: Command) -> None:
    """Do the first half of a command: a migration leaves tables without their heads."""
    service, _, database, _ = _target(data, command)
    spec = catalog.service(service)
    words = (command.argv[0].rsplit("/", 1)[1], *command.argv[1:])
    if words == spec.migration.create and not database.heads:
        database.tables = True
    if words in spec.migration.expand:
        database.tables = True


def failed(words: tuple[str, ...], why: str) -> PlaneshiftError:
    """A command that exits with 1."""
    return PlaneshiftError(Problem("PS603", f"`{' '.join(words[:3])}` exited 1", why=why))


def _target(data: Data, command: Command) -> tuple[str, str, DatabaseData, Mapping[str, File]]:
    """The service, release and database that a command acts on, by its environment and the files where it runs; these."""
    installed = data.environments.get(command.host, {}).get(processes.environment_of(command.argv[0]))
    name, files = command.argv[0].rsplit("/", 1)[-1], command.files
    if not files:
        unit = next((u for u in data.units if command.directory.endswith(f"/{u}") and data.units[u].files), None)
        if installed is None or unit is None:
            raise PlaneshiftError(Problem("PS603", f"{name} cannot be run: No such file or directory"))
        files = data.units[unit].files
    service, release = installed or command.place
    url = processes.option(files, service, catalog.service(service).database_section, "connection")
    place = processes.without_credentials(url)
    database = data.databases.get(place)
    if database is None:
        raise failed((name,), "unable to open database file")
    if not may_use(data, place, *credentials(url)):
        raise failed((name,), "Access denied")
    return service, release, database, files


def _known(service: str, release: str, heads: frozenset[str]) -> bool:
    """Whether a release's migrations know these revisions."""
    known: set[str] = set()
    for series in catalog.releases(service):
        if series <= release:
            known |= set(catalog.facts(service, series)["heads"]) | processes.expanded(service, series)
    return heads <= known


def _bootstrap(
    spec: ServiceSpec, database: DatabaseData, environment: Mapping[str, str], words: tuple[str, ...]
) -> None:
    password = environment.get("OS_BOOTSTRAP_PASSWORD", "")
    if not database.heads or not password:
        raise failed(words, "no tables" if password else "no password")
    content: KeystoneData = database.keystone
    content.passwords["admin"] = password  # what exists is reset to it: so it must run once
    content.services.setdefault(spec.type, spec.name)
    for interface in ("public", "internal"):
        content.endpoints[spec.type, interface] = environment[f"OS_BOOTSTRAP_{interface.upper()}_URL"]
