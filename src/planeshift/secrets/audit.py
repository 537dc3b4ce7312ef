"""What a repository's history says of its secrets: nonces used twice, plaintext, old values, old files put back."""

from __future__ import annotations

import functools
import itertools
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from planeshift.errors import PlaneshiftError
from planeshift.secrets import cern, creation, formats, history, keys, work

_TOKEN = re.compile(rb"ENC\[AES256_GCM,data:([^,\]]*),iv:([^,\]]*),tag:([^,\]]*),type:(\w+)\]")
_MODIFIED = re.compile(rb"lastmodified[\"']?\s*[:=]\s*[\"']?([0-9T:+Z-]{20,25})")
_MAX = 4 * 1024 * 1024
_DAY = 86400


@dataclass(frozen=True)
class Finding:
    """Something that history shows. `proof`: for a nonce used twice, the XOR of the two texts."""

    kind: str  # nonce, plaintext, unopenable, old, put-back
    path: str
    commits: tuple[str, ...]
    words: str
    hint: str
    proof: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class _Version:
    commit: str
    time: int
    blob: str


def audit(directory: str, *, older_than: int = 0, now: int = 0) -> list[Finding]:
    """Walk all commits of a repository. `older_than`: days that a value may go unchanged, 0 for any; `now`: seconds.

    Raises PlaneshiftError (PS1016) where git cannot tell.
    """
    top = history.git("rev-parse", "--show-toplevel", directory=directory).decode().strip()
    versions = _versions(top)
    contents = dict(_contents(top, {v.blob for vs in versions.values() for v in vs}))
    found: list[Finding] = []
    for path, there in sorted(versions.items()):
        held = [(v, contents[v.blob]) for v in there if v.blob in contents]
        found += _old_format(path, held)
        found += _plaintext(path, held, top)
        found += _put_back(path, held)
    found += _across_files(versions, contents)
    found += _nonces(versions, contents)
    found += _today(top, versions, contents, older_than, now)
    return found


def _versions(top: str) -> dict[str, list[_Version]]:
    """Every version of every file, oldest first."""
    form = "--format=%x01%H %ct"
    out = history.git(
        "log", "--all", "--reverse", "--raw", "--no-abbrev", "--no-renames", "-m", "--root", "-z", form, directory=top
    )
    versions: dict[str, list[_Version]] = {}
    commit, time, blob = "", 0, ""
    for part in out.split(b"\0"):
        text = part.lstrip(b"\n")
        if text.startswith(b"\x01"):
            head, _, text = text[1:].partition(b"\n")
            words = head.split()
            commit, time = words[0].decode(), int(words[1])
            text = text.lstrip(b"\n")
        if text.startswith(b":"):
            fields = text.split()
            blob = fields[3].decode() if fields[1] in (b"100644", b"100755") else ""
        elif text and blob:
            name = text.decode("utf-8", "surrogateescape")
            versions.setdefault(name, []).append(_Version(commit, time, blob))
            blob = ""
    return versions


def _contents(top: str, blobs: set[str]) -> Iterator[tuple[str, bytes]]:
    """The blobs that are, or may be, sealed; and all others of files that are sealed elsewhere are looked at, too."""
    with subprocess.Popen(
        ["git", "-C", top, "cat-file", "--batch", "--buffer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        import threading

        assert process.stdin and process.stdout  # noqa: S101 - pipes were asked for
        source = process.stdin

        def ask() -> None:
            source.write("".join(f"{b}\n" for b in sorted(blobs)).encode())
            source.close()

        threading.Thread(target=ask, daemon=True).start()
        for _ in blobs:
            head = process.stdout.readline().split()
            if len(head) != 3:
                continue
            content = process.stdout.read(int(head[2]) + 1)[:-1]
            if len(content) <= _MAX:
                yield head[0].decode(), content


def _is_sealed(content: bytes, path: str) -> bool:
    if formats.of(path) == "binary" and content.lstrip()[:1] != b"{":
        return False  # a text that speaks of sealed values
    return b"sops" in content and b"lastmodified" in content and _TOKEN.search(content) is not None


def _old_format(path: str, held: list[tuple[_Version, bytes]]) -> Iterator[Finding]:
    texts = [(v, c) for v, content in held if (c := cern.ciphertext(content)) is not None]
    for (first, one), (second, two) in itertools.pairwise(texts):
        if cern.same_nonce(one, two):
            yield Finding(
                "nonce",
                path,
                (first.commit, second.commit),
                f"two versions were encrypted with one key and one nonce: {len(cern.xor(one, two))} bytes of both are known "
                "to whoever has the repository, as their XOR",
                "Take every secret of this file for known: change them all, then `planeshift secrets migrate` it.",
                cern.xor(one, two),
            )


def _across_files(versions: dict[str, list[_Version]], contents: dict[str, bytes]) -> Iterator[Finding]:
    """Files of one release share its key and nonce, too."""
    last = []
    for path, there in sorted(versions.items()):
        for v in reversed(there):
            text = cern.ciphertext(contents.get(v.blob, b""))
            if text is not None:
                last.append((path, v, text))
                break
    for at, (path, v, text) in enumerate(last):
        for other, w, theirs in last[at + 1 :]:
            if Path(path).parent == Path(other).parent and cern.same_nonce(text, theirs):
                words = f"it was encrypted with the key and nonce of {other}"
                hint = "Take the secrets of both files for known: change them all."
                yield Finding("nonce", path, (v.commit, w.commit), words, hint, cern.xor(text, theirs))


def _plaintext(path: str, held: list[tuple[_Version, bytes]], top: str) -> Iterator[Finding]:
    secret = [_is_sealed(c, path) or cern.ciphertext(c) is not None for _, c in held]
    ruled = _ruled(path, top)
    if not any(_is_sealed(c, path) for _, c in held) and not ruled:
        return
    for (version, content), hidden in zip(held, secret, strict=True):
        if not hidden and content.strip():
            words = "it was committed in the clear"
            hint = "Change what it held; taking it out of history does not call back the copies."
            yield Finding("plaintext", path, (version.commit,), words, hint)


def _ruled(path: str, top: str) -> bool:
    """Whether a creation rule that names paths says that a file shall be sealed."""
    if formats.of(path) == "binary" or Path(path).name == creation.NAME:
        return False
    config = creation.find(Path(top) / path)
    if config is None:
        return False
    relative = str(Path(top, path).resolve().relative_to(config.parent.resolve()))
    return any(p.search(relative) for p in _patterns(config))


@functools.cache
def _patterns(config: Path) -> tuple[re.Pattern[str], ...]:
    try:
        return tuple(re.compile(str(r["path_regex"])) for r in creation.rules(config) if r.get("path_regex"))
    except (PlaneshiftError, re.error):
        return ()


def _put_back(path: str, held: list[tuple[_Version, bytes]]) -> Iterator[Finding]:
    """A MAC cannot tell an older whole file from the newest; the order of commits can."""
    newest = b""
    for version, content in held:
        found = _MODIFIED.search(content) if _is_sealed(content, path) else None
        if found is None:
            continue
        if found[1] < newest:
            words = f"a version of {found[1].decode()} was committed after one of {newest.decode()}"
            hint = "A revert, or somebody put an older file back: see which of its secrets were changed since."
            yield Finding("put-back", path, (version.commit,), words, hint)
        newest = max(newest, found[1])


def _nonces(versions: dict[str, list[_Version]], contents: dict[str, bytes]) -> Iterator[Finding]:
    """In SOPS's format: one nonce with two ciphertexts."""
    seen: dict[bytes, tuple[bytes, str, str]] = {}
    told = set()
    for path, there in sorted(versions.items()):
        for version in there:
            for data, iv, tag, _ in _TOKEN.findall(contents.get(version.blob, b"")):
                before = seen.setdefault(iv, (data + tag, path, version.commit))
                if before[0] != data + tag and iv not in told:
                    told.add(iv)
                    words = f"one nonce was used for two values; the other one is in {before[1]}"
                    hint = "Whatever wrote this is broken. Change both values, and `rotate-key` the files."
                    yield Finding("nonce", path, (before[2], version.commit), words, hint)


def _today(
    top: str, versions: dict[str, list[_Version]], contents: dict[str, bytes], older_than: int, now: int
) -> Iterator[Finding]:
    """The files as they are: whether a key opens them, and how old their values are."""
    for path, there in sorted(versions.items()):
        file = Path(top) / path
        content = file.read_bytes() if file.is_file() else b""
        if not _is_sealed(content, path):
            continue
        try:
            keys.data_key(work.look(str(file))[2].meta)
        except PlaneshiftError as error:
            words = "no key at hand opens it: " + error.problems[0].message
            yield Finding("unopenable", path, (), words, error.problems[0].hint)
        if older_than:
            yield from _old(path, content, there, contents, older_than, now)


def _old(
    path: str, content: bytes, there: list[_Version], contents: dict[str, bytes], days: int, now: int
) -> Iterator[Finding]:
    since: dict[bytes, int] = {}
    for version in there:
        for token in _TOKEN.finditer(contents.get(version.blob, b"")):
            since.setdefault(token[0], version.time)
    names: list[str] = []
    oldest = now
    for line in content.splitlines():
        sealed = _TOKEN.search(line)
        if sealed and sealed[4] != b"comment" and not line.lstrip().startswith(b"mac"):
            begun = since.get(sealed[0], now)
            if now - begun > days * _DAY:
                names.append(line[: sealed.start()].decode("utf-8", "replace").strip(" \t-:=\"'{") or "?")
                oldest = min(oldest, begun)
    if names:
        age = (now - oldest) // _DAY
        words = f"{len(names)} values are older than {days} days (the oldest {age}): {', '.join(names[:10])}"
        yield Finding("old", path, (), words, "Change them where they are used, then `set` them.")


def total(found: Iterable[Finding]) -> dict[str, int]:
    """How many of each kind."""
    counted: dict[str, int] = {}
    for finding in found:
        counted[finding.kind] = counted.get(finding.kind, 0) + 1
    return counted
