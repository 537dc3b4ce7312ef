"""`planeshift secrets view FILE` on its shortest path: nothing is imported that it does not need.

Answers only where everything is as it mostly is; whatever else there is to say is said by the whole command.
"""

from __future__ import annotations

import sys


def view(path: str) -> bool:
    """Print a sealed file in the clear. False where the whole command shall have a look."""
    from planeshift.secrets import agekeys, formats, sealed

    kind = formats.of(path)
    if kind == "binary":
        return False
    import os
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            text = formats.decoded(file.read(), path)
        parts = sealed.Sealed(kind, text, path, light=True)
        if parts.meta.data.get("key_groups"):
            return False
        lines = [i for i in agekeys.identities(os.environ) if agekeys.plugin_of(i) in ("", "barbican")]
        key = agekeys.unwrap(parts.meta.entries("age"), lines, lambda _: "") if lines else None
        if key is None or len(key) != 32:
            return False
        opened = sealed.open_(parts, key)
    except Exception:
        return False  # the whole command finds it again, and says it well
    if opened.doubts:
        return False
    sys.stdout.buffer.write(opened.text.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()
    return True
