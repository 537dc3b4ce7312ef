"""A sorted list of pieces of text, kept in segments, of which one change touches one. Pure.

The index of a hundred thousand charts is fifty megabytes. It is never made as a whole: a segment holds some hundred
entries, and makes its text, its gzip and its zstd form when asked, once for each change. Each form of the whole is the
segments' forms in order, since deflate streams that end on a byte, like zstd frames, can be put one after the other.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any, Protocol

FULL = 512  # entries; a segment that has more is split


class Item(Protocol):
    """What a list holds: a sort key, the group that it belongs to, and when it came to be."""

    @property
    def key(self) -> Any: ...
    @property
    def name(self) -> str: ...
    @property
    def created(self) -> str: ...


Render = Callable[[list[Any], str], bytes]  # some items, and the group of the item before them → their text


class Segment:
    """Some neighbouring items and the forms of their text."""

    __slots__ = ("_deflated", "_newest", "_text", "_zstd", "before", "items", "keys")

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.keys = [i.key for i in items]
        self.before = ""  # the group of the item before the first, as of which the text was made
        self.changed()

    def changed(self) -> None:
        """Forget the forms."""
        self._text: bytes | None = None
        self._deflated: tuple[bytes, tuple[bytes, int]] | None = None  # with the text that it was made of
        self._zstd: tuple[bytes, bytes] | None = None
        self._newest: str | None = None

    def text(self, before: str, render: Render) -> bytes:
        """The items' text."""
        if self._text is None or self.before != before:
            self._text, self._deflated, self._zstd, self.before = render(self.items, before), None, None, before
        return self._text

    @property
    def newest(self) -> str:
        """When the youngest item came to be."""
        if self._newest is None:
            self._newest = max((i.created for i in self.items), default="")
        return self._newest

    def deflated(self, text: bytes) -> tuple[bytes, int]:
        """A text of this segment as raw deflate that ends on a byte, and its CRC; kept for the next who asks."""
        kept = self._deflated
        if kept is None or kept[0] is not text:
            kept = self._deflated = (text, deflate(text))
        return kept[1]

    def zstd(self, text: bytes, compress: Callable[[bytes], bytes]) -> bytes:
        """A text of this segment as a zstd frame; kept for the next who asks."""
        kept = self._zstd
        if kept is None or kept[0] is not text:
            kept = self._zstd = (text, compress(text))
        return kept[1]


class SortedItems:
    """Items in the order of their keys. Not for several threads at once."""

    def __init__(self, items: Iterable[Item] = ()) -> None:
        """`items` may come in any order; sorting what is sorted is quick."""
        ordered = sorted(items, key=attrgetter("key"))
        half = FULL // 2
        self.segments = [Segment(ordered[at : at + half]) for at in range(0, len(ordered), half)]
        self._firsts = [s.keys[0] for s in self.segments]

    def __iter__(self) -> Iterator[Any]:
        for segment in self.segments:
            yield from segment.items

    def add(self, item: Item) -> None:
        """Add an item, or replace that of the same key."""
        if not self.segments:
            self.segments, self._firsts = [Segment([item])], [item.key]
            return
        at = max(bisect_right(self._firsts, item.key) - 1, 0)
        segment = self.segments[at]
        place = bisect_left(segment.keys, item.key)
        if place < len(segment.keys) and segment.keys[place] == item.key:
            segment.items[place] = item
        else:
            segment.items.insert(place, item)
            segment.keys.insert(place, item.key)
        if len(segment.items) > FULL:
            half = len(segment.items) // 2
            self.segments[at : at + 1] = [Segment(segment.items[:half]), Segment(segment.items[half:])]
            self._firsts[at : at + 1] = [self.segments[at].keys[0], self.segments[at + 1].keys[0]]
        else:
            segment.changed()
            self._firsts[at] = segment.keys[0]

    def remove(self, key: Any) -> None:
        """Remove the item of a key, if it is there."""
        at = bisect_right(self._firsts, key) - 1
        if at < 0:
            return
        segment = self.segments[at]
        place = bisect_left(segment.keys, key)
        if place == len(segment.keys) or segment.keys[place] != key:
            return
        del segment.items[place], segment.keys[place]
        if segment.items:
            segment.changed()
            self._firsts[at] = segment.keys[0]
        else:
            del self.segments[at], self._firsts[at]

    def newest(self) -> str:
        """When the youngest item came to be; empty where there is none."""
        return max((s.newest for s in self.segments), default="")

    def texts(self, render: Render) -> list[tuple[Segment, bytes]]:
        """Every segment with its text, in order."""
        found = []
        before = ""
        for segment in self.segments:
            found.append((segment, segment.text(before, render)))
            before = segment.items[-1].name
        return found


# --- gzip of parts


def deflate(text: bytes) -> tuple[bytes, int]:
    """Raw deflate of a text, not final, ending on a byte; and the text's CRC."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH), zlib.crc32(text)


def gzip_of(parts: Iterable[tuple[bytes, int, int]]) -> list[bytes]:
    """One gzip member, as buffers, of deflated parts: (raw deflate, CRC, length of the text). Format: RFC 1952."""
    buffers = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"]
    crc = length = 0
    for deflated, part_crc, part_length in parts:
        buffers.append(deflated)
        crc = combine(crc, part_crc, part_length)
        length += part_length
    buffers.append(b"\x03\x00" + crc.to_bytes(4, "little") + (length & 0xFFFFFFFF).to_bytes(4, "little"))
    return buffers


def combine(first: int, second: int, length: int) -> int:
    """The CRC-32 of two texts put together, from theirs and the second's length: first · x^(8·length) + second."""
    return _times(_power(length * 8), first) ^ second


def _times(a: int, b: int) -> int:
    """a · b modulo the CRC's polynomial, bits reflected."""
    product = 0
    bit = 1 << 31
    while a:
        if a & bit:
            product ^= b
            a ^= bit
        bit >>= 1
        b = (b >> 1) ^ 0xEDB88320 if b & 1 else b >> 1
    return product


_powers: dict[int, int] = {}


def _power(exponent: int) -> int:
    """x^exponent modulo the CRC's polynomial, bits reflected."""
    found = _powers.get(exponent)
    if found is None:
        found, square, rest = 1 << 31, 1 << 30, exponent
        while rest:
            if rest & 1:
                found = _times(square, found)
            square = _times(square, square)
            rest >>= 1
        if len(_powers) > 10_000:
            _powers.clear()
        _powers[exponent] = found
    return found
