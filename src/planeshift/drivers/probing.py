"""The process that makes round trips beside a shift: `python -m planeshift.drivers.probing`; used by `drivers.prober`.

A line of JSON asks for some, by standard input, password included; another one tells what came of them. It is a process of
its own, and a patient one: a client's library takes half a second of a core to load, which neither the shift's orders nor
the services on the same machine should wait for.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

from planeshift import catalog
from planeshift.drivers.prober import Access, prove, why

NICE = 10


def main() -> None:
    """Until standard input ends, and nobody waits for what is under way."""
    os.nice(NICE)
    known: dict[str, str] = {}
    for line in sys.stdin:
        threading.Thread(target=_answer, args=(json.loads(line), known), daemon=True).start()


def _answer(asked: dict[str, Any], known: dict[str, str]) -> None:
    found = {name: _probe(asked, url, known) for name, url in asked["urls"].items()}
    sys.stdout.write(json.dumps({"number": asked["number"], "found": found}) + "\n")
    sys.stdout.flush()


def _probe(asked: dict[str, Any], url: str, known: dict[str, str]) -> str:
    """Why a round trip through a URL failed; empty where it did not."""
    spec = catalog.service(asked["service"])
    settings = Access(**asked["access"]).settings(asked["password"])
    settings[f"{spec.type.replace('-', '_')}_endpoint_override"] = url + spec.path
    if spec.name == "keystone":
        settings["auth"]["auth_url"] = url + spec.path
    try:
        for _ in prove(spec, settings, asked["only"], known):
            pass
    except Exception as error:  # a client's library may raise anything; it is what came of the round trip
        return why(error)
    return ""


if __name__ == "__main__":
    main()
