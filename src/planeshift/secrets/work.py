"""What the commands do with sealed files. Every change is of a whole file, and only ciphertext is ever written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from planeshift.errors import PlaneshiftError, Problem
from planeshift.secrets import creation, edits, files, formats, keys, sealed
from planeshift.secrets.creation import Rule
from planeshift.secrets.metadata import RULES
from planeshift.secrets.paths import Step

_KEPT = (*RULES, "mac_only_encrypted")


@dataclass(frozen=True)
class Unsealed:
    """A sealed file that was opened: what it held when it was read, its data key and its text in the clear."""

    path: str
    kind: str
    before: bytes
    parts: sealed.Sealed
    key: bytes
    opened: sealed.Opened

    @property
    def text(self) -> str:
        return self.opened.text

    @property
    def doubts(self) -> list[str]:
        return self.opened.doubts


def now() -> str:
    """The time as SOPS writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def look(path: str, kind: str = "", *, light: bool = False) -> tuple[str, bytes, sealed.Sealed]:
    """Read a sealed file without opening it: its format, its bytes, its parts."""
    kind = kind or formats.of(path)
    content = files.read(path)
    return kind, content, sealed.Sealed(kind, formats.decoded(content, path), path, light=light)


def open_file(path: str, kind: str = "", *, light: bool = False) -> Unsealed:
    """Open a sealed file. Raises PlaneshiftError (PS1001 to PS1009)."""
    kind, content, parts = look(path, kind, light=light)
    key = keys.data_key(parts.meta)
    return Unsealed(path, kind, content, parts, key, sealed.open_(parts, key))


def view(path: str, kind: str = "") -> str:
    """The text of a sealed file in the clear."""
    return open_file(path, kind, light=True).text


def _rule(path: str, age: tuple[str, ...], vault: tuple[str, ...]) -> Rule:
    found = creation.rule_for(Path(path))
    if age or vault:
        return replace(found or Rule(), age=age, vault=vault)
    if found is None:
        config = creation.find(Path(path))
        where = f"Add one that fits to {config}" if config else "Write a .sops.yaml"
        hint = f"{where}, or say --age RECIPIENT."
        raise PlaneshiftError(Problem("PS1011", f"no rule says who shall be able to open {path}", hint=hint))
    return found


def encrypt(
    path: str, content: bytes, *, kind: str = "", age: tuple[str, ...] = (), vault: tuple[str, ...] = ()
) -> bytes:
    """Seal a text that stands in the clear, for whom `.sops.yaml` or `age` and `vault` say."""
    kind = kind or formats.of(path)
    rule = _rule(path, age, vault)
    plain = sealed.plain_text(kind, content, path)
    key = os.urandom(32)
    data = {**_settings(rule), **keys.wrapped(key, rule.age, rule.vault)}
    return sealed.seal(kind, plain, data, key, now(), path).encode("utf-8", "surrogateescape")


def _settings(rule: Rule) -> dict[str, Any]:
    settings = dict(rule.settings)
    return settings if any(r in settings for r in RULES) else {RULES[0]: "_unencrypted", **settings}


def change(file: Unsealed, text: str) -> bool:
    """Write a file with a new text in the clear, sealed; values that did not change keep their sealed form.

    Returns whether anything was written. Raises PlaneshiftError (PS1012) where somebody else changed the file meanwhile.
    """
    if text == file.text:
        return False
    files.replace(file.path, reseal(file, text), file.before)
    return True


def reseal(file: Unsealed, text: str) -> bytes:
    """The sealed form of a file with a new text in the clear."""
    plain = sealed.plain_text(file.kind, text.encode("utf-8", "surrogateescape"), file.path)
    data = dict(file.parts.meta.data)
    new = sealed.seal(file.kind, plain, data, file.key, now(), file.path, file.opened.memo)
    return new.encode("utf-8", "surrogateescape")


def set_value(path: str, steps: tuple[Step, ...], value: Any, kind: str = "") -> bool:
    """Set one value of a sealed file. Returns whether it changed."""
    file = open_file(path, kind)
    parsed = formats.parse(file.kind, file.text, path)
    return change(file, edits.set_(file.kind, parsed, steps, value, path))


def unset_value(path: str, steps: tuple[Step, ...], kind: str = "") -> bool:
    """Remove a value, a mapping or a list of a sealed file."""
    file = open_file(path, kind)
    parsed = formats.parse(file.kind, file.text, path)
    return change(file, edits.unset(file.kind, parsed, steps, path))


def recipients(path: str, age: tuple[str, ...], vault: tuple[str, ...]) -> Rule:
    """For whom a file shall be sealed."""
    return _rule(path, age, vault)


def rewrap(path: str, *, age: tuple[str, ...] = (), vault: tuple[str, ...] = (), kind: str = "") -> list[str]:
    """Wrap the data key anew, for those that `.sops.yaml` names now. Returns what changed: `+ who`, `- who`.

    The values stay as they are. Whoever could open the file before may have kept its data key: `rotate_key` changes that.
    """
    kind, before, parts = look(path, kind)
    rule = _rule(path, age, vault)
    _ours_alone(parts)
    key = keys.data_key(parts.meta)
    sealed.open_(parts, key)  # a file that does not open is not given new keys
    old = {e["recipient"]: e for e in parts.meta.entries("age")}
    data = {k: v for k, v in parts.meta.data.items() if k not in ("age", "hc_vault")}
    held = [old.get(r) for r in rule.age]
    new = keys.wrapped(key, [r for r, e in zip(rule.age, held, strict=True) if e is None], rule.vault)
    made = {e["recipient"]: e for e in new.pop("age", [])}  # type: ignore[attr-defined]
    data |= new
    if rule.age:
        data["age"] = [old.get(r) or made[r] for r in rule.age]
    words = [f"+ {r}" for r in rule.age if r not in old] + [f"- {r}" for r in old if r not in rule.age]
    vaults = {_vault_name(e) for e in parts.meta.entries("hc_vault")}
    wanted = set(rule.vault)
    words += [f"+ {u}" for u in sorted(wanted - vaults)] + [f"- {u}" for u in sorted(vaults - wanted)]
    if not words:
        return []
    text = parts.parsed.spliced(parts.cuts)
    files.replace(
        path,
        formats.attach(kind, text, data, parts.parsed.documents[0].flow).encode("utf-8", "surrogateescape"),
        before,
    )
    return words


def _vault_name(entry: dict[str, str]) -> str:
    return f"{entry.get('vault_address')}/v1/{entry.get('engine_path')}/keys/{entry.get('key_name')}"


def _ours_alone(parts: sealed.Sealed) -> None:
    foreign = parts.meta.foreign()
    if foreign:
        what = f"{parts.file} is sealed for {', '.join(foreign)} too, which only sops itself can wrap for"
        raise PlaneshiftError(Problem("PS1010", what, hint="`sops updatekeys` or `sops rotate` does it."))


def rotate_key(path: str, *, kind: str = "") -> None:
    """Give a file a new data key, and every value a new sealed form."""
    file = open_file(path, kind)
    meta = file.parts.meta
    _ours_alone(file.parts)
    key = os.urandom(32)
    data = {k: v for k, v in meta.data.items() if k not in ("age", "hc_vault")}
    age = [e["recipient"] for e in meta.entries("age")]
    data |= keys.wrapped(key, age, [_vault_name(e) for e in meta.entries("hc_vault")])
    plain = sealed.plain_text(file.kind, file.text.encode("utf-8", "surrogateescape"), path)
    new = sealed.seal(file.kind, plain, data, key, now(), path)
    files.replace(path, new.encode("utf-8", "surrogateescape"), file.before)


def flat(text: str, kind: str, path: str) -> dict[str, Any]:
    """The values of a text in the clear by their paths, list positions included."""
    if kind == "binary":
        return {"data": text}
    out: dict[str, Any] = {}

    def walk(value: Any, steps: tuple[Step, ...]) -> None:
        from planeshift.secrets.paths import shown

        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
        if items is None or not value:
            out[shown(steps)] = value
        for key, inner in items or ():
            walk(inner, (*steps, key))

    for document in formats.parse(kind, text, path).documents:
        walk(document.data(), ())
    return out


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, str]]:
    """What differs between two files' values: (`+`, `~` or `-`, path), in the new one's order."""
    words = [("+" if k not in old else "~", k) for k, v in new.items() if k not in old or old[k] != v]
    return words + [("-", k) for k in old if k not in new]


def edit(path: str, editor: Callable[[str, str], str], *, age: tuple[str, ...] = (), kind: str = "") -> str:
    """Have a person edit a sealed file, or begin one. `editor` takes a text and a name, and returns the new text.

    Returns `made`, `changed` or `unchanged`. Where somebody else changed the file meanwhile, what was edited is kept,
    sealed, beside it. Raises what `editor` raises; the file is then as it was.
    """
    if not Path(path).exists():
        rule = _rule(path, age, ())  # who can open it is settled before anything is typed
        text = editor("", Path(path).name)
        if not text.strip():
            return "unchanged"
        made = encrypt(path, text.encode("utf-8", "surrogateescape"), kind=kind, age=rule.age, vault=rule.vault)
        files.replace(path, made, None)
        return "made"
    file = open_file(path, kind)
    text = editor(file.text, Path(path).name)
    if text == file.text:
        return "unchanged"
    new = reseal(file, text)
    try:
        files.replace(path, new, file.before)
    except PlaneshiftError as error:
        if error.problems[0].code != "PS1012":
            raise
        mine = _beside(path)
        files.replace(mine, new, None)
        hint = f"Yours is kept, sealed, in {mine}: `planeshift secrets diff {mine} --with {path}` compares the two."
        raise PlaneshiftError(replace(error.problems[0], hint=hint)) from error
    return "changed"


def _beside(path: str) -> str:
    stem, dot, ending = path.rpartition(".")
    for number in range(1, 1000):
        name = f"{stem}.mine{number}{dot}{ending}" if dot else f"{path}.mine{number}"
        if not Path(name).exists():
            return name
    raise PlaneshiftError(Problem("PS1012", f"{path} was changed by somebody else meanwhile"))
