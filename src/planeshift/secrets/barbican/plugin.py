"""`age-plugin-barbican`: the age plugin protocol, version 1 of both state machines. Format: C2SP age-plugin.md.

Started by age, sops, rage and pyrage for recipients `age1barbican1…` and identities `AGE-PLUGIN-BARBICAN-1…`. By hand it
makes keys; see `--help`.
"""

from __future__ import annotations

import sys

from planeshift.secrets.barbican.key import (
    NAME,
    Recipient,
    Refused,
    Stanza,
    decoded,
    encoded,
    identity,
    purpose_of,
    wrap,
)
from planeshift.secrets.barbican.session import Failed, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from planeshift.secrets.barbican.store import Store

    Command = tuple[str, list[str], bytes]

_HELP = f"""\
age-plugin-{NAME}: age keys that OpenStack Barbican keeps

  age-plugin-{NAME} --generate PURPOSE      make a key, for one purpose: cloud/glance, say
  age-plugin-{NAME} --rotate RECIPIENT      make its next version; seal files for it with `planeshift secrets rewrap`
  age-plugin-{NAME} --identity [PURPOSE]    print the identity that uses keys of this purpose (default: of any)
  age-plugin-{NAME} --list                  the keys of this project

The cloud is said by OS_CLOUD or the OS_* variables, as for the openstack client. A recipient is enough to seal, without
Barbican; opening needs the identity (which holds no secret), and a user who may read the key in Barbican.
"""


def read(source: BinaryIO) -> Command:
    """The next stanza: command, arguments, body. Raises EOFError, ValueError."""
    line = source.readline(1 << 16)
    if not line:
        raise EOFError
    words = line.decode("ascii").rstrip("\n").split(" ")
    if words[0] != "->" or len(words) < 2 or not line.endswith(b"\n"):
        raise ValueError("not a stanza")
    body = ""
    while True:
        part = source.readline(128).decode("ascii")
        if not part.endswith("\n") or len(part) > 65 or len(body) > 1 << 20:
            raise ValueError("not a stanza's body")
        body += part[:-1]
        if len(part) < 65:
            return words[1], words[2:], decoded(body)


def write(target: BinaryIO, command: str, arguments: list[str], body: bytes = b"") -> None:
    """Write a stanza, whole."""
    text = encoded(body)
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    if not lines or len(lines[-1]) == 64:
        lines.append("")
    target.write(("\n".join(["-> " + " ".join([command, *arguments]), *lines]) + "\n").encode())
    target.flush()


class Machine:
    """One run of a state machine over two pipes."""

    def __init__(self, source: BinaryIO, target: BinaryIO, store: Callable[[], Store]) -> None:
        self.source, self.target, self.store = source, target, store

    def first_phase(self) -> list[Command]:
        """All that the client says, up to `done`; what is unknown is left to be ignored."""
        said: list[Command] = []
        while True:
            command = read(self.source)
            if command[0] == "done":
                return said
            said.append(command)

    def tell(self, command: str, arguments: list[str], body: bytes = b"") -> Command:
        """Say something and wait for the answer."""
        write(self.target, command, arguments, body)
        return read(self.source)

    def done(self) -> None:
        write(self.target, "done", [])

    def recipient_v1(self) -> None:
        """Wrap file keys for recipients. Needs no Barbican."""
        said = self.first_phase()
        recipients: list[Recipient] = []
        errors: list[tuple[str, int, str]] = []
        index = {"recipient": 0, "identity": 0}
        for command, arguments, _ in said:
            if command not in ("add-recipient", "add-identity"):
                continue
            kind = command[4:]
            try:
                if kind == "identity":
                    raise Refused("an identity names no key of its own: encrypt to the recipient, age1barbican1…")
                recipients.append(Recipient.parse(arguments[0]))
            except (Refused, IndexError) as error:
                errors.append((kind, index[kind], str(error)))
            index[kind] += 1
        keys = [body for command, _, body in said if command == "wrap-file-key"]
        stanzas: list[tuple[int, Stanza]] = []
        if not errors:
            try:
                stanzas = [(i, wrap(r, key)) for i, key in enumerate(keys) for r in recipients]
            except Refused as error:
                errors.append(("internal", 0, str(error)))
        for kind, number, words in errors:
            self.tell("error", [kind] if kind == "internal" else [kind, str(number)], words.encode())
        for number, stanza in stanzas:
            self.tell("recipient-stanza", [str(number), NAME, *stanza.arguments()], stanza.body)
        self.done()

    def identity_v1(self) -> None:
        """Unwrap file keys with keys that Barbican gives."""
        said = self.first_phase()
        allowed: list[str] = []
        number = 0
        for command, arguments, _ in said:
            if command == "add-identity":
                try:
                    allowed.append(purpose_of(arguments[0]))
                except (Refused, IndexError) as error:
                    self.tell("error", ["identity", str(number)], str(error).encode())
                number += 1
        files: dict[str, list[tuple[int, list[str], bytes]]] = {}
        for command, arguments, body in said:
            if command == "recipient-stanza" and len(arguments) > 1:
                held = files.setdefault(arguments[0], [])
                held.append((len(held), arguments[1:], body))
        for file, stanzas in files.items():
            self._open(file, [(n, a[1:], b) for n, a, b in stanzas if a[0] == NAME], allowed)
        self.done()

    def _open(self, file: str, stanzas: list[tuple[int, list[str], bytes]], allowed: list[str]) -> None:
        refusals: list[tuple[list[str], str]] = []
        for number, arguments, body in stanzas:
            for purpose in allowed:
                try:
                    stanza = Stanza.parse(arguments, body)
                    key = self.store().open(stanza, purpose)
                    self.tell("file-key", [file], key)
                    return
                except Refused as error:
                    refusals.append((["stanza", file, str(number)], str(error)))
                except Failed as error:
                    refusals.append((["internal"], str(error)))
        # Clients may keep the errors to themselves and say only that nothing matched: say it as a message, too.
        for arguments_, words in dict.fromkeys((tuple(a), w) for a, w in refusals):
            self.tell("msg", [], f"age-plugin-{NAME}: {words}".encode())
            self.tell("error", list(arguments_), words.encode())


def main(arguments: list[str] | None = None) -> int:
    """The program. Returns its exit code."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    given = sys.argv[1:] if arguments is None else arguments
    held: list[Store] = []

    def store() -> Store:
        from planeshift.secrets.barbican.store import Store

        if not held:
            held.append(Store(Session()))
        return held[0]

    machine = Machine(sys.stdin.buffer, sys.stdout.buffer, store)
    try:
        if given == ["--age-plugin=recipient-v1"]:
            machine.recipient_v1()
        elif given == ["--age-plugin=identity-v1"]:
            machine.identity_v1()
        elif given and given[0].startswith("--age-plugin="):
            print(f"age-plugin-{NAME}: unknown state machine {given[0][13:]}", file=sys.stderr)
            return 1
        else:
            return _by_hand(given, store)
    except (EOFError, BrokenPipeError):
        return 1
    except (ValueError, Refused, Failed) as error:
        print(f"age-plugin-{NAME}: {error}", file=sys.stderr)
        return 1
    return 0


def _by_hand(given: list[str], store: Callable[[], Store]) -> int:
    if given[:1] == ["--generate"] and len(given) == 2:
        print(store().create(given[1]))
    elif given[:1] == ["--rotate"] and len(given) == 2:
        print(store().rotate(Recipient.parse(given[1])))
    elif given[:1] == ["--identity"] and len(given) <= 2:
        print(identity(given[1] if len(given) == 2 else ""))
    elif given == ["--list"]:
        for row in store().list():
            print(row["uuid"], row["purpose"], f"v{row['version']}", row["created"])
    else:
        print(_HELP, end="", file=sys.stdout if given in ([], ["-h"], ["--help"]) else sys.stderr)
        return 0 if given in ([], ["-h"], ["--help"]) else 64
    return 0


if __name__ == "__main__":
    sys.exit(main())
