"""SOPS's own part of a file: who can open it, when it was changed, the MAC over it, and which values are sealed."""

from __future__ import annotations

from planeshift.secrets.refusal import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from planeshift.secrets.nodes import Path

VERSION = "3.13.3"  # the sops that we are mutually readable with
RULES = (
    "unencrypted_suffix",
    "encrypted_suffix",
    "unencrypted_regex",
    "encrypted_regex",
    "unencrypted_comment_regex",
    "encrypted_comment_regex",
)
# What sops starts the MAC with where it covers sealed values only, so that the two kinds never agree (sops.go).
ONLY_ENCRYPTED = bytes.fromhex("8a3fd2ad54ce66527b1034f3d147be0b0b975b3bf44f72c6fdadec8176f27d69")
_SOURCES = ("age", "hc_vault", "pgp", "kms", "gcp_kms", "azure_kv", "hckms")


class Metadata:
    """The `sops` part. `data` is all of it, what we do not know included."""

    __slots__ = ("data", "file")

    def __init__(self, data: object, file: str) -> None:
        if not isinstance(data, dict):
            refuse("PS1002", f"{file}: its `sops` part is not a mapping", hint="It was edited by hand, or is cut off.")
        self.data, self.file = data, file
        for name in ("mac", "lastmodified", "version"):
            if not isinstance(data.get(name), str) or not data[name]:
                refuse("PS1002", f"{file}: its `sops` part has no {name}", hint="It was edited by hand, or is cut off.")
        if len([r for r in RULES if data.get(r)]) > 1:
            refuse("PS1002", f"{file}: its `sops` part has more than one rule of what is sealed")
        for source in _SOURCES:
            found = data.get(source) or []
            if not isinstance(found, list) or any(not isinstance(e, dict) for e in found):
                refuse("PS1002", f"{file}: `{source}` of its `sops` part is not a list of entries")
        for entry in self.entries("age"):
            if not isinstance(entry.get("recipient"), str) or not isinstance(entry.get("enc"), str):
                refuse("PS1002", f"{file}: an age entry of its `sops` part lacks `recipient` or `enc`")

    def entries(self, source: str) -> list[dict[str, str]]:
        """The entries of a key source: age, hc_vault, …"""
        found: list[dict[str, str]] = self.data.get(source) or []
        return found

    @property
    def mac(self) -> str:
        """The sealed MAC."""
        return str(self.data["mac"])

    @property
    def modified(self) -> str:
        """When it was sealed; the MAC is sealed to it."""
        return str(self.data["lastmodified"])

    @property
    def only_encrypted(self) -> bool:
        """Whether the MAC covers sealed values only."""
        return str(self.data.get("mac_only_encrypted", "")).lower() == "true"

    def foreign(self) -> list[str]:
        """Key sources in use that are not ours: kept on editing, since the data key stays."""
        names = [s for s in (*_SOURCES[2:], "key_groups") if self.data.get(s)]
        return names

    def rule(self) -> tuple[str, str]:
        """What decides which values are sealed: the rule's name and its text."""
        return next(((r, str(self.data[r])) for r in RULES if self.data.get(r)), (RULES[0], "_unencrypted"))

    def decides(self) -> Callable[[Path, list[list[str]], bool], bool]:
        """A function (path, comments in force, is a comment) → whether SOPS seals it."""
        name, text = self.rule()
        if name == "unencrypted_suffix":
            return lambda path, stack, comment: not any(p.endswith(text) for p in path)
        if name == "encrypted_suffix":
            return lambda path, stack, comment: any(p.endswith(text) for p in path)
        import re

        try:
            search = re.compile(text).search
        except re.error as error:
            refuse("PS1002", f"{self.file}: its {name} is no regular expression", why=str(error))
        if name == "unencrypted_regex":
            return lambda path, stack, comment: not any(search(p) for p in path)
        if name == "encrypted_regex":
            return lambda path, stack, comment: any(search(p) for p in path)
        if name == "unencrypted_comment_regex":
            return lambda path, stack, comment: not any(search(c) for s in stack for c in s)

        def marked(path: Path, stack: list[list[str]], comment: bool) -> bool:
            # The comment that says so stays readable itself.
            levels = [*stack[:-1], stack[-1][:-1]] if comment else stack
            return any(search(c) for s in levels for c in s)

        return marked


def flat(data: object, prefix: str = "") -> dict[str, str]:
    """Nested metadata as `a__list_0__map_b` names, for formats that know no nesting."""
    if isinstance(data, dict):
        joint = f"{prefix}__map_" if prefix else ""
        return {k: v for name in sorted(data) for k, v in flat(data[name], joint + name).items()}
    if isinstance(data, list):
        return {k: v for i, inner in enumerate(data) for k, v in flat(inner, f"{prefix}__list_{i}").items()}
    return {prefix: str(data).lower() if isinstance(data, bool) else str(data)}


def nested(names: dict[str, object], file: str) -> dict[str, object]:
    """The reverse of `flat`. Raises PlaneshiftError (PS1002) where names contradict each other."""
    root: dict[object, object] = {}
    for name, value in names.items():
        steps: list[object] = []
        for part in name.replace("__list_", "\0l").replace("__map_", "\0m").split("\0"):
            steps.append(int(part[1:]) if part[:1] == "l" and part[1:].isdigit() and steps else part[bool(steps) :])
        here = root
        for step in steps[:-1]:
            inner = here.setdefault(step, {})
            if not isinstance(inner, dict):
                refuse("PS1002", f"{file}: its `sops` part contradicts itself at {name}")
            here = inner
        here[steps[-1]] = value
    return _listed(root, file)  # type: ignore[return-value]


def _listed(value: object, file: str) -> object:
    if not isinstance(value, dict):
        return value
    if value and all(isinstance(k, int) for k in value):
        if sorted(value) != list(range(len(value))):
            refuse("PS1002", f"{file}: a list of its `sops` part has gaps")
        return [_listed(value[i], file) for i in range(len(value))]
    return {str(k): _listed(v, file) for k, v in value.items()}
