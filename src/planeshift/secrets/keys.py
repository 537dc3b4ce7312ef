"""The data key of a file: unwrapped by whatever key is at hand, wrapped for whoever shall open it."""

from __future__ import annotations

import os

from planeshift.secrets import agekeys
from planeshift.secrets.refusal import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from planeshift.secrets.metadata import Metadata


def data_key(meta: Metadata) -> bytes:
    """The data key of a sealed file. Raises PlaneshiftError (PS1009) where no key at hand opens it."""
    if meta.data.get("key_groups"):
        refuse("PS1009", f"{meta.file} needs keys of several groups (shamir), which only sops itself can put together")
    lines = agekeys.identities(os.environ)
    said: list[str] = []
    key = None
    if meta.entries("age") and lines:
        key = agekeys.unwrap(meta.entries("age"), lines, _ask)
    if key is None and meta.entries("hc_vault"):
        from planeshift.secrets import vaultkeys

        key = vaultkeys.unwrap(meta.entries("hc_vault"), os.environ, said)
    if key is None:
        who = "\n".join(said) or _whom(meta)
        hint = f"Identities are looked for in {agekeys.WHERE}; {len(lines)} found."
        refuse("PS1009", f"no key at hand opens {meta.file}", why=who, hint=hint)
    if len(key) != 32:
        refuse("PS1002", f"{meta.file}: its data key is not one of SOPS's")
    return key


def _whom(meta: Metadata) -> str:
    names = [e["recipient"] for e in meta.entries("age")] + meta.foreign()
    return "It is sealed for " + ", ".join(names) if names else "It is sealed for nobody."


def _ask(question: str) -> str:
    import sys

    if not sys.stdin.isatty():
        return ""
    from getpass import getpass

    return getpass(question.rstrip(": ") + ": ")


def wrapped(key: bytes, age: Iterable[str], vault: Iterable[str]) -> dict[str, object]:
    """The entries of SOPS's part that hold a data key for these recipients."""
    out: dict[str, object] = {"age": [{"recipient": r, "enc": agekeys.wrap(key, r)} for r in age]}
    uris = list(vault)
    if uris:
        from planeshift.secrets import vaultkeys

        out["hc_vault"] = [vaultkeys.wrap(key, uri, os.environ) for uri in uris]
    return {k: v for k, v in out.items() if v}
