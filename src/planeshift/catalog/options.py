"""Checks a service's own configuration files against what its release really knows. Pure: texts in, problems out.

oslo.config ignores what it does not know, so a misspelt option is a setting that is silently not made. `check` finds
those before anything runs, along with wrong values, old names and what ties the service to one machine.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from posixpath import basename

from planeshift.catalog.inifile import Entry, File, Header, parse
from planeshift.catalog.optiontypes import fault
from planeshift.catalog.portability import finding
from planeshift.catalog.registry import Known, Option, Registry, normal
from planeshift.errors import Problem, Where, control_free

__all__ = ["Registry", "check", "hidden_entries", "parse", "secret_entries", "secret_options"]

_SECRET_NAME = re.compile(
    r"(^|_)(password|passwd|passphrase|secret|kek|access_key|secret_key|private_key|hmac_keys?|encryption_key)\Z"
)
_URL_PASSWORD = re.compile(r"\w+://[^:@/\s]*:[^\s]+@")
_BACKEND_PASSWORD = re.compile(r"(?i)\w*password:\S")


def check(files: Mapping[str, str], registry: Registry, allow: Collection[str] = ()) -> list[Problem]:
    """Everything worth saying about a service's files, in their order.

    `files` maps names to texts, in the order in which the service reads them; what is not in oslo.config's format
    (`*.ini`, policies, ceph.conf, …) is passed over. `allow` lists options of local patches, as `section/option`, with
    `*` for any. Codes PS301 to PS306; the sure mistakes are errors, the rest has `warning` set. Raises nothing.
    """
    parsed = _own_format(files, registry)
    known = registry.known(entry for file in parsed for entry in file.entries)
    problems: list[Problem] = []
    for file in parsed:
        found = [*file.problems, *_check_file(file, known, allow, files)]
        problems += sorted(found, key=lambda p: (p.where.line, p.where.column) if p.where else (0, 0))
    return problems


def secret_entries(registry: Registry, files: Mapping[str, str]) -> list[Entry]:
    """The entries that hold a secret in the clear: a secret option, or a URL with a password."""
    return [entry for entry, option in _options(registry, files) if _holds_secret(entry, option, registry)]


def hidden_entries(registry: Registry, files: Mapping[str, str]) -> list[Entry]:
    """The entries whose value nobody is to see: secrets, and options that the release does not know, which may be any."""
    found = _options(registry, files)
    return [entry for entry, option in found if option is None or _holds_secret(entry, option, registry)]


def _options(registry: Registry, files: Mapping[str, str]) -> list[tuple[Entry, Option | None]]:
    """Every entry of the files that oslo.config reads, with what the release knows of it."""
    entries = [entry for file in _own_format(files, registry) for entry in file.entries]
    known = registry.known(entries)
    return [(entry, known.option(entry.section, entry.key)) for entry in entries]


def secret_options(registry: Registry, files: Mapping[str, str]) -> list[Problem]:
    """A warning (PS307) for each of `secret_entries`; the secrets themselves are in no message. Raises nothing."""
    return [
        Problem(
            "PS307",
            f"{_name(entry)} holds a secret in the clear",
            entry.where(hidden=True),
            hint="It belongs to the service's secret file.",
            warning=True,
        )
        for entry in secret_entries(registry, files)
    ]


def _own_format(files: Mapping[str, str], registry: Registry) -> list[File]:
    """The files that oslo.config reads, parsed; without those that an option names as being of another format."""
    parsed = [
        parse(text, name)
        for name, text in files.items()
        if name.endswith(".conf") and not any(fnmatchcase(basename(name), foreign) for foreign in registry.foreign)
    ]
    places = [place.rpartition("/") for place in registry.foreign_named_by]
    named = {
        basename(entry.value)
        for file in parsed
        for entry in file.entries
        if any(entry.key == key and section in ("*", entry.section) for section, _, key in places)
    }
    return [file for file in parsed if basename(file.name) not in named]


def _check_file(file: File, known: Known, allow: Collection[str], files: Collection[str]) -> Iterator[Problem]:
    lost: dict[str, list[Entry]] = {}
    for entry in file.entries:
        if any(fnmatchcase(f"{entry.section}/{entry.key}", pattern) for pattern in allow):
            continue
        option = known.option(entry.section, entry.key)
        gone = _removed(entry, known.registry)
        if option:
            yield from _check_option(entry, option, known.registry, files)
        elif gone is not None:
            message = f"{_name(entry)} does not exist any more and is ignored"
            yield Problem("PS305", message, _where(entry, None, known.registry), why=gone, warning=True)
        elif known.has_section(entry.section):
            yield _unknown_option(entry, known)
        else:
            lost.setdefault(entry.section, []).append(entry)
    for header in file.headers:
        if entries := lost.pop(header.name, None):
            yield _unknown_section(header, entries, known)


def _check_option(entry: Entry, option: Option, registry: Registry, files: Collection[str]) -> Iterator[Problem]:
    if option.to:
        section, name = option.to
        message = f"{_name(entry)} is an old name that a later release will not know"
        hint = f"Write `{name}`" + (f" in [{section}]." if section != normal(entry.section) else ".")
        yield Problem("PS305", message, _where(entry, option, registry), hint=hint, warning=True)
    if option.flag("removal") is not None:
        message = f"{_name(entry)} will not exist in a later release"
        where = _where(entry, option, registry)
        yield Problem("PS305", message, where, why=option.flag("removal"), warning=True)
    wrong = None if "$" in entry.value else fault(option.spec, entry.value)
    if wrong:
        yield _wrong_value(entry, option, wrong, registry)
    elif why := finding(registry, option, entry.value, files):
        message = f"{_name(entry)} is tied to one machine"
        where = _where(entry, option, registry, at_value=True)
        yield Problem("PS306", message, where, why=why, warning=True)


def _wrong_value(entry: Entry, option: Option, wrong: str, registry: Registry) -> Problem:
    hint = ""
    bare = re.split(r"\s+[#;]", entry.value, maxsplit=1)[0]
    if bare != entry.value and fault(option.spec, bare) is None:
        hint = "A comment must stand on a line of its own."
    elif "\n" in entry.value:
        hint = "The next line starts with a blank, so it continues this value."
    secret = _holds_secret(entry, option, registry)
    shown = "the value" if secret else f"`{control_free(entry.value)[:60]}`"
    where = _where(entry, option, registry, at_value=True)
    return Problem("PS304", f"{_name(entry)}: {shown} {wrong}", where, hint=hint)


def _unknown_option(entry: Entry, known: Known) -> Problem:
    registry = known.registry
    message = f"{registry.service} {registry.version} knows no option `{control_free(entry.key)}` in [{entry.section}]"
    return Problem("PS301", message, _where(entry, None, registry), hint=_option_hint(entry, known))


def _option_hint(entry: Entry, known: Known) -> str:
    """Its known successor, else a name here that is very near, else the same name elsewhere, else a near one."""
    successor = (known.registry.renamed or {}).get(f"{normal(entry.section)}/{entry.key}")
    if successor:
        section, _, name = successor.partition("/")
        return f"It is `{name}` in [{section}] now."
    key = entry.key.lower().replace("-", "_")
    here = known.names(entry.section)
    near = _near(key, here, 0.9)
    if near:
        return f"Did you mean `{near}`?"
    homes = sorted(section for section in known.sections() if key in known.names(section))
    if homes:
        return f"`{key}` belongs to {' or '.join(f'[{home}]' for home in homes[:4])}."
    near = _near(key, here, 0.72)
    if near:
        return f"Did you mean `{near}`?"
    everywhere = {name: section for section in sorted(known.sections()) for name in known.names(section)}
    near = _near(key, everywhere, 0.88)
    return f"Did you mean `{near}` in [{everywhere[near]}]?" if near else ""


def _unknown_section(header: Header, entries: list[Entry], known: Known) -> Problem:
    registry = known.registry
    message = f"{registry.service} {registry.version} knows no section [{control_free(header.name)}]"
    return Problem("PS303", message, header.where(), hint=_section_hint(header.name, entries, known))


def _section_hint(name: str, entries: list[Entry], known: Known) -> str:
    near = _near(name.strip().lower(), (s.lower() for s in known.sections()), 0.75)
    near = "DEFAULT" if near == "default" else near
    keys = {entry.key for entry in entries}
    listed_by = known.lists_for(keys)
    if near and (keys <= known.names(near) or not listed_by):
        return f"Did you mean [{near}]?"
    if listed_by:
        section, _, option = listed_by.partition("/")
        return f"It is read only if `{option}` in [{section}] names it."
    best = max(sorted(known.sections()), key=lambda section: len(keys & known.names(section)), default="")
    return f"Its options belong to [{best}]." if best and keys <= known.names(best) else ""


def _near(word: str, words: Iterable[str], cutoff: float) -> str | None:
    found = difflib.get_close_matches(word, sorted(words), n=1, cutoff=cutoff)
    return found[0] if found else None


def _removed(entry: Entry, registry: Registry) -> str | None:
    place = f"{normal(entry.section)}/{entry.key}"
    return next((why for pattern, why in (registry.removed or {}).items() if fnmatchcase(place, pattern)), None)


def _holds_secret(entry: Entry, option: Option | None, registry: Registry) -> bool:
    value = entry.value.strip()
    if not value or re.fullmatch(r"\$\w+|\$\{[\w.]+\}", value):
        return False
    if _URL_PASSWORD.search(value):
        return True
    if entry.key.endswith(("_file", "_path", "_repository")) or "://" in value:
        return False
    if entry.key == "backend_argument":
        return bool(_BACKEND_PASSWORD.match(value))
    flagged = f"{normal(entry.section)}/{entry.key}" in registry.secret or bool(option and option.flag("secret"))
    return flagged or bool(_SECRET_NAME.search(entry.key) and (option is None or option.flag("type") in (None, "str")))


def _where(entry: Entry, option: Option | None, registry: Registry, *, at_value: bool = False) -> Where:
    """The entry's place; the value is left out of the quoted line if it is a secret, or may be, being unknown."""
    hidden = option is None or _holds_secret(entry, option, registry)
    return entry.where(at_value=at_value, hidden=hidden)


def _name(entry: Entry) -> str:
    return f"[{control_free(entry.section)}] {control_free(entry.key)}"
