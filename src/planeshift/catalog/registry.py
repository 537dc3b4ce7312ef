"""What a release of a service knows: its options, read from `releases/SERIES/options.json`. Pure.

Some sections exist only because another option names them (Glance's stores, Barbican's backends, the auth plugin of a
section). The rules for those are data of the registry (`dynamic`), so that a new service needs no code here:

    {"each": "A/b", "section": "{}", "options": "store/{}"}    every item of [A] b is a section; a dict's value chooses
    {"each": "A/b", "section": "A", "option": "{}"}            every item of [A] b is an option of [A]
    {"section": "S", "options": "T"}                           S has the options of template T; "*": every section
    {"section": "*", "having": "auth_section", "choice": "auth_type", "options": "auth/{}"}
        every section with an option `auth_section` has those of the plugin that `auth_type` chooses, there or in the
        section that `auth_section` names
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from planeshift.catalog.inifile import Entry

__all__ = ["Known", "Option", "Registry", "normal"]

Specs = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Option:
    """An option under the name that was asked for; `to` is its right section and name where that one is old."""

    section: str
    name: str
    spec: str | Specs
    to: tuple[str, str] | None = None

    def flag(self, name: str) -> Any:
        """What the registry notes of the option under `name` (secret, removal, multi, …), or None."""
        return None if isinstance(self.spec, str) else self.spec.get(name)


def normal(section: str) -> str:
    """A section's name as oslo.config compares it: only DEFAULT has its case."""
    return section if section == "DEFAULT" else section.lower()


@dataclass(frozen=True)
class Registry:
    """All that one release of one service knows of options."""

    service: str
    release: str
    version: str
    sections: Mapping[str, Specs]
    templates: Mapping[str, Specs]
    dynamic: tuple[Mapping[str, str], ...] = ()
    foreign: tuple[str, ...] = ()
    foreign_named_by: tuple[str, ...] = ()
    per_host: Mapping[str, str] | None = None
    removed: Mapping[str, str] | None = None
    renamed: Mapping[str, str] | None = None
    secret: tuple[str, ...] = ()

    @classmethod
    def load(cls, text: str) -> Registry:
        """The registry of an options.json's text. Raises ValueError or KeyError if it is none; it is our own file."""
        data = json.loads(text)
        if data["format"] != 1:
            raise ValueError(f"options.json of format {data['format']}")
        return cls(
            service=data["service"],
            release=data["release"],
            version=data["version"],
            sections=data["sections"],
            templates=data["templates"],
            dynamic=tuple(data["dynamic"]),
            foreign=tuple(data["foreign"]),
            foreign_named_by=tuple(data["foreign_named_by"]),
            per_host=data["per_host"],
            removed=data["removed"],
            renamed=data["renamed"],
            secret=tuple(data["secret"]),
        )

    def known(self, entries: Iterable[Entry]) -> Known:
        """What is known once these entries, of all files of the service in their order, have been read."""
        return Known(self, entries)


class Known:
    """The options of a registry together with those that the files themselves bring into being."""

    def __init__(self, registry: Registry, entries: Iterable[Entry]) -> None:
        self.registry = registry
        self._values = {(normal(e.section), e.key): e.value for e in entries}
        self._extra: dict[str, list[Specs]] = defaultdict(list)
        self._everywhere: list[Specs] = []
        self._names: dict[str, frozenset[str]] = {}
        for rule in registry.dynamic:
            self._apply(rule)

    def option(self, section: str, name: str) -> Option | None:
        """The option of that section and name, or None; an old name comes with `to`, and with its target's type."""
        section = normal(section)
        for specs in self._layers(section):
            if name in specs:
                return self._resolved(section, name, specs[name])
        return None

    def has_section(self, section: str) -> bool:
        """Whether any option of that section is known."""
        section = normal(section)
        return section in self.registry.sections or section in self._extra

    def names(self, section: str) -> frozenset[str]:
        """The names, old ones left out, that a section may have."""
        section = normal(section)
        if section not in self._names:
            self._names[section] = frozenset(
                name
                for specs in self._layers(section)
                for name, spec in specs.items()
                if isinstance(spec, str) or "to" not in spec
            )
        return self._names[section]

    def sections(self) -> Collection[str]:
        """All sections that may stand in a file."""
        return {*self.registry.sections, *self._extra}

    def lists_for(self, keys: Collection[str]) -> str | None:
        """The `section/option` that would have to name a section with these keys for it to be known, or None."""
        for rule in self.registry.dynamic:
            if "each" in rule and "options" in rule:
                prefix = rule["options"].partition("{")[0]
                if any(key in specs for specs in self._templates(prefix) for key in keys):
                    return rule["each"]
        return None

    def _layers(self, section: str) -> Iterator[Specs]:
        yield self.registry.sections.get(section, {})
        yield from self._extra.get(section, ())
        yield from self._everywhere

    def _resolved(self, section: str, name: str, spec: Any) -> Option:
        target = None if isinstance(spec, str) else spec.get("to")
        if target is None:
            return Option(section, name, spec)
        to_section, _, to_name = target.rpartition("/")
        to = (to_section or section, to_name)
        real = next((s[to[1]] for s in self._layers(to[0]) if to[1] in s), "any")
        return Option(section, name, real, to)

    def _apply(self, rule: Mapping[str, str]) -> None:
        if "each" in rule:
            for item, value in self._items(rule["each"]):
                section = normal(rule["section"].replace("{}", item))
                if "option" in rule:
                    self._extra[section].append({rule["option"].replace("{}", item): "str"})
                else:
                    self._extra[section] += self._chosen(rule["options"], value)
        elif "having" in rule:
            for section in [s for s, specs in self.registry.sections.items() if rule["having"] in specs]:
                self._choose(rule, section)
        elif rule["section"] == "*":
            self._everywhere += self._chosen(rule["options"], "")
        else:
            self._extra[rule["section"]] += self._chosen(rule["options"], "")

    def _choose(self, rule: Mapping[str, str], section: str) -> None:
        target = normal(self._values.get((section, rule["having"]), "") or section)
        names = [rule["choice"], *self._old_names(section, rule["choice"])]
        choice = next((self._values[target, name] for name in names if (target, name) in self._values), "")
        if target != section:
            self._extra[target].append(dict.fromkeys(names, "str"))
        self._extra[target] += self._chosen(rule["options"], choice)

    def _old_names(self, section: str, name: str) -> list[str]:
        specs = self.registry.sections[section]
        return [old for old, spec in specs.items() if not isinstance(spec, str) and spec.get("to") == name]

    def _chosen(self, pattern: str, value: str) -> list[Specs]:
        """The template that `value` chooses; all that there are where the value is absent or not understood."""
        exact = self.registry.templates.get(pattern.replace("{}", value))
        return [exact] if exact is not None else self._templates(pattern.partition("{")[0])

    def _templates(self, prefix: str) -> list[Specs]:
        return [specs for name, specs in self.registry.templates.items() if name.startswith(prefix)]

    def _items(self, place: str) -> Iterator[tuple[str, str]]:
        section, _, name = place.partition("/")
        for item in self._values.get((section, name), "").strip("[]{} ").split(","):
            key, _, value = (part.strip() for part in item.partition(":"))
            if key:
                yield key, value
