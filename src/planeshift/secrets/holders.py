"""Who holds the keys of sealed files."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from planeshift.errors import PlaneshiftError, Problem
from planeshift.secrets import agekeys, history, keys, work


@dataclass(frozen=True)
class Holder:
    """One key that opens a file. `here`: `yes`, `no`, or `unknown` where only its keeper knows."""

    file: str
    kind: str
    key: str
    here: str


def of(path: str, kind: str = "") -> list[Holder]:
    """Who can open a file, by what its `sops` part says; nothing is opened for it."""
    _, _, parts = work.look(path, kind)
    lines = agekeys.identities(os.environ)
    ours = {agekeys.public(line) for line in lines if not agekeys.plugin_of(line)}
    plugins = {agekeys.plugin_of(line) for line in lines}
    rows = []
    for entry in parts.meta.entries("age"):
        recipient = entry["recipient"]
        name = agekeys.plugin_of(recipient)
        here = ("unknown" if name in plugins else "no") if name else ("yes" if recipient in ours else "no")
        rows.append(Holder(path, name or "age", recipient, here))
    for entry in parts.meta.entries("hc_vault"):
        rows.append(Holder(path, "hc_vault", f"{entry.get('vault_address')} {entry.get('key_name')}", "unknown"))
    rows += [Holder(path, source, "(only sops itself can use it)", "unknown") for source in parts.meta.foreign()]
    return rows


def doctor(paths: Sequence[str], kind: str = "") -> list[Problem]:
    """What is wrong with sealed files, and with the identities at hand."""
    problems: list[Problem] = []
    for path in paths or history.sealed_files():
        try:
            rows = of(path, kind)
            keys.data_key(work.look(path, kind)[2].meta)
        except PlaneshiftError as error:
            problems += error.problems
            continue
        kinds = {r.kind for r in rows}
        if "barbican" in kinds and kinds <= {"barbican"}:
            hint = "Add a plain age recipient to .sops.yaml, keep its key offline, and `planeshift secrets rewrap`."
            why = "A cloud whose own Barbican is down could not be brought up with it."
            problems.append(Problem("PS1015", f"only Barbican can open {path}", why=why, hint=hint))
    default = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "sops/age/keys.txt"
    file = Path(os.environ.get(agekeys.FILE) or default)
    if file.is_file() and stat.S_IMODE(file.stat().st_mode) & 0o077 and b"AGE-SECRET-KEY-1" in file.read_bytes():
        problems.append(Problem("PS503", f"{file} can be read by others", hint=f"chmod 600 {file}"))
    return problems
