"""oslo.config files from options. Pure. Format: https://docs.openstack.org/oslo.config/latest/reference/."""

from __future__ import annotations

from planeshift.catalog.spec import Options


def ini(options: Options, comment: str) -> bytes:
    """The text of a configuration file, sections and options sorted. `$` is escaped, since oslo.config expands it.

    Raises ValueError where a value holds a line break, which would begin a new option.
    """
    lines = [f"# {comment}"]
    for section in sorted(options, key=lambda s: (s != "DEFAULT", s)):
        if options[section]:
            lines += ["", f"[{section}]"]
        for option, value in sorted(options[section].items()):
            for item in value if isinstance(value, list) else [value]:
                lines.append(f"{option} = {_text(item)}")
    return ("\n".join(lines) + "\n").encode()


def _text(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if "\n" in text or "\r" in text:
        raise ValueError("a value with a line break cannot stand in a configuration file")
    return text.replace("$", "$$")
