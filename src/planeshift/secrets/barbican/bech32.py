"""Bech32 without a limit of length, as age uses it (BIP 173)."""

from __future__ import annotations

_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def _checksum(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for i, generator in enumerate(_GENERATOR):
            check ^= generator if top >> i & 1 else 0
    return check


def _expanded(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def _bits(data: list[int], old: int, new: int, pad: bool) -> list[int]:
    held = count = 0
    out = []
    for value in data:
        held = held << old | value
        count += old
        while count >= new:
            count -= new
            out.append(held >> count & (1 << new) - 1)
    if pad and count:
        out.append(held << new - count & (1 << new) - 1)
    elif not pad and (count >= old or held & (1 << count) - 1):
        raise ValueError("padding")
    return out


def encode(prefix: str, data: bytes) -> str:
    """The lower-case form."""
    values = _bits(list(data), 8, 5, True)
    check = _checksum(_expanded(prefix) + values + [0] * 6) ^ 1
    values += [check >> 5 * (5 - i) & 31 for i in range(6)]
    return prefix + "1" + "".join(_LETTERS[v] for v in values)


def decode(text: str) -> tuple[str, bytes]:
    """The prefix, in lower case, and the data. Raises ValueError."""
    if text.lower() != text and text.upper() != text:
        raise ValueError("mixed case")
    prefix, one, rest = text.lower().rpartition("1")
    if not one or not prefix or len(rest) < 6 or any(c not in _LETTERS for c in rest):
        raise ValueError("not Bech32")
    values = [_LETTERS.index(c) for c in rest]
    if _checksum(_expanded(prefix) + values) != 1:
        raise ValueError("checksum")
    return prefix, bytes(_bits(values[:-6], 5, 8, False))
