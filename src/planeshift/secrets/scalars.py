"""What a value is, and how SOPS writes it for its MAC: Go's formats, since sops is written in Go."""

from __future__ import annotations

from planeshift.secrets.nodes import Time


def kind(value: object) -> str:
    """SOPS's name of a value's type."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    return "time" if isinstance(value, Time) else "str"


def plain_bytes(value: object) -> bytes:
    """A value as it is sealed, and as it enters the MAC."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, bool):
        return b"True" if value else b"False"
    if isinstance(value, float):
        return go_float(value).encode()
    return str(value).encode()


def go_float(value: float) -> str:
    """Go's strconv.FormatFloat(value, 'f', -1, 64): the shortest digits, never an exponent."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" not in text:
        return text[:-2] if text.endswith(".0") else text
    mantissa, _, exponent = text.partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    point = len(whole) + int(exponent)
    digits = whole + fraction
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return sign + digits + "0" * (point - len(digits))
    return f"{sign}{digits[:point]}.{digits[point:]}"


_WORDS: dict[str, object] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WORDS |= {w: float("inf") for s in ("", "+") for w in (f"{s}.inf", f"{s}.Inf", f"{s}.INF")}
_WORDS |= {w: float("-inf") for w in ("-.inf", "-.Inf", "-.INF")} | {w: float("nan") for w in (".nan", ".NaN", ".NAN")}
# What YAML 1.1 or some reader of it takes for something else than text.
_QUOTED = frozenset(["y", "n", "yes", "no", "on", "off", "null", "true", "false", "none", "~", "<<", "="])


class TooLarge(ValueError):
    """An integer that SOPS cannot hold."""


def resolve(text: str) -> object:
    """The value of a plain YAML scalar, by the rules of sops's YAML library (go-yaml v3).

    Raises TooLarge for integers between 2^63 and 2^64, which sops cannot walk.
    """
    if text in _WORDS:
        return _WORDS[text]
    first = text[0]
    if first not in "+-.0123456789":
        return text
    if len(text) > 7 and text[4] == "-" and text[:4].isdigit():
        stamp = _time(text)
        if stamp is not None:
            return stamp
    bare = text.replace("_", "")
    integer = _integer(bare)
    if integer is not None:
        if integer >= 2**64 or integer < -(2**63):
            return float(integer)
        if integer >= 2**63:
            raise TooLarge(text)
        return integer
    if _is_float(bare):
        value = float(bare)
        if value not in (float("inf"), float("-inf")):
            return value
    return text


def _is_float(text: str) -> bool:
    """Whether a text is digits with a point, an exponent, or both, of ASCII alone; no `re`, which is slow to import."""
    mantissa, _, exponent = text.lower().partition("e")
    whole, point, fraction = mantissa.lstrip("+-").partition(".")
    signs = len(mantissa) - len(mantissa.lstrip("+-"))
    if not text.isascii() or signs > 1 or not (whole + fraction).isdigit() or (not whole and not fraction):
        return False
    if "e" in text.lower():
        return len(exponent) - len(exponent.lstrip("+-")) <= 1 and exponent.lstrip("+-").isdigit()
    return bool(whole) or bool(point)


def _integer(bare: str) -> int | None:
    sign, digits = (-1 if bare[0] == "-" else 1), (bare[1:] if bare[0] in "+-" else bare)
    low = digits[:2].lower()
    try:
        if low in ("0x", "0o", "0b"):
            if not digits[2:].isalnum() or not digits.isascii():
                return None
            return sign * int(digits[2:], {"0x": 16, "0o": 8, "0b": 2}[low])
        if not (digits.isdigit() and digits.isascii()) or len(digits) > 400:
            return None
        return sign * (int(digits, 8) if len(digits) > 1 and digits[0] == "0" else int(digits))
    except ValueError:
        return None


def _time(text: str) -> Time | None:
    import datetime
    import re

    found = re.fullmatch(r"(\d{4})-(\d\d?)-(\d\d?)(?:([Tt]| )(\d\d?):(\d\d?):(\d\d?)(\.\d{1,9})?(.*))?", text, re.ASCII)
    if not found:
        return None
    year, month, day, between, hour, minute, second, fraction, zone = found.groups()
    if between and between in "Tt":
        if not re.fullmatch(r"Z|[-+]\d\d:\d\d", zone, re.ASCII):
            return None
    elif zone:
        return None
    try:
        datetime.datetime(*(int(n or 0) for n in (year, month, day, hour, minute, second)))  # type: ignore[arg-type]
    except ValueError:
        return None
    fraction = (fraction or "").rstrip("0").rstrip(".")
    clock = f"{int(hour or 0):02}:{int(minute or 0):02}:{int(second or 0):02}{fraction}"
    return Time(f"{year}-{int(month):02}-{int(day):02}T{clock}{'Z' if zone in (None, '', '+00:00') else zone}")


def yaml_scalar(value: object, *, indent: int, flow: bool, last: bool) -> str:
    """A value as YAML. `indent`: of the mapping or sequence it stands in; `last`: nothing follows it on its line."""
    if not isinstance(value, str) or isinstance(value, Time):
        return _yaml_other(value)
    if "\n" in value and last and not flow and _literal(value):
        lines = value.split("\n")
        mark = "|-"
        if lines[-1] == "":
            lines.pop()
            mark = "|"
        pad = " " * (indent + 4)
        return mark + "\n" + "\n".join(pad + line if line else "" for line in lines)
    return value if _plain(value, flow) else quoted(value)


def _yaml_other(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = go_float(value)
        words = {"NaN": ".nan", "+Inf": ".inf", "-Inf": "-.inf"}
        return words.get(text) or (text if "." in text else text + ".0")
    return str(value)


_SAFE_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_/")
_SAFE = _SAFE_FIRST | frozenset("0123456789.-+=@$()^~;<>?")
_SAFE_BLOCK = _SAFE | frozenset(" :,[]{}!*&%|\"'`")


def _plain(value: str, flow: bool) -> bool:
    if not value or value[0] not in _SAFE_FIRST or value.lower() in _QUOTED:
        return False
    if _SAFE.issuperset(value):
        return True
    if flow or not _SAFE_BLOCK.issuperset(value):
        return False
    return value[-1] not in " :" and ": " not in value


def _literal(value: str) -> bool:
    """Whether a text of several lines can be a literal block: printable, and its first line not indented."""
    if value[0] in " \n\t" or value.endswith("\n\n"):  # blank lines below could be taken for a part of it
        return False
    return all(c == "\n" or c == "\t" or (c.isprintable() and c != "\ufeff") for c in value)


def quoted(value: str) -> str:
    """A text in double quotes, as JSON and YAML both read it."""
    out = ['"']
    for c in value:
        o = ord(c)
        if c in '"\\':
            out.append("\\" + c)
        elif 0x20 <= o < 0x7F or (o > 0xA0 and c.isprintable() and o < 0x10000):
            out.append(c)
        elif c in "\n\r\t\b\f":
            out.append({"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}[c])
        elif o < 0x10000:
            out.append(f"\\u{o:04x}")
        else:
            out.append(c)
    return "".join([*out, '"'])
