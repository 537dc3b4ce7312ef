"""What a registry may ask for, from where Docker and Podman keep it. Nothing is ever written.

Format: `auths`, `credHelpers` and `credsStore` of config.json,
https://github.com/docker/docker-credential-helpers#development.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planeshift.errors import PlaneshiftError, Problem


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user with a password, or a token that stands for both."""

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def __bool__(self) -> bool:
        return bool(self.user or self.token)


def find(host: str, variables: Mapping[str, str]) -> Credentials:
    """The credentials for a registry; empty ones where there are none.

    Raises PlaneshiftError: PS503 for a file of passwords that others can read, PS462 for one that cannot be understood.
    """
    for path in _files(variables):
        try:
            data = json.loads(path.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise PlaneshiftError(Problem("PS462", f"{path} cannot be read as credentials: {error}")) from error
        found = _of(data, host, path, variables) if isinstance(data, dict) else None
        if found:
            return found
    return Credentials()


def _files(variables: Mapping[str, str]) -> Iterator[Path]:
    """In the order in which the field's tools look."""
    home = Path(variables.get("HOME") or "/nonexistent")
    if variables.get("REGISTRY_AUTH_FILE"):
        yield Path(variables["REGISTRY_AUTH_FILE"])
    yield Path(variables.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    if variables.get("XDG_RUNTIME_DIR"):
        yield Path(variables["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
    yield home / ".config" / "containers" / "auth.json"


def _of(data: Mapping[str, Any], host: str, path: Path, variables: Mapping[str, str]) -> Credentials | None:
    helpers = data.get("credHelpers")
    helper = (helpers.get(host) if isinstance(helpers, dict) else None) or data.get("credsStore")
    listed = data.get("auths")
    entry = listed.get(host) or listed.get(f"https://{host}") if isinstance(listed, dict) else None
    if isinstance(entry, dict) and (entry.get("auth") or entry.get("identitytoken")):
        _private(path)
        return _entry(entry, path)
    return _asked(str(helper), host, variables) if helper else None


def _entry(entry: Mapping[str, Any], path: Path) -> Credentials:
    try:
        user, _, password = base64.b64decode(str(entry.get("auth", "")), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise PlaneshiftError(Problem("PS462", f"{path}: `auth` is not base64 of user:password")) from error
    return Credentials(user, password.rstrip("\0"), str(entry.get("identitytoken") or ""))


def _private(path: Path) -> None:
    if path.stat().st_mode & 0o077:
        hint = f"chmod 600 {path}"
        raise PlaneshiftError(
            Problem("PS503", f"{path} holds a registry's password, and others can read it", hint=hint)
        )


def _asked(helper: str, host: str, variables: Mapping[str, str]) -> Credentials | None:
    program = shutil.which(f"docker-credential-{helper}", path=variables.get("PATH", os.defpath))
    if "/" in helper or program is None:
        return None
    done = subprocess.run(
        [program, "get"], input=host, env=dict(variables), capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode:  # "credentials not found in native keychain", in many words
        return None
    try:
        found = json.loads(done.stdout)
        user, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise PlaneshiftError(Problem("PS462", f"docker-credential-{helper} gave no credentials for {host}")) from error
    return Credentials(token=secret) if user == "<token>" else Credentials(user, secret)
