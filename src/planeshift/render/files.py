"""A unit's files: the operator's, unchanged, between the catalog's defaults and what is generated. Pure.

oslo.config reads `~/.PROJECT/MAIN` and then, sorted, the files of `~/.PROJECT/PROJECT.conf.d/`; a later file wins.
(`MAIN.d/` it reads only for a program of that name, which a WSGI server is not.) So each unit has a HOME of its own, in
which MAIN holds the catalog's defaults and the operator's files keep their bytes:

    home/.glance/glance-api.conf                          catalog defaults
    home/.glance/glance.conf.d/10-glance-api.conf         the operator's
    home/.glance/glance.conf.d/20-*.conf                  the operator's further fragments
    home/.glance/glance.conf.d/50-backend.conf            generated for this backend
    home/.glance/glance.conf.d/90-secrets.conf            nothing but secrets, 0600
    home/.glance/policy.yaml, …                           the operator's other files, under their own paths
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TypeVar

from planeshift.catalog import common, inifile
from planeshift.catalog.spec import Options, SecretValue, ServiceSpec, Site
from planeshift.render.desired import File, Override, Tree
from planeshift.render.ini import ini

T = TypeVar("T")
GENERATED = "Written by planeshift; changes made here are overwritten by the next `planeshift up`."


def config_directory(spec: ServiceSpec) -> str:
    """Where the service finds its files, below its unit's directory."""
    return f"home/.{spec.layout.project}"


def fragments_directory(spec: ServiceSpec) -> str:
    """Where every program of the service, whatever its name, finds what goes before its main file."""
    return f"{config_directory(spec)}/{spec.layout.project}.conf.d"


def operator_files(tree: Tree, directory: str) -> dict[str, bytes]:
    """The files of the operator's tree below a directory, by their path in it."""
    prefix = directory.rstrip("/") + "/"
    return {path.removeprefix(prefix): content for path, content in tree.items() if path.startswith(prefix)}


def operator_paths(spec: ServiceSpec, operator: Mapping[str, bytes]) -> dict[str, bytes]:
    """The operator's files by the path below a unit's directory at which the service finds them."""
    root, fragments, main = config_directory(spec), fragments_directory(spec), spec.layout.main
    result = {}
    for path, content in operator.items():
        if path == main:
            result[f"{fragments}/10-{path}"] = content
        elif path.startswith(f"{main}.d/"):
            result[f"{fragments}/20-{path.split('/', 1)[1]}"] = content
        else:
            result[f"{root}/{path}"] = content
    return result


def configuration(spec: ServiceSpec, site: Site, operator: Mapping[str, bytes]) -> dict[str, File]:
    """Every file that the service reads, by path below its unit's directory."""
    root, layout = config_directory(spec), spec.layout
    fragments = fragments_directory(spec)
    result = {f"{root}/{layout.main}": File(ini(spec.defaults(site), f"Defaults of the catalog. {GENERATED}"))}
    result |= {path: File(content) for path, content in operator_paths(spec, operator).items()}
    result[f"{fragments}/50-backend.conf"] = File(ini(spec.backend(site), GENERATED))
    secrets = ini(common.merged(spec.secret_options(site), _given_options(site.secrets)), f"Secrets. {GENERATED}")
    result[f"{fragments}/90-secrets.conf"] = File(secrets, mode=0o600, secret=True)
    result |= {f"{root}/{path}": File(c, mode=0o600, secret=True) for path, c in _secret_files(spec, site.secrets)}
    return result


def overrides(spec: ServiceSpec, site: Site, operator: Mapping[str, bytes], declared: str) -> Iterator[Override]:
    """The operator's options that a generated fragment goes before."""
    generated = common.merged(spec.backend(site), spec.secret_options(site))
    for path, content in operator.items():
        if path != spec.layout.main and not path.startswith(f"{spec.layout.main}.d/"):
            continue
        for entry in inifile.parse(content.decode("utf-8", "replace"), path).entries:
            if entry.key in generated.get(entry.section, {}):
                yield Override(spec.name, entry.section, entry.key, f"{declared}/{path}:{entry.line}")


def operators(spec: ServiceSpec, files: Mapping[str, T]) -> dict[str, T]:
    """Those of a unit's files, by path below its directory, that all backends of a service have in common."""
    root, fragments = config_directory(spec) + "/", fragments_directory(spec) + "/"
    generated = {root + spec.layout.main, f"{fragments}50-backend.conf", f"{fragments}90-secrets.conf"}
    private = tuple(f"{root}{directory}/" for directory in (*spec.key_directories.values(), "secrets"))
    return {
        path: value
        for path, value in files.items()
        if path.startswith(root) and path not in generated and not path.startswith(private)
    }


def shared_digest(spec: ServiceSpec, digests: Mapping[str, str]) -> str:
    """One digest of the files that all backends of a service have in common: the operator's. Empty without any.

    `digests` are those of a unit's files, by path below its directory.
    """
    shared = sorted(operators(spec, digests).items())
    return hashlib.sha256(repr(shared).encode()).hexdigest()[:12] if shared else ""


def foreign_digest(spec: ServiceSpec, files: Mapping[str, bytes]) -> str:
    """The same digest of the operator's files of a host that somebody else runs, by path. Empty without any."""
    laid = operator_paths(spec, files)
    return shared_digest(spec, {path: File(content).digest(b"") for path, content in laid.items()})


def _given_options(secrets: Mapping[str, SecretValue]) -> Options:
    """`options: {section: {option: value}}` of a secret file: secrets of the operator's own."""
    given = secrets.get("options", {})
    result: Options = {}
    for section, values in given.items() if isinstance(given, dict) else ():
        if isinstance(values, dict):
            result[section] = {str(option): str(value) for option, value in values.items()}
    return result


def _secret_files(spec: ServiceSpec, secrets: Mapping[str, SecretValue]) -> Iterator[tuple[str, bytes]]:
    """Key repositories, and `files: {name: text}` of a secret file: keyrings, certificates."""
    for secret, directory in spec.key_directories.items():
        keys = secrets.get(secret, {})
        for number, key in keys.items() if isinstance(keys, dict) else ():
            yield f"{directory}/{number}", key.encode()
    given = secrets.get("files", {})
    for name, text in given.items() if isinstance(given, dict) else ():
        yield f"secrets/{name}", str(text).encode()
