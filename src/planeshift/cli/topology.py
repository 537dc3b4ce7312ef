"""whatif, capacity."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from planeshift.app.site import open_site
from planeshift.cli import view
from planeshift.cli.root import file_option
from planeshift.errors import Exit
from planeshift.model.cloud import Cloud
from planeshift.topology import coldstart
from planeshift.topology import whatif as loss
from planeshift.topology.capacity import Assumptions, Capacity, Total
from planeshift.topology.capacity import capacity as compare
from planeshift.topology.needs import needs

_OUTPUT = click.Choice(["table", "wide", "json"])
_COLOURS = {"fewer": "yellow", "impaired": "yellow", "no quorum": "red", "down": "red"}


@click.command(short_help="Say what a loss takes: a zone, a host, a cell, a cluster, …")
@click.option(
    "--without",
    "lost",
    multiple=True,
    metavar="KIND:NAME",
    help="What is lost; may be given several times. `power`: all at once, and how it starts again.",
)
@file_option
@click.option("-o", "--output", type=_OUTPUT, default="table", help="How to print it; wide: every backend.")
def whatif(lost: tuple[str, ...], file: str | None, output: str) -> int:
    """Say which services lose replicas, quorum or capacity when something is gone.

    \b
      planeshift whatif --without zone:A
      planeshift whatif --without host:db1 --without edge:lb1
      planeshift whatif --without power         the order in which the cloud starts again

    KIND is zone, host, node (node:CLUSTER/NAME), cell, cluster, edge, database, messaging or cache.
    AFTER counts at the moment of the loss, at the worst; LATER, once clusters have started lost pods
    elsewhere. It is worked out from the cloud file: no host is asked, nothing is changed.
    """
    site = open_site(file)
    if not lost:
        raise click.UsageError(f"--without says what is lost: {', '.join(loss.names(site.cloud)[:8])}, …, or power.")
    if "power" in lost:
        return _power(site.cloud, output)
    found = loss.without(site.cloud, lost)
    if output == "json":
        print(json.dumps(asdict(found), indent=2))
        return Exit.DONE
    gone = f"{len(found.machines)} machine{'s' * (len(found.machines) != 1)}"
    print(f"Without {', '.join(found.without)}: {gone} gone.\n")
    wide = output == "wide"
    rows = [r for r in found.rows if wide or not r.thing.startswith(("run:", "component:"))]
    touched = [r for r in rows if wide or r.verdict != "as before"]
    if touched:
        view.table(
            ["WHAT", "VERDICT", "BEFORE", "AFTER", "LATER", "WHY"],
            [[r.thing, r.verdict, str(r.before), str(r.after), str(r.later), r.why] for r in touched],
        )
    same = len(rows) - len(touched)
    if same:
        print(f"{chr(10) if touched else ''}As before: {same} of {len(rows)}.")
    for note in found.notes:
        print(f"Note: {note}.")
    return Exit.DONE


def _power(cloud: Cloud, output: str) -> int:
    found = coldstart.cold_start(needs(cloud))
    if output == "json":
        print(json.dumps(asdict(found), indent=2))
        return Exit.DONE
    print(f"{cloud.metadata.name} starts in this order once everything was off:\n")
    for line in coldstart.order(found):
        print(f"  {line}")
    if found.loop:
        print(f"\nBy hand, since {' waits for '.join(map(coldstart.told, found.loop))}.")
    return Exit.DONE


@click.command(short_help="Compare the control plane as virtual machines and as pods.")
@file_option
@click.option("--measured", is_flag=True, help="Take memory from what runs on this machine now.")
@click.option("--load", default=25, show_default=True, type=click.IntRange(1, 100), help="Percent of their busiest.")
@click.option("--system", default=512, show_default=True, help="MiB that a virtual machine needs for itself.")
@click.option("--node", default=1024, show_default=True, help="MiB that a Kubernetes node needs for itself.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How to print it.")
def capacity(file: str | None, measured: bool, load: int, system: int, node: int, output: str) -> int:
    """Compare what the control plane asks for as one virtual machine a component, and as pods.

    A virtual machine has the cores that its component keeps busy at most, and memory in powers of two
    GiB. Pods share nodes: of the size that the file gives them, else 8 cores and 16 GiB. Memory is
    measured: the catalogue says how (-o json), or this machine, with --measured.
    """
    site = open_site(file)
    use = None
    if measured:
        from planeshift.app.topology import measured as ask

        use = ask(site)
    found = compare(site.cloud, Assumptions(system=system, node=node, load=load), use)
    if output == "json":
        print(json.dumps(asdict(found), indent=2))
    else:
        _capacity(found)
    return Exit.DONE


def _capacity(found: Capacity) -> None:
    header = ["SERVICE", "COMPONENT", "COUNT", "WORKERS", "VM CORES", "VM MEMORY", "POD CORES", "POD MEMORY"]
    view.table(
        header,
        [
            [
                *(a.service, a.component, str(a.count), str(a.workers), str(a.vm_cores), _memory(a.vm_memory)),
                *(f"{a.pod_cores:g}", _memory(a.pod_memory)),
            ]
            for a in found.asks
        ],
    )
    print()
    view.table(
        ["AS", "MACHINES", "CORES", "MEMORY", "CORES USED", "MEMORY USED"],
        [_total("one VM a component", found.vms), _total("pods", found.pods)],
    )
    if found.unmeasured:
        print(f"\nNobody has measured {', '.join(found.unmeasured)}: not counted.")


def _total(name: str, total: Total) -> list[str]:
    shares = [
        f"{part:g} ({100 * part / whole:.0f} %)" if whole else "0"
        for part, whole in ((total.used_cores, total.cores), (round(total.used_memory / 1024, 1), total.memory / 1024))
    ]
    cores, memory = shares
    return [name, str(total.machines), str(total.cores), _memory(total.memory), cores, memory.replace(" (", " GiB (")]


def _memory(mebibytes: int) -> str:
    return f"{mebibytes / 1024:g} GiB" if mebibytes % 1024 == 0 else f"{mebibytes} MiB"
