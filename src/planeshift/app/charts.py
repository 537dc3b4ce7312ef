"""What the commands on charts need put together: stores, state, authentication."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from planeshift.charts.names import RESERVED
from planeshift.charts.store import Store, StoreError
from planeshift.drivers import files
from planeshift.errors import Exit, PlaneshiftError, Problem

if TYPE_CHECKING:
    from pysequoia import Cert

    from planeshift.charts.remote import Offer, Remote
    from planeshift.charts.server.auth import Authenticator


def export(services: Iterable[str], directory: Path) -> list[Path]:
    """Write the charts of services (of all, where none is named) below a directory; theirs, which they fill exactly.

    Raises PlaneshiftError: PS205 for an unknown service, PS401 where something that is no chart of ours is in the way.
    """
    from planeshift import catalog
    from planeshift.model.load import nearest
    from planeshift.render.chart import chart

    known = catalog.names()
    wanted = list(services) or list(known)
    for name in wanted:
        if name not in known:
            hint = nearest(name, list(known)) or f"There are {', '.join(known)}."
            raise PlaneshiftError(Problem("PS205", f"unknown service `{name}`", hint=hint), exit_code=Exit.USAGE)
    written = []
    for name in wanted:
        target, found = directory / name, chart(catalog.service(name))
        if target.is_dir() and any(target.iterdir()) and not (target / "templates/_facts.tpl").is_file():
            raise PlaneshiftError(Problem("PS401", f"{target} holds something else", hint="Choose another directory."))
        with files.failing(f"{target} cannot be written"):
            if target.is_dir():
                shutil.rmtree(target)  # what an earlier version had is gone
            for path, content in found.items():
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                (target / path).write_bytes(content)
        written.append(target)
    return written


def open_store(storage: str, *, one_writer: bool = False) -> Store:
    """The store of `DIR` or `s3://BUCKET[/PREFIX]`. Raises PlaneshiftError (PS433)."""
    try:
        if storage.startswith("s3://"):
            from planeshift.charts.store.s3 import S3Store

            return S3Store.open(storage, os.environ, one_writer=one_writer)
        if "://" in storage:
            hint = "It is a directory, or s3://BUCKET/PREFIX."
            raise PlaneshiftError(Problem("PS433", f"no such kind of store: {storage.partition(':')[0]}", hint=hint))
        from planeshift.charts.store.directory import DirectoryStore

        return DirectoryStore(Path(storage))
    except StoreError as error:
        raise PlaneshiftError(Problem("PS433", str(error))) from error


def state_directory(store: Store, storage: str) -> Path:
    """Where a server keeps what it knows of a store: in the directory itself, or, of a bucket, in the user's cache."""
    if "://" not in storage:
        return Path(store.name) / RESERVED / "index"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "planeshift" / "charts"


def authenticator(kind: str, options: Mapping[str, str | None]) -> Authenticator:
    """Who may use a server: `none`, `basic`, `bearer` or `keystone`. Raises PlaneshiftError (PS107, PS108)."""
    from planeshift.charts.server import auth

    def needed(name: str, how: str) -> str:
        found = options.get(name)
        if not found:
            raise PlaneshiftError(Problem("PS108", f"--auth {kind} needs {how}"))
        return found

    if kind == "none":
        return auth.Nobody()
    if kind == "basic":
        user = needed("basic_auth_user", "--basic-auth-user")
        password = needed("basic_auth_pass", "--basic-auth-pass-file, or BASIC_AUTH_PASS in the environment")
        return auth.Basic(user, password)
    if kind == "bearer":
        path = Path(needed("auth_cert_path", "--auth-cert-path"))
        try:
            return auth.Bearer(
                needed("auth_realm", "--auth-realm"),
                needed("auth_service", "--auth-service"),
                path.read_bytes(),
                options.get("auth_actions_search_path") or "",
            )
        except OSError as error:
            raise PlaneshiftError(Problem("PS105", f"{path}: {error.strerror}")) from error
        except ValueError as error:
            raise PlaneshiftError(Problem("PS107", f"--auth bearer: {error}")) from error
    from planeshift.charts.server.keystone import Keystone

    return Keystone(
        needed("keystone_url", "--keystone-url"),
        pull=_words(options.get("keystone_pull_roles")),
        push=_words(options.get("keystone_push_roles")),
        project=options.get("keystone_project") or "",
        domain=options.get("keystone_domain") or "Default",
        ca=options.get("keystone_ca"),
    )


def _words(text: str | None) -> frozenset[str]:
    return frozenset(w.strip() for w in (text or "").split(",") if w.strip())


# --- repositories of others


def repository(given: str | None, file: str | None) -> str:
    """The repository that a command is about: the given one, else that of the cloud file. Raises PlaneshiftError."""
    if given:
        return given.rstrip("/")
    from planeshift.app.site import find, shown
    from planeshift.model.load import load

    try:
        path = find(file)
        declared = load(path.read_bytes(), shown(path)).cloud.spec.charts.repository  # its rules are not our business
    except OSError as error:
        raise PlaneshiftError(Problem("PS105", f"{file}: {error.strerror}")) from error
    except PlaneshiftError as error:
        if error.problems[0].code != "PS105":
            raise
        hint = "--repo URL, or `charts: {repository: URL}` in the cloud file."
        raise PlaneshiftError(Problem("PS108", "no chart repository is named", hint=hint)) from None
    if declared is None:
        hint = "--repo URL, or `charts: {repository: URL}` in it."
        raise PlaneshiftError(Problem("PS108", "the cloud file names no chart repository", hint=hint))
    return declared.rstrip("/")


def connect(url: str, username: str | None, secret_file: Path | None, *, token: bool, ca: str | None) -> Remote:
    """A client of a repository. A secret comes from a file or the environment, never from an argument.

    Raises PlaneshiftError (PS105, PS431).
    """
    from planeshift.charts.remote import Credentials, RemoteError, connect

    secret = os.environ.get("PLANESHIFT_CHART_PASSWORD", "")
    if secret_file is not None:
        try:
            secret = secret_file.read_text("utf-8").strip("\n")
        except OSError as error:
            raise PlaneshiftError(Problem("PS105", f"{secret_file}: {error.strerror}")) from error
    given = Credentials(token=secret, ca=ca) if token else Credentials(username or "", secret, ca=ca)
    try:
        return connect(url, given)
    except RemoteError as error:
        raise PlaneshiftError(Problem("PS431", str(error))) from error


def anonymous(url: str, ca: str | None) -> Remote:
    """A client that tells nobody who we are: what is ours is not for other repositories. Raises PlaneshiftError (PS431)."""
    from planeshift.charts.remote import Credentials, RemoteError, connect

    try:
        return connect(url, Credentials(ca=ca))
    except RemoteError as error:
        raise PlaneshiftError(Problem("PS431", str(error))) from error


def save(path: Path, content: bytes | str) -> None:
    """Write a file as a whole. Raises PlaneshiftError (PS401, PS404)."""
    files.write(path, content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def telling(found: str = "PS430") -> Iterator[None]:
    """Turn what charts raise into problems: `found` is the code of something that is not valid."""
    from planeshift.charts.metadata import Invalid
    from planeshift.charts.remote import RemoteError

    try:
        yield
    except Invalid as error:
        raise PlaneshiftError(Problem(found, str(error))) from error
    except RemoteError as error:
        code = "PS436" if error.conflict else "PS434" if error.missing else "PS431"
        raise PlaneshiftError(Problem(code, str(error))) from error
    except StoreError as error:
        raise PlaneshiftError(Problem("PS433", str(error))) from error


def pick(remote: Remote, name: str, wanted: str) -> Offer:
    """The newest version of a chart that `wanted` names. Raises PlaneshiftError (PS434)."""
    from planeshift.charts import versions

    with telling():
        offers = remote.versions(name)
    exact = next((o for o in offers if o.version == wanted), None)
    if exact is not None:
        return exact
    span = versions.parse_range(wanted)
    for offer in offers if span else ():
        version = versions.parse(offer.version)
        if version is not None and span is not None and span.holds(version):
            return offer
    there = ", ".join(o.version for o in offers[:5])
    hint = f"There is {there}{' …' if len(offers) > 5 else ''}." if offers else ""
    raise PlaneshiftError(Problem("PS434", f"{remote.url} has no {name} {wanted}".rstrip(), hint=hint))


def keyring(path: Path | None) -> list[Cert]:
    """The keys that are trusted: of the given file, else gpg's old public keyring, which Helm uses. Raises (PS432)."""
    from planeshift.charts import provenance

    with telling("PS432"):
        return provenance.read_keyring(path or Path("~/.gnupg/pubring.gpg").expanduser())


def helm() -> Path:
    """Helm's program. Raises PlaneshiftError."""
    from planeshift import tools

    return tools.find("helm")


def now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)
