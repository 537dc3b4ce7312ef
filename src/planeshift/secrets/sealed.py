"""Open and seal a whole file: its values, and the MAC over them."""

from __future__ import annotations

from planeshift.secrets import cipher, formats, scalars
from planeshift.secrets.metadata import ONLY_ENCRYPTED, VERSION, Metadata
from planeshift.secrets.nodes import COMMENT, Text
from planeshift.secrets.refusal import refuse

try:
    from _sha512 import sha512  # hashlib's own, without loading OpenSSL a second time
except ImportError:
    from hashlib import sha512

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    Memo = dict[tuple[bytes, str, bytes], list[str]]


class Sealed:
    """A sealed file: its text and SOPS's part of it. Not opened yet."""

    __slots__ = ("cuts", "file", "kind", "meta", "parsed")

    def __init__(self, kind: str, text: str, file: str, *, light: bool = False) -> None:
        """Raises PlaneshiftError (PS1001, PS1002, PS1004) where it is not a sealed file."""
        self.kind, self.file = kind, file
        self.parsed = formats.parse(kind, text, file, light)
        data, self.cuts = formats.detach(kind, self.parsed, file)
        if data is None:
            hint = f"`planeshift secrets enc {file}` seals it."
            word = text.strip()
            if len(word) > 24 and not set(word) & set(" \n:{"):  # may be CERN's, which only its key can tell
                hint += " Were it helm-barbican's: `planeshift secrets migrate`."
            refuse("PS1004", f"{file} is not sealed: it has no `sops` part", hint=hint)
        self.meta = Metadata(data, file)


class Opened:
    """An opened file: its text in the clear, and the sealed form of each value, so that it can be used again."""

    __slots__ = ("doubts", "memo", "text")

    def __init__(self, text: str, memo: Memo, doubts: list[str]) -> None:
        self.text, self.memo, self.doubts = text, memo, doubts


def is_sealed(kind: str, text: str, file: str) -> bool:
    """Whether a text has SOPS's part. A cheap look first: most files have not."""
    if "sops" not in text or "mac" not in text:
        return False
    return formats.detach(kind, formats.parse(kind, text, file), file)[0] is not None


def open_(sealed: Sealed, key: bytes) -> Opened:
    """Open every value. Raises PlaneshiftError (PS1005: a value, PS1006: the MAC) and then tells nothing of the content."""
    parsed, meta, file = sealed.parsed, sealed.meta, sealed.file
    decides, aead = meta.decides(), cipher.aead(key)
    mac = sha512(ONLY_ENCRYPTED if meta.only_encrypted else b"")
    changes: list[tuple[int, int, str]] = list(sealed.cuts)
    memo: Memo = {}
    doubts: list[str] = []
    write, text = parsed.write, parsed.text
    for path, node, stack in parsed.leaves():
        value = node.value
        comment = node.kind == COMMENT
        if value is None:
            continue
        sealed_here = decides(path, stack, comment)
        if comment:
            if cipher.is_sealed(value):
                plain = _comment(aead, str(value), path, memo)
                if plain is None:
                    doubts.append(
                        f"{_line(text, node.start, file)}: a sealed comment that does not open is left as it is"
                    )
                else:
                    changes.append((node.start, node.end, plain))
            continue
        if sealed_here and value != "":
            aad = cipher.aad(path)
            try:
                if not isinstance(value, str):
                    raise cipher.Unopened("stands in the clear, though it should be sealed")
                plain_value, kind = cipher.unseal(aead, value, aad)
            except cipher.Unopened as error:
                _unopened(file, text, node.start, path, str(error))
            if kind == "comment":  # sops writes comments of lists as items of them, and counts them in no MAC
                memo.setdefault((b"#", kind, scalars.plain_bytes(plain_value)), []).append(str(value))
                changes.append((node.begins, node.end, f"#{plain_value}"))
                continue
            memo.setdefault((aad, kind, scalars.plain_bytes(plain_value)), []).append(str(value))
            changes.append((node.start, node.end, write(node, plain_value, text)))
            value = plain_value
        if sealed_here or not meta.only_encrypted:
            mac.update(scalars.plain_bytes(value))
    _check_mac(meta, aead, mac.hexdigest().upper(), file)
    if sealed.kind == "binary":
        return Opened(_binary(sealed, changes), memo, doubts)
    return Opened(parsed.spliced(changes), memo, doubts)


def _binary(sealed: Sealed, changes: list[tuple[int, int, str]]) -> str:
    from planeshift.secrets import jsontext

    node = jsontext.parse(sealed.parsed.spliced(changes), sealed.file).documents[0].get("data")
    if node is None or not isinstance(node.value, str):
        refuse("PS1002", f"{sealed.file}: a sealed binary file has its content as `data`, and this one has none")
    return node.value


def _comment(aead: AESGCM, token: str, path: tuple[str, ...], memo: Memo) -> str | None:
    # Where a comment belongs is told by the reader of YAML, not by YAML: try the places above, too.
    for upper in range(len(path), -1, -1):
        aad = cipher.aad(path[:upper])
        try:
            plain, _ = cipher.unseal(aead, token, aad)
        except cipher.Unopened:
            continue
        # Remembered for wherever it will be said to stand, so that it keeps its sealed form.
        memo.setdefault((b"#", "comment", scalars.plain_bytes(plain)), []).append(token)
        return str(plain)
    return None


def _line(text: str, at: int, file: str) -> str:
    return f"{file}:{text.count(chr(10), 0, at) + 1}"


def _unopened(file: str, text: str, at: int, path: tuple[str, ...], why: str) -> None:
    hint = "Nothing of the file is used. `git log -p` shows who changed it; `git checkout` takes an older one back."
    line = text.count("\n", 0, at) + 1
    refuse("PS1005", f"{file}: the value of {'.'.join(path)} {why}", file=file, line=line, hint=hint)


def _check_mac(meta: Metadata, aead: AESGCM, found: str, file: str) -> None:
    hint = "A value, or a name, was added, removed or changed without opening the file. `git log -p` shows by whom."
    try:
        stated, _ = cipher.unseal(aead, meta.mac, meta.modified.encode())
    except cipher.Unopened:
        refuse("PS1006", f"{file}: its `mac` does not fit its `lastmodified`, or was altered", hint=hint)
    if stated != found:
        refuse("PS1006", f"{file}: the MAC does not fit the values", hint=hint)


def seal(
    kind: str, plain: Text, data: dict[str, object], key: bytes, now: str, file: str, memo: Memo | None = None
) -> str:
    """Seal a parsed text in the clear, and add SOPS's part: `data` (keys, rule), the time, and the MAC.

    `memo` is of the file as it was opened: what has not changed keeps its sealed form.
    """
    data = {**data, "lastmodified": now, "version": data.get("version") or VERSION, "mac": "-"}
    meta = Metadata(data, file)
    decides, aead = meta.decides(), cipher.aead(key)
    mac = sha512(ONLY_ENCRYPTED if meta.only_encrypted else b"")
    changes: list[tuple[int, int, str]] = []
    memo = {k: list(v) for k, v in (memo or {}).items()}
    hidden_by = meta.rule() if meta.rule()[0] == "unencrypted_comment_regex" else None
    for path, node, stack in plain.leaves():
        if node.value is None:
            continue
        value, comment = node.value, node.kind == COMMENT
        hide = decides(path, stack, comment)
        if not comment and (hide or not meta.only_encrypted):
            mac.update(scalars.plain_bytes(value))
        if not hide or value == "":
            continue
        if cipher.is_sealed(value):
            if comment:
                continue  # one that did not open stays as it was
            _twice(file, plain.text, node.start, path)
        aad = cipher.aad(path)
        type_ = "comment" if comment else scalars.kind(value)
        kept = memo.get((b"#" if comment else aad, type_, scalars.plain_bytes(value)))
        token = kept.pop(0) if kept else cipher.seal(aead, value, aad, type_)
        if comment and hidden_by:
            _unambiguous(hidden_by[1], token, file)
        changes.append((node.start, node.end, token if comment else plain.write(node, token, plain.text)))
    data["mac"] = cipher.seal(aead, mac.hexdigest().upper(), now.encode())
    return formats.attach(kind, plain.spliced(changes), data, plain.documents[0].flow)


def _twice(file: str, text: str, at: int, path: tuple[str, ...]) -> None:
    line = text.count("\n", 0, at) + 1
    hint = "Write the value itself; a sealed value cannot be moved from another place or file."
    refuse("PS1007", f"{file}: the value of {'.'.join(path)} is sealed already", file=file, line=line, hint=hint)


def _unambiguous(pattern: str, token: str, file: str) -> None:
    import re

    if re.search(pattern, token):
        hint = "Let the expression begin with ^ and a word."
        refuse("PS1002", f"{file}: unencrypted_comment_regex matches a sealed comment", hint=hint)


def plain_text(kind: str, content: bytes, file: str) -> Text:
    """Read a file in the clear, to be sealed. Raises PlaneshiftError where it is sealed already (PS1007)."""
    if kind == "binary":
        import json

        from planeshift.secrets import jsontext

        text = content.decode("utf-8", "surrogateescape")
        try:
            text.encode()
        except UnicodeEncodeError:
            refuse("PS1001", f"{file}: SOPS's binary form holds UTF-8 text only", hint="Seal it as base64 text.")
        return jsontext.parse('{\n\t"data": ' + json.dumps(text, ensure_ascii=False) + "\n}\n", file)
    parsed = formats.parse(kind, formats.decoded(content, file), file)
    for document in parsed.documents:
        if any(k == "sops" or (kind == "dotenv" and str(k).startswith("sops_")) for k, _ in document.entries()):
            hint = "`view`, `edit` and `set` work on sealed files; a value in the clear cannot be named `sops`."
            refuse("PS1007", f"{file} has a `sops` part: it is sealed already", hint=hint)
    return parsed
