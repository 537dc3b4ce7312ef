"""age: recipients that a data key is wrapped for, and identities that unwrap it, from where sops looks for them.

Format of both: C2SP age.md and age-plugin.md. The work is pyrage's; plugins are started by it.
"""

from __future__ import annotations

import os
import sys

from planeshift.secrets.refusal import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

KEY, FILE, COMMAND = "SOPS_AGE_KEY", "SOPS_AGE_KEY_FILE", "SOPS_AGE_KEY_CMD"
WHERE = f"{KEY}, {FILE}, {COMMAND} or sops/age/keys.txt of the user's configuration"


def identities(environment: Mapping[str, str]) -> list[str]:
    """The identities at hand, as text lines. Raises PlaneshiftError (PS1008) where a named source cannot be read."""
    texts = [environment.get(KEY, "")]
    file = environment.get(FILE)
    if file:
        texts.append(_read(file, must=True))
    command = environment.get(COMMAND)
    if command:
        texts.append(_output(command))
    base = environment.get("XDG_CONFIG_HOME") or os.path.join(environment.get("HOME", "/root"), ".config")  # noqa: PTH118
    texts.append(_read(os.path.join(base, "sops/age/keys.txt"), must=False))  # noqa: PTH118
    lines = [line.strip() for text in texts for line in text.replace(",", "\n").splitlines()]
    return list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))


def _read(path: str, *, must: bool) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            return file.read(1 << 20)
    except FileNotFoundError:
        if must:
            refuse("PS1008", f"{FILE} names {path}, which does not exist")
    except (OSError, UnicodeDecodeError) as error:
        refuse("PS1008", f"the age identities of {path} cannot be read", why=str(error))
    return ""


def _output(command: str) -> str:
    import shlex
    import subprocess

    try:
        done = subprocess.run(shlex.split(command), stdout=subprocess.PIPE, check=True, timeout=60)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        refuse("PS1008", f"{COMMAND} gave no identities", why=type(error).__name__)
    return done.stdout.decode("utf-8", "replace")


def plugin_of(text: str) -> str:
    """The plugin's name of an identity or recipient; empty where none is needed. Format: Bech32, see age-plugin.md."""
    if text.startswith("AGE-PLUGIN-"):
        return text.rpartition("-1")[0][11:].lower()
    head, one, _ = text.rpartition("1")
    return head[4:] if one and head.startswith("age1") and head != "age1pq" else ""


def unwrap(entries: Sequence[Mapping[str, str]], lines: Sequence[str], answer: Callable[[str], str]) -> bytes | None:
    """The data key that one of the entries holds for one of the identities, or None. `answer` asks the person.

    Raises PlaneshiftError (PS1009) where nothing opened it and a plugin said why.
    """
    import pyrage

    native = [i for i in (_native(line) for line in lines) if i is not None]
    sealed = [e["enc"].encode() for e in entries]
    if native:
        for body in sealed:
            try:
                key: bytes = pyrage.decrypt(body, native)
                return key
            except pyrage.DecryptError:
                continue
    said: list[str] = []
    for line in lines:
        name = plugin_of(line)
        for entry in entries if name else ():
            if plugin_of(entry["recipient"]) not in ("", name):
                continue
            if name == "barbican":
                key_ = _by_barbican(entry["enc"].encode(), line, said)
                if key_ is not None:
                    return key_
                continue
            try:
                return _by_plugin(entry["enc"].encode(), line, name, said, answer)
            except (pyrage.DecryptError, pyrage.IdentityError, OSError) as error:
                said.append(f"age-plugin-{name}: {error}")
    if said:
        refuse("PS1009", "no age plugin opened the file's key", why="\n".join(dict.fromkeys(said)))
    return None


def _native(line: str) -> object:
    import pyrage

    if not line.startswith("AGE-SECRET-KEY-1"):
        return None
    try:
        return pyrage.x25519.Identity.from_str(line)
    except Exception:  # pyrage's own words hold the key
        refuse("PS1008", "an age identity is not well-formed", why="It begins with AGE-SECRET-KEY-1.", hint=WHERE)


def _by_plugin(body: bytes, line: str, name: str, said: list[str], answer: Callable[[str], str]) -> bytes:
    import pyrage

    identity = pyrage.plugin.Identity.from_str(line)
    key: bytes = pyrage.decrypt(body, [pyrage.plugin.IdentityPluginV1(name, [identity], _Callbacks(said, answer))])
    return key


_STORE: list[object] = []


def _by_barbican(body: bytes, line: str, said: list[str]) -> bytes | None:
    """What age-plugin-barbican would do, without starting it: one authentication for all files of a run."""
    from planeshift.secrets import agefile
    from planeshift.secrets.barbican.key import NAME, Refused, Stanza, purpose_of
    from planeshift.secrets.barbican.session import Failed, Session
    from planeshift.secrets.barbican.store import Store

    try:
        stanzas, header, mac, payload = agefile.stanzas(body)
        for name, arguments, inner in stanzas:
            if name != NAME:
                continue
            if not _STORE:
                _STORE.append(Store(Session()))
            store: Store = _STORE[0]  # type: ignore[assignment]
            file_key = store.open(Stanza.parse(arguments, inner), purpose_of(line))
            return agefile.opened(file_key, header, mac, payload)
    except (Refused, Failed) as error:
        said.append(f"Barbican: {error}")
    except agefile.NotAge:
        said.append("Barbican: the entry is not an age file, or was altered")
    return None


def _wrapped_by_plugin(key: bytes, recipient: str, name: str, said: list[str]) -> str:
    """What a plugin of PATH makes of a key; ours is found where this program is installed, too."""
    import pyrage

    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join((before, os.path.dirname(sys.executable)))  # noqa: PTH120
    try:
        one = pyrage.plugin.Recipient.from_str(recipient)
        to = pyrage.plugin.RecipientPluginV1(name, [one], [], _Callbacks(said, lambda _: ""))
        sealed: bytes = pyrage.encrypt(key, [to], armored=True)
        return sealed.decode()
    finally:
        os.environ["PATH"] = before


class _Callbacks:
    """What a plugin may ask of us."""

    def __init__(self, said: list[str], answer: Callable[[str], str]) -> None:
        self.said, self.answer = said, answer

    def display_message(self, message: str) -> None:
        self.said.append(message)

    def confirm(self, message: str, yes: str, no: str | None = None) -> bool | None:
        return None

    def request_public_string(self, description: str) -> str | None:
        return None

    def request_passphrase(self, description: str) -> str | None:
        return self.answer(description) or None


def wrap(key: bytes, recipient: str) -> str:
    """An armored age file of the data key for one recipient. Raises PlaneshiftError (PS1010)."""
    import pyrage

    name = plugin_of(recipient)
    said: list[str] = []
    try:
        to: object
        if name:
            return _wrapped_by_plugin(key, recipient, name, said)
        if recipient.startswith("ssh-"):
            to = pyrage.ssh.Recipient.from_str(recipient)
        else:
            to = pyrage.x25519.Recipient.from_str(recipient)
        sealed: bytes = pyrage.encrypt(key, [to], armored=True)
        return sealed.decode()
    except (pyrage.RecipientError, pyrage.EncryptError, OSError) as error:
        why = "\n".join([*said, str(error)])
        refuse(
            "PS1010",
            f"the key cannot be wrapped for {recipient}",
            why=why,
            hint="Is age-plugin-NAME on PATH?" * bool(name),
        )


def public(line: str) -> str:
    """The recipient of an identity; empty where only its plugin knows."""
    native = _native(line)
    return str(native.to_public()) if native is not None else ""  # type: ignore[attr-defined]
