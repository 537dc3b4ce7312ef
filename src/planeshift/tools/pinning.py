"""Which tools there are, in which version, and how each is built. Pure, but for reading this package's own data."""

from __future__ import annotations

import functools
import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
# As the Go tool chain is called for every tool; part of a build's key.
BUILD = ("-trimpath", "-buildvcs=false")
ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off", "GOTOOLCHAIN": "local"}
_REQUIRE = re.compile(r"^(?:require )?\s*(\S+) (v\S+)(?: // indirect)?$", re.M)
_GO = re.compile(r"^go (\d+)\.(\d+)", re.M)


@dataclass(frozen=True)
class Tool:
    """A pinned tool. `version` is without its v, `go` the oldest Go release that builds it, `key` names one build."""

    name: str
    what: str
    module: str
    package: str
    version: str
    link: tuple[str, ...]
    ask: tuple[str, ...]
    accept: tuple[int, ...]
    go: tuple[int, int]
    key: str

    @property
    def directory(self) -> Path:
        """The Go module that pins it."""
        return HERE / self.module


@functools.cache
def pins() -> Mapping[str, Tool]:
    """Every tool by name, in the order of `tools.toml`."""
    data = tomllib.loads((HERE / "tools.toml").read_text())
    return {name: _tool(name, entry, data.get("module", {})) for name, entry in data["tool"].items()}


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, for comparing: `v3.22.0-rc1` is (3, 22, 0)."""
    found = re.search(r"\d+(?:\.\d+)+", version)
    return tuple(int(n) for n in found.group().split(".")) if found else ()


def fits(tool: Tool, version: tuple[int, ...]) -> bool:
    """Whether a program of this version will do in place of the pinned one."""
    return bool(tool.accept and version) and version[0] == tool.accept[0] and version >= tool.accept


def _tool(name: str, entry: Mapping[str, str | list[str]], modules: Mapping[str, Mapping[str, list[str]]]) -> Tool:
    module = str(entry.get("module", name))
    files = sorted(p for p in (HERE / module).iterdir() if p.suffix in (".mod", ".sum", ".go"))
    text = (HERE / module / "go.mod").read_text()
    version = _version(text, str(entry.get("of", entry["package"])))
    flags = [*modules.get(module, {}).get("flags", []), *entry.get("flags", [])]
    link = ("-s", "-w", *(f"-X={flag.format(version=version)}" for flag in flags))
    recipe = "\0".join([str(entry["package"]), *link, *BUILD, *sorted(map(str, ENVIRONMENT.items()))])
    digest = hashlib.sha256(recipe.encode())
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    go = _GO.search(text)
    return Tool(
        name=name,
        what=str(entry["what"]),
        module=module,
        package=str(entry["package"]),
        version=version,
        link=link,
        ask=tuple(entry.get("version", ())),
        accept=numbers(str(entry.get("accept", ""))),
        go=(int(go[1]), int(go[2])) if go else (0, 0),
        key=digest.hexdigest()[:12],
    )


def _version(go_mod: str, package: str) -> str:
    """The version of the required module that a package is from: the one with the longest path that leads there."""
    held = [m for m in _REQUIRE.findall(go_mod) if f"{package}/".startswith(f"{m[0]}/")]
    return str(max(held, key=lambda m: len(m[0]))[1]).removeprefix("v")
