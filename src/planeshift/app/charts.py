"""What the commands on charts need put together: stores, state, authentication."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from planeshift.charts.names import RESERVED
from planeshift.charts.store import Store, StoreError
from planeshift.errors import PlaneshiftError, Problem

if TYPE_CHECKING:
    from planeshift.charts.server.auth import Authenticator


def open_store(storage: str) -> Store:
    """The store of `DIR` or `s3://BUCKET[/PREFIX]`. Raises PlaneshiftError (PS433)."""
    try:
        if storage.startswith("s3://"):
            from planeshift.charts.store.s3 import S3Store

            return S3Store.open(storage, os.environ)
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
        ca=options.get("keystone_ca"),
    )


def _words(text: str | None) -> frozenset[str]:
    return frozenset(w.strip() for w in (text or "").split(",") if w.strip())
