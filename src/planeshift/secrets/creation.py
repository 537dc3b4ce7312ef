"""`.sops.yaml`: which rule a new file falls under, and for whom it is sealed. Format: getsops/sops, "creation rules"."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planeshift.errors import PlaneshiftError, Problem
from planeshift.secrets.metadata import RULES

NAME = ".sops.yaml"
_FOREIGN = ("pgp", "kms", "gcp_kms", "azure_keyvault", "hckms")


@dataclass(frozen=True)
class Rule:
    """For whom a file is sealed, and which of its values."""

    age: tuple[str, ...] = ()
    vault: tuple[str, ...] = ()  # URIs of transit keys
    settings: dict[str, Any] = field(default_factory=dict)  # one of RULES, mac_only_encrypted


def find(path: Path) -> Path | None:
    """The nearest `.sops.yaml` of a file: in its directory or above."""
    for directory in path.resolve().parents:
        if (directory / NAME).is_file():
            return directory / NAME
    return None


def rule_for(path: Path) -> Rule | None:
    """The first creation rule that fits a file; None where there is none, or no `.sops.yaml`.

    Raises PlaneshiftError (PS1011) where it cannot be read, or the rule names keys that are not ours to use.
    """
    config = find(path)
    if config is None:
        return None
    given = rules(config)
    relative = str(path.resolve()).removeprefix(f"{config.parent.resolve()}/")
    for rule in given:
        pattern = str(rule.get("path_regex") or "")
        try:
            fits = not pattern or re.search(pattern, relative)
        except re.error as error:
            raise _wrong(config, f"path_regex {pattern!r} is no regular expression") from error
        if fits:
            return _read(config, rule)
    return None


def _wrong(config: Path, what: str) -> PlaneshiftError:
    return PlaneshiftError(Problem("PS1011", f"{config}: {what}"))


def rules(config: Path) -> list[dict[str, Any]]:
    """The creation rules as they are written. Raises PlaneshiftError (PS1011)."""
    import yaml

    try:
        data = yaml.safe_load(config.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _wrong(config, "it cannot be read as YAML") from error
    found = (data or {}).get("creation_rules") if isinstance(data, dict) or data is None else 0
    if found is not None and (not isinstance(found, list) or any(not isinstance(r, dict) for r in found)):
        raise _wrong(config, "creation_rules is not a list of rules")
    return found or []


def _read(config: Path, rule: dict[str, Any]) -> Rule:
    groups = rule.get("key_groups") or []
    if len(groups) > 1 or rule.get("shamir_threshold"):
        raise _wrong(config, "several key groups (shamir_threshold) are not supported")
    sources = [rule, *(_merged(groups[0]) if groups else [])]
    for name in _FOREIGN:
        if any(s.get(name) for s in sources):
            raise _wrong(config, f"the rule names {name} keys, which only sops itself can wrap for")
    age = tuple(dict.fromkeys(a for s in sources for a in _list(s.get("age"))))
    vault = tuple(v for s in sources for v in _list(s.get("hc_vault_transit_uri") or s.get("hc_vault")))
    if not age and not vault:
        raise _wrong(config, "the rule names no recipient")
    settings = {k: rule[k] for k in (*RULES, "mac_only_encrypted") if rule.get(k)}
    if len([k for k in RULES if k in settings]) > 1:
        raise _wrong(config, "a rule can have one of " + ", ".join(RULES) + ", not two")
    return Rule(age, vault, settings)


def _merged(group: dict[str, Any]) -> list[dict[str, Any]]:
    return [group, *(g for inner in group.get("merge") or [] for g in _merged(inner))]


def _list(value: Any) -> list[str]:
    found = value.split(",") if isinstance(value, str) else value or []
    return [str(v).strip() for v in found if str(v).strip()]
