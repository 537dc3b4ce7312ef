"""What a HAProxy would make of its configuration file. Reads no more of it than Planeshift writes."""

from __future__ import annotations

from collections.abc import Mapping

from planeshift.drivers.memory.data import EdgeData, Place, ServerData
from planeshift.render.desired import File

CONFIGURATION = "haproxy.cfg"
STATISTICS = "statistics"


def read(files: Mapping[str, File], directory: str) -> EdgeData:
    """The running state that a unit's files lead to. Raises ValueError, in HAProxy's manner, where it refuses them."""
    if CONFIGURATION not in files:
        raise ValueError(f"Cannot open configuration file {CONFIGURATION}")
    edge = EdgeData("")
    section = name = ""
    for number, line in enumerate(files[CONFIGURATION].content.decode().splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if not line.startswith(" "):
            section, name = words[0], words[-1]
            if section not in ("global", "ring", "defaults", "frontend", "backend", "listen"):
                raise ValueError(f"[{CONFIGURATION}:{number}] unknown keyword '{section}'")
        elif section == "global" and words[0] == "description":
            edge.structure = words[-1]
        elif section == "frontend" and words[0] == "bind":
            edge.binds[place(words[1])] = (name, _certificate(words, files, directory))
        elif section == "backend" and words[0] == "server":
            address, port = place(words[2])
            edge.servers[name, words[1]] = ServerData(address, port, int(words[words.index("weight") + 1]))
    return edge


def _certificate(words: list[str], files: Mapping[str, File], directory: str) -> str:
    if "crt" not in words:
        return ""
    path = words[words.index("crt") + 1].removeprefix(f"{directory}/")
    text = files[path].content.decode() if path in files else ""
    if not text.strip():
        raise ValueError(f"unable to load certificate from file '{path}'")
    return text


def place(text: str) -> Place:
    """`address:port`, or `[address]:port`, as a pair."""
    address, _, port = text.rpartition(":")
    return address.strip("[]"), int(port)
