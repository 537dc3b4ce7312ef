"""helm and kubectl with sealed files in their arguments: opened into memory, and handed over by descriptor.

The program takes this process's place (exec), so that its exit code, streams and signals are its own. Everything that is
not a sealed file goes through untouched, what is mistyped too: the program says it better.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from planeshift.errors import PlaneshiftError, Problem
from planeshift.secrets import formats, private, sealed, work


@dataclass(frozen=True)
class Flags:
    """How a program's flags are read, as far as files are concerned."""

    files: Mapping[str, str]  # flag → `list` (commas separate files) or `set` (name=file pairs)
    switches: str  # short flags without a value, that may stand before others in one word
    valued: str  # short flags with a value


HELM = Flags({"-f": "list", "--values": "list", "--set-file": "set"}, switches="ighd", valued="nosal")
KUBECTL = Flags({"-f": "list", "--filename": "list"}, switches="Rhw", valued="nolskLt")
HELM_COMMANDS = ("install", "upgrade", "lint", "template")
KUBECTL_COMMANDS = ("apply", "create", "replace", "diff", "delete", "patch")


def rewritten(arguments: Sequence[str], flags: Flags, opened: Callable[[str], str]) -> list[str]:
    """The arguments with each file of a file flag replaced by what `opened` makes of it."""
    out: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if word == "--":
            return [*out, word, *rest]
        name, how, value = _flag(word, flags)
        if not how:
            out.append(word)
            if value is None:  # another flag's value follows, and may look like anything
                out.extend(_next(rest))
            continue
        if value is None:
            following = _next(rest)
            out.append(word)
            out.extend(_files(following[0], how, opened) for _ in following)
        else:
            out.append(name + _files(value, how, opened))
    return out


def _next(rest: Iterator[str]) -> list[str]:
    for word in rest:
        return [word]
    return []


def _flag(word: str, flags: Flags) -> tuple[str, str, str | None]:
    """What a word is: the part before the value, how its value names files (empty: not at all), the value.

    A value of None is the next word. Words that take nothing have an empty one.
    """
    if word.startswith("--"):
        name, sign, value = word.partition("=")
        how = flags.files.get(name, "")
        return (name + sign, how, value if sign else None) if how else (word, "", "")
    if not word.startswith("-") or word == "-":
        return word, "", ""
    for at, letter in enumerate(word[1:], 1):
        how = flags.files.get(f"-{letter}", "")
        if how:
            value = word[at + 1 :]
            equals = value.startswith("=")
            return word[: at + 1] + ("=" if equals else ""), how, value.removeprefix("=") or None
        if letter not in flags.switches:
            return word, "", None if letter in flags.valued and at == len(word) - 1 else ""
    return word, "", ""


def _files(value: str, how: str, opened: Callable[[str], str]) -> str:
    parts = value.split(",") if not Path(value).is_file() else [value]
    if how == "list":
        return ",".join(opened(p) for p in parts)
    pairs = [p.partition("=") for p in parts]
    return ",".join(f"{name}{sign}{opened(file) if sign else file}" for name, sign, file in pairs)


def is_sealed(path: str) -> bool:
    """Whether an argument names a sealed file; anything else (a URL, `-`, no file) is not ours to judge."""
    file = Path(path)
    if not file.is_file() or file.stat().st_size > formats.MAX_BYTES:
        return False
    content = file.read_bytes()
    if b"ENC[AES256_GCM," not in content or b"sops" not in content:
        return False
    return sealed.is_sealed(formats.of(path), formats.decoded(content, path), path)


def in_memory(text: str, name: str) -> str:
    """A path under which a child of this process reads a text that is in memory alone."""
    import fcntl

    descriptor = os.memfd_create(Path(name).name[:60], os.MFD_ALLOW_SEALING)
    data = text.encode("utf-8", "surrogateescape")
    while data:
        data = data[os.write(descriptor, data) :]
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    os.set_inheritable(descriptor, True)
    return f"/proc/self/fd/{descriptor}"


def prepared(arguments: Sequence[str], flags: Flags) -> list[str]:
    """The arguments with sealed files opened into memory. Raises PlaneshiftError where one does not open."""
    held: dict[str, str] = {}

    def opened(path: str) -> str:
        if Path(path).is_dir():
            _none_sealed(Path(path))
        if path not in held:
            held[path] = in_memory(work.view(path), path) if is_sealed(path) else path
        return held[path]

    return rewritten(arguments, flags, opened)


def _none_sealed(directory: Path) -> None:
    """Sealed files of a directory would be taken as they are, `ENC[…]` and all."""
    for path in sorted(directory.rglob("*")):
        if path.suffix in (".yaml", ".yml", ".json") and is_sealed(str(path)):
            hint = "Name the files of a directory one by one."
            raise PlaneshiftError(
                Problem("PS1018", f"{path} is sealed, and cannot be opened within a directory", hint=hint)
            )


def become(program: str, arguments: Sequence[str]) -> None:
    """Become a program. Raises PlaneshiftError (PS1018) where it is not there."""
    found = shutil.which(program)
    if found is None:
        hint = f"`planeshift tools build {program}` makes one; put its directory on PATH."
        raise PlaneshiftError(Problem("PS1018", f"{program} is not on PATH", hint=hint))
    os.execv(found, [program, *arguments])  # noqa: S606 - no shell is wanted


def helm(command: str, arguments: Sequence[str]) -> None:
    """Become `helm COMMAND …`; the helm that started us as its plugin, where one did."""
    become(os.environ.get("HELM_BIN") or "helm", [command, *prepared(arguments, HELM)])


def kubectl(command: str, arguments: Sequence[str]) -> None:
    """Become `kubectl COMMAND …`."""
    given = prepared(arguments, KUBECTL)
    if command == "diff":  # it has the objects compared by a program, as files: these, too, are in memory alone
        try:
            os.environ["TMPDIR"] = private.memory()
        except OSError as error:
            what = "kubectl diff would write what is sealed to a disk"
            raise PlaneshiftError(Problem("PS1018", what, why=f"{error}.")) from error
    become(os.environ.get("KUBECTL") or "kubectl", [command, *given])
