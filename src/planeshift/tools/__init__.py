"""The tools that Planeshift works with, pinned and built from source on demand.

    from planeshift import tools

    helm = tools.find("helm")   # a Path, or a problem that says how to build it

What is pinned stands in `tools.toml` (what, how) and in a Go module a tool (which version, every byte of it). A module
of its own for each, since one for all would lift shared dependencies to versions that nobody upstream has tested.
"""

from __future__ import annotations

from pathlib import Path

from planeshift.errors import PlaneshiftError, Problem
from planeshift.tools.pinning import Tool, pins
from planeshift.tools.places import bin_directory, locate

__all__ = ["Tool", "bin_directory", "find", "pins"]


def find(name: str) -> Path:
    """The program of a tool: from PATH where one of a version that fits is there, else as `tools build` made it.

    Raises PlaneshiftError: PS410 where there is no such tool, PS411 where it is not built yet.
    """
    tool = pins().get(name)
    if tool is None:
        hint = "`planeshift tools list` shows all."
        raise PlaneshiftError(Problem("PS410", f"there is no tool named {name!r}", hint=hint))
    found = locate(tool)
    if found is None:
        hint = f"planeshift tools build {name}"
        raise PlaneshiftError(Problem("PS411", f"{name} {tool.version} is not built yet", hint=hint))
    return found.path
