"""Where a tool is: on PATH in a version that fits, or in the user's cache as it was built."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from planeshift.tools.pinning import Tool, fits, numbers


@dataclass(frozen=True)
class Found:
    """A usable program of a tool."""

    path: Path
    source: Literal["PATH", "cache"]
    version: str


def cache() -> Path:
    """Where built tools are kept: the user's cache, which all clouds and checkouts share."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "planeshift" / "tools"


def bin_directory() -> Path:
    """A directory with a link to each tool that was built last, to put on PATH."""
    return cache() / "bin"


def built(tool: Tool) -> Path:
    """Where the pinned build of a tool is, or will be."""
    return cache() / f"{tool.name}-{tool.version}-{tool.key}" / tool.name


def locate(tool: Tool) -> Found | None:
    """The program to use, or None where it has to be built."""
    on_path = shutil.which(tool.name) if tool.accept else None
    path = built(tool)
    # Our own directory on PATH is the cache, and needs no asking.
    if on_path and not Path(on_path).resolve().is_relative_to(cache()):
        version = ask(tool, on_path)
        if fits(tool, numbers(version)):
            return Found(Path(on_path), "PATH", version)
    return Found(path, "cache", tool.version) if os.access(path, os.X_OK) else None


def ask(tool: Tool, program: str) -> str:
    """The version that a program says it is; empty where it says none."""
    argv = [program, *tool.ask]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ".".join(map(str, numbers(done.stdout + done.stderr)))
