"""Asks an installed OpenStack service what options and database schema it knows. Runs inside the service's own venv.

    python extract.py SHARED.TOML SERVICE.TOML OUT.JSON

`scripts/refresh.py` runs it and writes what it says to the catalog. Only the standard library and what every OpenStack
service brings (oslo.config, keystoneauth1, alembic) may be imported here.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import pkgutil
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Spec = Any  # "str", or {"type": "int", "min": 0, …}; a deprecated name is {"to": "name"} or {"to": "section/name"}
Section = dict[str, Spec]

SKIPPED_MODULES = re.compile(
    r"(^|\.)(_?tests?|functional|cmd|cli|shell|generator|migrations?|alembic\w*|hacking|fixture|conffixture|sphinx\w*|"
    r"__main__|validator|\w*eventlet\w*)(\.|$)"
)


def type_of(kind: Any) -> dict[str, Any]:
    """The registry's words for an oslo.config type; `any` where nothing can be said of the values."""
    from oslo_config import types

    simple = {
        types.Boolean: "bool",
        types.Hostname: "hostname",
        types.HostAddress: "host",
        types.HostDomain: "hostdomain",
    }
    if type(kind) in simple:
        return {"type": simple[type(kind)]}
    if kind in (str, int, float):
        return {"type": kind.__name__}
    if type(kind) in (types.String, types.MultiString):
        said = {
            "type": "str",
            "choices": [c for c in kind.choices if c is not None] if kind.choices else None,
            "ignore_case": kind.ignore_case or None,
            "max_length": kind.max_length or None,
            "quotes": kind.quotes or None,
            "regex": kind.regex.pattern if kind.regex else None,
        }
    elif type(kind) in (types.Integer, types.Float, types.Port):
        word = {types.Integer: "int", types.Float: "float", types.Port: "port"}[type(kind)]
        said = {"type": word, "min": kind.min, "max": kind.max, "choices": list(kind.choices) if kind.choices else None}
    elif type(kind) in (types.List, types.Dict):
        item = compact(type_of(kind.item_type if type(kind) is types.List else kind.value_type))
        said = {
            "type": "list" if type(kind) is types.List else "dict",
            "bounds": kind.bounds or None,
            "item": None if item == "str" else item,
        }
        separator = getattr(kind, "key_value_separator", ":")
        said["separator"] = None if separator == ":" else separator
    elif type(kind) is types.IPAddress:
        said = {"type": "ip", "version": {"_check_ipv4": 4, "_check_ipv6": 6}.get(kind.version_checker.__name__)}
    elif type(kind) is types.URI:
        said = {"type": "uri", "schemes": list(kind.schemes) if kind.schemes else None, "max_length": kind.max_length}
    else:
        said = {"type": "any"}
    return {key: value for key, value in said.items() if value is not None}


def compact(spec: dict[str, Any]) -> Spec:
    return spec["type"] if set(spec) == {"type"} else spec


def spec_of(option: Any) -> Spec:
    """What the registry keeps of one oslo.config option. Defaults are left out: some depend on the machine."""
    spec = type_of(option.type)
    if option.multi:
        spec["multi"] = True
    if option.secret:
        spec["secret"] = True
    if option.deprecated_for_removal:
        spec["removal"] = first_sentence(option.deprecated_reason or "")
    return compact(spec)


def first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0][:200]


def options_of(option: Any, section: str) -> Iterator[tuple[str, str, Spec]]:
    """The option under its own name and under each of its deprecated ones."""
    yield section, option.dest, spec_of(option)
    for old in option.deprecated_opts:
        old_section, old_name = section_name(old.group) if old.group else section, old.name or option.dest
        if (old_section, old_name) != (section, option.dest):
            to = option.dest if old_section == section else f"{section}/{option.dest}"
            yield old_section, old_name, {"to": to}


def section_name(group: Any) -> str:
    name = "DEFAULT" if group is None else str(getattr(group, "name", group))
    return name if name == "DEFAULT" else name.lower()


def is_file_option(option: Any) -> bool:
    """Whether the option can stand in a file at all; subcommands and positional arguments cannot."""
    from oslo_config import cfg

    odd = (cfg.SubCommandOpt, cfg._ConfigFileOpt, cfg._ConfigDirOpt)
    return not isinstance(option, odd) and not getattr(option, "positional", False)


class Book:
    """Every option found, by section. Real names win over deprecated ones; of several real ones the first stays."""

    def __init__(self) -> None:
        self.sections: dict[str, Section] = {}

    def add(self, group: Any, options: Iterable[Any]) -> None:
        for option in options:
            if is_file_option(option):
                for section, name, spec in options_of(option, section_name(group)):
                    self._put(section, name, spec)

    def _put(self, section: str, name: str, spec: Spec) -> None:
        names = self.sections.setdefault(section, {})
        known = names.get(name)
        if known is None or (is_alias(known) and not is_alias(spec)):
            names[name] = spec


def is_alias(spec: Spec) -> bool:
    return isinstance(spec, dict) and "to" in spec


def record_registrations(book: Book) -> None:
    """From now on, whatever any module registers with oslo.config is written into `book`."""
    from oslo_config import cfg

    register = cfg.ConfigOpts.register_opt

    def recording(self: Any, opt: Any, group: Any = None, *args: Any, **kwargs: Any) -> Any:
        book.add(group, [opt])
        return register(self, opt, group, *args, **kwargs)

    cfg.ConfigOpts.register_opt = recording


def listed_options(book: Book) -> set[str]:
    """Adds what every `oslo.config.opts` entry point lists; says which packages have one."""
    points = importlib.metadata.entry_points(group="oslo.config.opts")
    packages = set()
    for point in sorted(points, key=lambda p: (p.name, p.value)):
        if ".tests." in point.value:
            continue
        packages.add(point.module.partition(".")[0])
        listed = point.load()()
        for group, options in listed.items() if isinstance(listed, dict) else listed:
            book.add(group, options)
    return packages


def import_all(package: str) -> None:
    """Imports every module of `package`, since many register options when imported. What cannot be imported is
    not there at run time either (an optional library is missing)."""
    root = importlib.import_module(package)
    for module in pkgutil.walk_packages(root.__path__, f"{package}.", onerror=lambda name: None):
        if SKIPPED_MODULES.search(module.name):
            continue
        try:
            importlib.import_module(module.name)
        except (Exception, SystemExit) as error:
            print(f"  not imported: {module.name}: {type(error).__name__}", file=sys.stderr)


def named(name: str) -> Any:
    """The thing that `module:attribute` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def call_registrars(names: Iterable[str]) -> None:
    from oslo_config import cfg

    for name in names:
        named(name)(cfg.ConfigOpts())


def template(options: Iterable[Any]) -> Section:
    book = Book()
    book.add("template", options)
    return book.sections.get("template", {})


def auth_templates() -> dict[str, Section]:
    """The options of every keystoneauth plugin, by its `auth_type`."""
    from keystoneauth1 import loading

    loaders = loading.get_available_plugin_loaders()
    return {f"auth/{name}": template(loading.get_auth_plugin_conf_options(loaders[name])) for name in loaders}


def driver_templates(prefix: str, rule: dict[str, Any]) -> dict[str, Section]:
    """The options of every driver class of an entry point group."""
    found = {}
    for point in importlib.metadata.entry_points(group=rule["entry-points"]):
        driver = point.load()
        lists = [getattr(driver, rule["attribute"], None) or [], *(named(name) for name in rule.get("shared", []))]
        found[f"{prefix}/{point.name}"] = template(option for options in lists for option in options)
    return found


def without(skipped: str, templates: dict[str, Section]) -> dict[str, Section]:
    return {name: options for name, options in templates.items() if skipped not in name}


def config_source_template() -> Section:
    """The union of the options of all `[DEFAULT] config_source` drivers."""
    options: Section = {"driver": "str"}
    for point in importlib.metadata.entry_points(group="oslo.config.driver"):
        options |= template(point.load()().list_options_for_discovery())
    return options


def schema(rules: dict[str, Any], site: Path) -> dict[str, list[str]]:
    """`heads`: what the database's version table holds after a full migration: alembic's heads, without those that
    another head depends on (Glance's contract branch depends on its expand branch, and takes its place in the table).
    `expand`: the heads of the branch of that name, which are there after an expansion; only where there is one.
    `revisions`: all that its migrations know; what holds another one is of a later release, or of something else."""
    from alembic.script import ScriptDirectory

    home = site / rules["alembic"]
    patterns = rules.get("alembic-versions", ["versions"])
    places = [str(p) for pattern in patterns for p in sorted(home.glob(pattern)) if p.is_dir()]
    script = ScriptDirectory(str(home), version_locations=places)
    heads = script.get_heads()
    expand = [head for head in heads if "expand" in script.get_revision(head).branch_labels]
    top = set(heads) - {below for head in heads for below in revisions_below(script, head)}
    known = sorted(revision.revision for revision in script.walk_revisions())
    return {"heads": sorted(top), "revisions": known} | ({"expand": sorted(expand)} if expand else {})


def cell_schema(rules: dict[str, Any], site: Path) -> dict[str, list[str]]:
    """`cell_heads`: the same of the databases of cells, whose schema is another one; only where there is one."""
    if "cell-alembic" not in rules:
        return {}
    return {f"cell_{name}": found for name, found in schema({"alembic": rules["cell-alembic"]}, site).items()}


def revisions_below(script: Any, name: str) -> set[str]:
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        for revision in script.get_revisions(waiting.pop()):
            below = {*as_tuple(revision.down_revision), *as_tuple(revision.dependencies)}
            below = {found.revision for other in below for found in script.get_revisions(other)}
            waiting += below - seen
            seen |= below
    return seen


def as_tuple(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def registry(rules: dict[str, Any], package: str) -> dict[str, Any]:
    book = Book()
    record_registrations(book)
    packages = listed_options(book)
    for name in [package, *sorted(packages - {package})]:
        import_all(name)
    call_registrars(rules["register"])
    templates = {**rules.get("templates", {}), **auth_templates(), "config-source": config_source_template()}
    for prefix, rule in rules.get("drivers", {}).items():
        drivers = driver_templates(prefix, rule)
        # Sample files show each driver under its own name; such a section counts only where it is listed.
        for name in drivers:
            book.sections.pop(section_name(name.partition("/")[2]), None)
        templates |= without(rule.get("skip", "\0"), drivers)
    rules["foreign"] = sorted(set(rules["foreign"]))
    lists = {key: rules.get(key, []) for key in ("dynamic", "foreign", "foreign_named_by", "secret")}
    tables = {key: rules.get(key, {}) for key in ("per_host", "removed", "renamed")}
    return {**lists, **tables, "sections": book.sections, "templates": templates}


def merged(files: Iterable[str]) -> dict[str, Any]:
    """The rules of several files: lists are joined, tables are joined, the last plain value counts."""
    rules: dict[str, Any] = {}
    for file in files:
        for key, value in tomllib.loads(Path(file).read_text()).items():
            known = rules.get(key)
            if isinstance(known, list):
                rules[key] = [*value, *known]
            elif isinstance(known, dict):
                rules[key] = {**known, **value}
            else:
                rules[key] = value
    return rules


def main(rule_files: list[str], out: str) -> None:
    rules = merged(rule_files)
    distribution = importlib.metadata.distribution(rules["distribution"])
    package = rules["alembic"].partition("/")[0]
    site = Path(str(distribution.locate_file("")))
    missing = [name for name in rules["files"] if not (Path(sys.prefix) / name).exists()]
    if missing:
        sys.exit(f"not in the installed package: {', '.join(missing)}")
    release = {
        "version": distribution.version,
        **schema(rules, site),
        **cell_schema(rules, site),
        "files": rules["files"],
    }
    Path(out).write_text(json.dumps({"release": release, "options": registry(rules, package)}))


if __name__ == "__main__":
    *rule_files, out = sys.argv[1:]
    sys.argv[1:] = []  # some modules parse the command line when imported
    main(rule_files, out)
