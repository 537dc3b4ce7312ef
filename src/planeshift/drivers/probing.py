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
from typing import Any, TextIO

from planeshift import catalog
from planeshift.drivers.prober import Access, prove, why

NICE = 5  # on a machine that has more to do than it can, still in time for a step

SILENCE = 60  # seconds without a word from a service, after which a round trip has failed


def main() -> None:
    """Until standard input ends, and nobody waits for what is under way."""
    os.nice(NICE)
    answers, sys.stdout = sys.stdout, sys.stderr  # a library that prints is no answer
    known: dict[str, str] = {}
    for line in sys.stdin:
        threading.Thread(target=_answer, args=(json.loads(line), known, answers), daemon=True).start()


def _answer(asked: dict[str, Any], known: dict[str, str], answers: TextIO) -> None:
    found = {name: _probe(asked, url, known) for name, url in asked["urls"].items()}
    answers.write(json.dumps({"number": asked["number"], "found": found}) + "\n")
    answers.flush()


def _probe(asked: dict[str, Any], url: str, known: dict[str, str]) -> str:
    """Why a round trip through a URL failed; empty where it did not."""
    try:
        spec = catalog.service(asked["service"])
        settings = Access(**asked["access"]).settings(asked["password"]) | {"api_timeout": SILENCE}
        settings[f"{spec.type.replace('-', '_')}_endpoint_override"] = url + spec.path
        if spec.name == "keystone":
            settings["auth"]["auth_url"] = url + spec.path
        for _ in prove(spec, settings, asked["only"], known):
            pass
    except Exception as error:  # a client's library may raise anything; it is what came of the round trip
        return why(error)
    return ""


if __name__ == "__main__":
    main()
