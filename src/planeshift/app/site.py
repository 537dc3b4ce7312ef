"""The operator's directory: the cloud file, what it refers to, and where we keep things for it."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from planeshift import catalog
from planeshift.catalog import inifile
from planeshift.errors import PlaneshiftError, Problem, Where
from planeshift.model import cloud as model
from planeshift.model.load import Loaded, load
from planeshift.model.source import MAX_BYTES, Document, parse
from planeshift.model.source import Path as Path_
from planeshift.render import rules, topology
from planeshift.render.build import config_path
from planeshift.render.desired import HostPaths, Tree
from planeshift.render.files import operator_files
from planeshift.render.pods import MAX_OBJECT
from planeshift.render.pods import key as key_of

DEFAULT = "cloud.yaml"
STATE = ".planeshift"
MAX_TREE = 32 * 1024 * 1024
_SECRET_KEY = re.compile(r"(?i)(password|passwd|token|secret_?key|private_?key)$")


@dataclass(frozen=True)
class Site:
    """A valid cloud file with the files that it declares. `warnings` do not stop anything."""

    path: Path
    loaded: Loaded
    tree: Tree
    warnings: tuple[Problem, ...] = ()

    @property
    def root(self) -> Path:
        return self.path.parent

    @property
    def cloud(self) -> model.Cloud:
        return self.loaded.cloud

    @property
    def state(self) -> Path:
        return self.root / STATE


def find(given: str | None) -> Path:
    """The cloud file: the given one, else `cloud.yaml` here or above. Raises PlaneshiftError (PS105)."""
    if given is not None:
        return Path(given).absolute()
    here = Path.cwd()
    for directory in (here, *here.parents):
        if (directory / DEFAULT).is_file():
            return directory / DEFAULT
    hint = "`planeshift init` writes one here; `-f FILE` names one elsewhere."
    raise PlaneshiftError(Problem("PS105", f"there is no {DEFAULT} here or above", hint=hint))


def open_site(given: str | None, text: str | None = None) -> Site:
    """Read and check a cloud file and all that it declares; `text` stands for the file's own, where it is given.

    Raises PlaneshiftError with every error found; warnings are kept.
    """
    path = find(given)
    loaded = load(_read(path) if text is None else text, shown(path))
    problems = rules.check(loaded)
    tree, missing = _tree(path.parent, loaded) if not problems else ({}, [])
    problems += missing
    if not problems:
        problems += _apart(loaded, tree)
    problems += _lint(loaded.cloud, tree)
    errors = [p for p in problems if not p.warning]
    if errors:
        raise PlaneshiftError(problems)
    return Site(path, loaded, tree, tuple(problems))


def shown(path: Path) -> str:
    """A path as a person would type it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def host_paths(site: Site, haproxy: str = "haproxy") -> dict[str, HostPaths]:
    """Where things are on each host of ours."""
    here = HostPaths(runtime=str(runtime(site.path)), state=str(site.state), haproxy=haproxy, root=os.getuid() == 0)
    paths = {h.name: replace(here, supervisor=h.supervisor) for h in site.cloud.spec.hosts if h.via in ("local", "lab")}
    return paths | {h.name: _elsewhere(site, h) for h in site.cloud.spec.hosts if h.via == "ssh"}


def ssh_directory(ssh: model.Ssh) -> str:
    """What we keep on a `via: ssh` host, of all clouds, lies there."""
    return ssh.directory or ("/var/lib/planeshift" if ssh.user == "root" else f"/home/{ssh.user}/.planeshift")


def _elsewhere(site: Site, host: model.Host) -> HostPaths:
    """Named after the cloud, so that whoever works from another copy of its file finds the same."""
    ssh, name = host.ssh or model.Ssh(), site.cloud.metadata.name
    root = ssh.user == "root"
    memory = "/run/planeshift" if root else f"/dev/shm/planeshift-{ssh.user}"  # noqa: S108 - 0700, owner checked
    return HostPaths(
        runtime=f"{memory}/{name}",
        state=f"{ssh_directory(ssh)}/{name}",
        supervisor=host.supervisor,
        root=root,
    )


def runtime(path: Path) -> Path:
    """The private, short-lived directory of a cloud file: sockets and secrets; on tmpfs where there is one.

    Short, since a socket's path has 108 bytes at most, and found again by the cloud file's own path.
    """
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:10]
    uid = os.getuid()
    user = os.environ.get("XDG_RUNTIME_DIR")
    bases = [Path("/run/planeshift")] if uid == 0 else [Path(user) / "planeshift"] if user else []
    bases += [Path(f"/dev/shm/planeshift-{uid}"), Path(f"/tmp/planeshift-{uid}")]  # noqa: S108 - 0700, owner checked
    usable = [b for b in bases if os.access(b.parent, os.W_OK)]
    memory = [b for b in usable if _is_tmpfs(b.parent)]
    return (memory or usable)[0] / name


@functools.cache
def _is_tmpfs(path: Path) -> bool:
    """Whether a directory is on a file system of memory. Format: proc_pid_mountinfo(5)."""
    best, kind = "", ""
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines():
        fields = line.split()
        point = fields[4]
        if (str(path) == point or str(path).startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, fields[fields.index("-") + 1]
    return kind in ("tmpfs", "ramfs")


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise PlaneshiftError(Problem("PS105", f"{shown(path)} is not a file"))
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        hint = "`planeshift init` writes a first one." if not path.exists() else ""
        raise PlaneshiftError(Problem("PS105", f"{shown(path)}: {error.strerror}", hint=hint)) from error


# --- the operator's files


def _tree(root: Path, loaded: Loaded) -> tuple[dict[str, bytes], list[Problem]]:
    """The declared files, by path below `root`; links that lead out of the tree are refused."""
    tree: dict[str, bytes] = {}
    problems: list[Problem] = []
    for name in topology.ours(loaded.cloud):
        directory = config_path(loaded.cloud, name)
        declared = loaded.cloud.spec.services[name].config is not None
        if not (root / directory).is_dir():
            if declared:
                where = loaded.document.where(("spec", "services", name, "config"))
                problems.append(Problem("PS215", f"there is no directory {directory}", where))
            continue
        for path in _files(root / directory):
            problems += _add(root, path, tree)
    for place, named in _named_files(loaded.cloud):
        if (root / named).is_file():
            problems += _add(root, root / named, tree)
        else:
            problems.append(Problem("PS215", f"there is no file {named}", loaded.document.where(("spec", *place))))
    return tree, [*problems, *_values(loaded.cloud, tree)]


def _named_files(cloud: model.Cloud) -> Iterator[tuple[tuple[str, ...], str]]:
    """Single files that the cloud file names: where it does, below `spec`, and which."""
    for kind, endpoint in (("public", cloud.spec.endpoints.public), ("internal", cloud.spec.endpoints.internal)):
        tls = endpoint.tls if endpoint else None
        for key, path in (("certificate", tls.certificate), ("key", tls.key)) if tls else ():
            if path:
                yield ("endpoints", kind, "tls", key), path
    if cloud.spec.trust:
        yield ("trust",), cloud.spec.trust
    for name, registry in cloud.spec.registries.items():
        if registry.ca:
            yield ("registries", name, "ca"), registry.ca
    if cloud.spec.charts.ca:
        yield ("charts", "ca"), cloud.spec.charts.ca
    for place, path in _values_files(cloud):
        yield place, path


def _values_files(cloud: model.Cloud) -> Iterator[tuple[tuple[str, ...], str]]:
    """The values files of charts that are not ours: where they are named, below `spec`, and which."""
    for service in topology.ours(cloud):
        for name, backend in cloud.spec.services[service].backends.items():
            if backend.chart and backend.chart.values:
                yield ("services", service, "backends", name, "chart", "values"), backend.chart.values


def _values(cloud: model.Cloud, tree: Mapping[str, bytes]) -> Iterator[Problem]:
    """Values files are mappings, and nothing secret is in them."""
    for path in dict.fromkeys(path for _, path in _values_files(cloud) if path in tree):
        try:
            document = parse(tree[path], path)
        except PlaneshiftError as error:
            yield from error.problems
            continue
        if not isinstance(document.data, (dict, type(None))):
            yield Problem("PS107", f"{path}: values of a chart are a mapping", document.where(()))
        yield from _secret_values(document, document.data or {}, ())


def _secret_values(document: Document, value: Any, place: Path_) -> Iterator[Problem]:
    """Helm keeps values in the clear, and shows them to who asks."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _secret_values(document, inner, (*place, key))
    if place and isinstance(value, str) and value and _SECRET_KEY.search(str(place[-1])):
        where, hint = replace(document.where(place, key=True), text=""), "It belongs to the service's secret file."
        what = f"{'.'.join(map(str, place))} holds a secret in the clear"
        yield Problem("PS307", what, where, hint=hint, warning=True)


def _files(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(directory).parts):
            yield path


def _add(root: Path, path: Path, tree: dict[str, bytes]) -> list[Problem]:
    name = str(path.relative_to(root))
    if not path.resolve().is_relative_to(root.resolve()):
        return [Problem("PS215", f"{name} leads out of the directory of the cloud file", Where(name))]
    try:
        tree[name] = path.read_bytes()
    except OSError as error:
        return [Problem("PS105", f"{name}: {error.strerror}", Where(name))]
    if sum(map(len, tree.values())) > MAX_TREE:
        raise PlaneshiftError(Problem("PS102", f"the configuration files have more than {MAX_TREE:,} bytes"))
    return []


def _lint(cloud: model.Cloud, tree: Tree) -> list[Problem]:
    """Check the operator's oslo.config files against what each release of the service knows."""
    problems: list[Problem] = []
    for name in topology.ours(cloud) if tree else ():
        directory = config_path(cloud, name) + "/"
        texts = {p: c.decode("utf-8", "replace") for p, c in tree.items() if p.startswith(directory)}
        if not any(p.endswith(".conf") for p in texts):
            continue
        from planeshift.catalog import options

        service = cloud.spec.services[name]
        for release in sorted({topology.release(cloud, name, b) for b in service.backends.values()}):
            registry = options.Registry.load(catalog.data(name, release, "options.json"))
            problems += options.check(texts, registry, service.allow_options)
            problems += options.secret_options(registry, texts)
        problems += _for_pods(name, directory, texts) if _in_cluster(cloud, name) else []
    return list(dict.fromkeys(problems))


def _apart(loaded: Loaded, tree: Tree) -> Iterator[Problem]:
    """Services on several machines whose options are for one."""
    known = topology.hosts(loaded.cloud)
    for name, spec in topology.ours(loaded.cloud).items():
        backends = loaded.cloud.spec.services[name].backends.values()
        machines = {h if known[h].via != "local" else "" for b in backends for h in b.hosts}
        if len(machines) < 2 and not _in_cluster(loaded.cloud, name):
            continue
        options: dict[tuple[str, str], str] = {}
        for path, content in operator_files(tree, config_path(loaded.cloud, name)).items():
            if path == spec.layout.main or path.startswith(f"{spec.layout.main}.d/"):
                found = inifile.parse(content.decode("utf-8", "replace"), path).entries
                options |= {(entry.section, entry.key): entry.value for entry in found}
        why = spec.apart(options)
        if why:
            where = loaded.document.where(("spec", "services", name), key=True)
            yield Problem("PS212", f"{name} runs on several machines, or as pods, and cannot", where, why=f"{why}.")


def _in_cluster(cloud: model.Cloud, service: str) -> bool:
    return any(b.cluster for b in cloud.spec.services[service].backends.values())


def _for_pods(service: str, directory: str, texts: Mapping[str, str]) -> Iterator[Problem]:
    """What a ConfigMap cannot hold."""
    where, keys = Where(directory), [key_of(path.removeprefix(directory)) for path in texts]
    if sum(map(len, texts.values())) > MAX_OBJECT * 9 // 10:
        yield Problem("PS220", f"the files of {service} have more than {MAX_OBJECT * 9 // 10:,} bytes", where)
    if len(set(keys)) < len(keys):
        same = next(k for k in keys if keys.count(k) > 1)
        yield Problem("PS220", f"two files of {service} would both be `{same}` in its ConfigMap", where)
