"""The files of a form: ChartMuseum takes a chart and its provenance in one multipart/form-data body."""

from __future__ import annotations

from collections.abc import Mapping

MAX_PARTS = 16


def files(body: bytes, content_type: str) -> Mapping[str, bytes]:
    """The parts that are files, by field; the first of each. Raises ValueError where it is no such form."""
    from python_multipart.multipart import MultipartParser, parse_options_header

    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary or len(boundary) > 200:
        raise ValueError("no boundary in the content type")
    found: dict[str, bytes] = {}
    parts = _Parts(found)
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": parts.begin,
            "on_part_data": parts.data,
            "on_part_end": parts.end,
            "on_header_field": parts.header_name,
            "on_header_value": parts.header_value,
            "on_header_end": parts.header_end,
        },
    )
    parser.write(body)
    parser.finalize()
    if not parts.count:
        raise ValueError("no part in the form")
    return found


class _Parts:
    """Gathers what the parser calls out."""

    def __init__(self, found: dict[str, bytes]) -> None:
        self.found = found
        self.count = 0

    def begin(self) -> None:
        self.count += 1
        if self.count > MAX_PARTS:
            raise ValueError(f"more than {MAX_PARTS} parts in the form")
        self._name, self._value, self._disposition = b"", b"", b""
        self._pieces: list[bytes] = []

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name, self._value = b"", b""

    def data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def end(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._disposition)
        if b"filename" in options and (field := options.get(b"name", b"").decode("utf-8", "replace")):
            self.found.setdefault(field, b"".join(self._pieces))
