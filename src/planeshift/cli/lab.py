"""lab: up, status, exec, logs, load, fault, down."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from planeshift.cli import view
from planeshift.errors import Exit, PlaneshiftError, Problem
from planeshift.lab import import_image, machine, open_lab

if TYPE_CHECKING:
    from planeshift.lab.run import Event


@click.group(short_help="Hosts and a real Kubernetes on this machine.")
def lab() -> None:
    """Hosts and Kubernetes nodes made of Linux namespaces on one machine, declared in a small file.

    It takes root, and no Docker. Nodes are made by real kubeadm and run their own containerd and kubelet; plain hosts
    are there for `via: lab` in a cloud file. Each has its own address, disk and processes.

    \b
      planeshift lab up                           make it, or mend it
      export KUBECONFIG="$(planeshift lab status -o kubeconfig)"
      kubectl get nodes
      planeshift lab exec vm1 -- hostname
      planeshift lab fault kill node1             see what happens; `lab up` mends all
      planeshift lab down                         nothing is left

    The lab file is `lab.yaml` here or in a directory above; -f names another one.
    """


def _file(function: click.decorators.FC) -> click.decorators.FC:
    help_text = "The lab file (default: lab.yaml here or above)."
    return click.option("-f", "--file", metavar="FILE", help=help_text)(function)


def _confirmed(yes: bool, question: str) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise PlaneshiftError(Problem("PS805", "not confirmed", hint="Say --yes where there is no terminal."))
    view.tell(question)
    if input().strip() != "yes":
        raise PlaneshiftError(Problem("PS805", "not confirmed"))


@lab.command(short_help="Make the lab, or mend it.")
@_file
@click.option("--yes", is_flag=True, help="Do not ask.")
def up(file: str | None, yes: bool) -> int:
    """Make the lab as declared: what is missing is made, what is dead or broken mended, faults ended.

    Shows what it will do first. Stopped or killed at any moment, the same command goes on.
    """
    from planeshift.lab import run

    site = open_lab(file)
    steps = run.look(site)
    if not steps:
        view.tell(f"{site.lab.name} is as declared. Nothing to do.")
        return Exit.DONE
    print(view.paint(f"Plan for the lab {site.lab.name}", "bold"))
    for step in steps:
        mark = view.paint("-", "red") if step.kind in ("erase", "remove") else view.paint("+", "green")
        print(f"  {mark} {step.summary}")
    sys.stdout.flush()
    _confirmed(yes, "Do it? Only `yes` is yes.")
    with run.lease(site):
        run.up(site, run.look(site), Progress())
    if site.lab.clusters:
        view.tell(f'next: export KUBECONFIG="{site.kubeconfig}"')
    return Exit.DONE


@lab.command(short_help="Show hosts, zones and clusters.")
@_file
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "kubeconfig", "name"]),
    default="table",
    help="How to print it; kubeconfig: the path of it alone.",
)
def status(file: str | None, output: str) -> int:
    """Show each host: zone, address, state, and whether its cluster finds it ready. Exits 1 where something is not up."""
    from planeshift.lab.status import status as look

    site = open_lab(file)
    if output == "kubeconfig":
        print(site.kubeconfig)
        return Exit.DONE
    found = look(site)
    if output == "json":
        print(json.dumps(found.plain(), indent=2))
    elif output == "name":
        print("\n".join(row.name for row in found.hosts))
    else:
        cells = [[r.name, r.zone, r.address, r.cluster or "-", r.state] for r in found.hosts]
        view.table(["NAME", "ZONE", "ADDRESS", "CLUSTER", "STATE"], cells)
        for zone in (z for z, cut in found.zones.items() if cut):
            view.tell(f"zone {zone} is cut")
    return Exit.DONE if found.well else Exit.FAILED


@lab.command("exec", short_help="Run a command in a host.", context_settings={"ignore_unknown_options": True})
@_file
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[--] [COMMAND]...")
def exec_(file: str | None, host: str, command: tuple[str, ...]) -> int:
    """Run a command in a host, as its root; a shell without COMMAND. Its exit code is the command's."""
    found = machine(open_lab(file), host)
    argv = found.command(command or ("/bin/bash",))
    if term := os.environ.get("TERM"):
        argv = found.command(["env", f"TERM={term}", *(command or ("/bin/bash",))])
    sys.stdout.flush()
    os.execv(argv[0], argv)  # noqa: S606


@lab.command(short_help="Show the last log lines of a host.")
@_file
@click.argument("host")
@click.option("-n", "--lines", default=20, show_default=True, help="How many lines of each log.")
def logs(file: str | None, host: str, lines: int) -> int:
    """Show the last log lines of a host's own programs: its boot, containerd, kubelet."""
    from planeshift.lab.status import logs as read

    site = open_lab(file)
    for name, found in read(site, site.host(host), lines):
        print(view.paint(f"==> {name} <==", "bold"))
        print("\n".join(found))
    return Exit.DONE


@lab.command(short_help="Import an archive of images into every node.")
@_file
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def load(file: str | None, archive: Path) -> int:
    """Import an archive of images (OCI's or Docker's form) into the containerd of every node."""
    for node in import_image(open_lab(file), archive):
        view.tell(f"{node} has the images of {archive.name}")
    return Exit.DONE


@lab.command(short_help="End the lab; nothing is left.")
@_file
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--keep", is_flag=True, help="Keep disks and clusters for the next `lab up`.")
def down(file: str | None, yes: bool, keep: bool) -> int:
    """End every process of the lab and remove its namespaces, control groups, interface and files.

    Also after a run that was killed, and a second time on nothing.
    """
    from planeshift.lab import requirements, run

    site = open_lab(file)
    requirements.root()
    if not yes:
        what = "Its disks stay." if keep else "Its disks, and all that is on them, go."
        _confirmed(yes, f"End the lab {site.lab.name}? {what} Only `yes` is yes.")
    if not site.state.exists() and not run.left(site):
        view.tell(f"{site.lab.name} is not there. Nothing to do.")
        return Exit.DONE
    with run.lease(site):
        run.down(site, keep=keep)
    view.tell(f"{site.lab.name} is down")
    return Exit.DONE


@lab.group(short_help="Break something, to see what happens.")
def fault() -> None:
    """Break something, to see what happens. `lab up` mends everything; each fault has its own end, too."""


def _host_fault(name: str, short: str, text: str) -> None:
    """A fault that takes a host and nothing else."""

    @fault.command(name, short_help=short, help=text)
    @_file
    @click.argument("host")
    def command(file: str | None, host: str) -> int:
        from planeshift.lab import faults

        site = open_lab(file)
        getattr(faults, name.replace("-", "_"))(site, site.host(host))
        return Exit.DONE


_host_fault(
    "kill", "A host dies.", "End a host at once, as a power failure does. Its disk stays; `lab up` boots it again."
)
_host_fault("pause", "A host hangs.", "Let nothing of a host run, its connections stay open, until `resume`.")
_host_fault("resume", "Ends `pause`.", "Let a paused host go on.")
_host_fault(
    "fill", "A host's disk is full.", "Fill a host's disk to the last byte, until `empty`. It takes a `disk: SIZE`."
)
_host_fault("empty", "Ends `fill`.", "Remove what filled a host's disk.")
_host_fault("hasten", "Ends `slow`.", "Make a slow link as fast as it was.")


@fault.command(short_help="A host's link is slow.")
@_file
@click.argument("host")
@click.option("--rate", default="", metavar="RATE", help="Bandwidth, such as 1mbit.")
@click.option("--delay", default="", metavar="TIME", help="Delay, such as 100ms; takes a kernel with netem.")
@click.option("--loss", default="", metavar="PERCENT", help="Loss, such as 2%; takes a kernel with netem.")
def slow(file: str | None, host: str, rate: str, delay: str, loss: str) -> int:
    """Make what a host is sent slow or lossy, until `hasten`."""
    from planeshift.lab import faults

    if not (rate or delay or loss):
        raise click.UsageError("Say how: --rate, --delay or --loss.")
    site = open_lab(file)
    faults.slow(site, site.host(host), rate=rate, delay=delay, loss=loss)
    return Exit.DONE


@fault.command(short_help="A zone is cut off.")
@_file
@click.argument("zone")
def cut(file: str | None, zone: str) -> int:
    """Cut a zone off from the other zones and from this machine, until `mend`; its hosts still reach each other."""
    from planeshift.lab import faults

    faults.cut(open_lab(file), zone)
    return Exit.DONE


@fault.command(short_help="Ends `cut`.")
@_file
@click.argument("zone")
def mend(file: str | None, zone: str) -> int:
    """Join a zone to the others again."""
    from planeshift.lab import faults

    faults.mend(open_lab(file), zone)
    return Exit.DONE


class Progress:
    """A line for each step that ends; on a terminal also what is being done."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.running: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        name = event.step.summary
        if event.what == "begin":
            self.running[event.step.id] = name
        elif event.what == "line":
            self.running[event.step.id] = f"{name}: {event.text}"
        else:
            self.running.pop(event.step.id, None)
            good = event.what == "end"
            mark = view.paint("done", "green", sys.stderr) if good else view.paint("FAILED", "red", sys.stderr)
            self.clear()
            view.tell(f"{event.done:>3}/{event.total} {mark} {name} ({event.seconds:.1f} s)")
        self.bar()

    def clear(self) -> None:
        if self.live:
            sys.stderr.write("\r\x1b[2K")

    def bar(self) -> None:
        if not self.live or not self.running:
            return
        self.clear()
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
        sys.stderr.write(next(reversed(self.running.values()))[: columns - 1])
        sys.stderr.flush()
