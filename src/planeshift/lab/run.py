"""Carry a plan out: each step as soon as what it needs is done, several at once. Killed anywhere, the next run goes on."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from planeshift.drivers import files
from planeshift.errors import PlaneshiftError, Problem
from planeshift.lab import cgroups, cluster, disk, faults, host, images, network, processes, requirements, servers
from planeshift.lab.observe import missing_tools, observe
from planeshift.lab.plan import Step, plan
from planeshift.lab.processes import Init
from planeshift.lab.site import Site
from planeshift.lab.topology import Host
from planeshift.tools import pins
from planeshift.tools.build import Progress, build
from planeshift.tools.places import built, cache, locate

PARALLEL = 8


@dataclass(frozen=True)
class Event:
    """A step begins, says something, ends or fails."""

    step: Step
    what: Literal["begin", "line", "end", "fail"]
    text: str = ""
    seconds: float = 0.0
    done: int = 0
    total: int = 0


Tell = Callable[[Event], None]


@contextmanager
def lease(site: Site) -> Iterator[None]:
    """Be the only one who changes this lab. Raises PlaneshiftError (PS449); a dead run's lease is free."""
    files.private(site.state.parent)
    files.private(site.state)
    ignore = site.state.parent / ".gitignore"
    if not ignore.exists():
        files.write(ignore, b"*\n")
    with (site.state / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PlaneshiftError(Problem("PS449", f"somebody else is changing the lab {site.lab.name}")) from error
        yield


def look(site: Site) -> list[Step]:
    """What has to be done so that the lab is as declared. Raises PlaneshiftError where this machine cannot have it."""
    requirements.check(site.lab, site.state)
    network.refuse_overlap(site.lab)
    return plan(site.lab, observe(site), images.key() if site.lab.clusters else "")


def up(site: Site, steps: Sequence[Step], tell: Tell) -> None:
    """Carry out the steps. Raises PlaneshiftError with what failed; nothing that waits for it is begun then."""
    _Run(site, steps, tell).all()


class _Run:
    def __init__(self, site: Site, steps: Sequence[Step], tell: Tell) -> None:
        self.site, self.steps, self.tell = site, steps, tell
        self.inits = processes.inits(site.state)
        self.lock = threading.Lock()
        self.importing = threading.Semaphore(2)
        self.done: set[str] = set()

    def all(self) -> None:
        problems: list[Problem] = []
        waiting = list(self.steps)
        running: dict[Future[None], Step] = {}
        with ThreadPoolExecutor(PARALLEL) as pool:
            while waiting or running:
                for step in [s for s in waiting if set(s.needs) <= self.done and not problems]:
                    waiting.remove(step)
                    running[pool.submit(self.one, step)] = step
                if not running:
                    break
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    step = running.pop(future)
                    try:
                        future.result()
                        self.done.add(step.id)
                    except PlaneshiftError as error:
                        problems += error.problems
        if problems:
            raise PlaneshiftError(problems)

    def one(self, step: Step) -> None:
        started = time.monotonic()
        self.say(step, "begin")
        try:
            getattr(self, f"do_{step.kind.replace('import', 'images_of')}")(step)
        except BaseException:
            self.say(step, "fail", seconds=time.monotonic() - started)
            raise
        self.say(step, "end", seconds=time.monotonic() - started, ended=1)

    def say(
        self,
        step: Step,
        what: Literal["begin", "line", "end", "fail"],
        text: str = "",
        seconds: float = 0.0,
        ended: int = 0,
    ) -> None:
        with self.lock:
            self.tell(Event(step, what, text, seconds, len(self.done) + ended, len(self.steps)))

    def lines(self, step: Step) -> Callable[[str], None]:
        return lambda line: self.say(step, "line", line)

    # --- what is named

    def host(self, step: Step) -> Host:
        return self.site.host(step.subject)

    def first(self) -> Init:
        return self.inits[""]

    # --- the machine

    def do_tools(self, step: Step) -> None:
        def tell(progress: Progress) -> None:
            self.say(step, "line", f"{progress.tool.name}: {progress.text or progress.what}")

        build([pins()[name] for name in missing_tools(self.site.lab)], tell)

    def do_images(self, step: Step) -> None:
        images.make()

    def do_lab(self, step: Step) -> None:
        for init in self.inits.values():  # hosts cannot live without it; what is left is about to end
            processes.end(init.pid, init.started)
        network.remove(self.site.lab)
        self.inits = {"": host.start_lab(self.site.state, self.site.lab)}

    def do_network(self, step: Step) -> None:
        network.make(self.site.lab, self.first().pid)

    def do_mend(self, step: Step) -> None:
        faults.mend(self.site, step.subject)

    def do_remove(self, step: Step) -> None:
        gone = Host(step.subject, 0, "", "")
        self.erase(gone)

    # --- hosts

    def erase(self, gone: Host) -> None:
        cgroups.thaw(self.site.lab.id, gone.name)
        if init := self.inits.pop(gone.name, None):
            host.kill(self.site.state, self.site.lab, init)
        cgroups.remove(self.site.lab.id, gone.name)
        disk.remove(self.site.state, gone)

    def do_erase(self, step: Step) -> None:
        gone = self.host(step)
        self.erase(gone)
        if gone.cluster and not gone.leads:
            cluster.forget(self.site, gone)

    def do_boot(self, step: Step) -> None:
        booting = self.host(step)
        programs = {}
        if booting.cluster:
            for name in ("kubeadm", "kubelet"):
                programs[name] = str(built(pins()[name]).relative_to(cache()))
            kubectl = locate(pins()["kubectl"])
            if kubectl and kubectl.source == "cache":
                programs["kubectl"] = str(kubectl.path.relative_to(cache()))
        if booting.runs.s3:
            programs["versitygw"] = str(built(pins()["versitygw"]).relative_to(cache()))
        self.inits[booting.name] = host.boot(self.site.state, self.site.lab, booting, self.first(), programs)

    def do_connect(self, step: Step) -> None:
        connecting = self.host(step)
        network.connect(self.site.lab, connecting, self.first().pid, self.inits[connecting.name].pid)

    def do_resume(self, step: Step) -> None:
        faults.resume(self.site, self.host(step))

    def do_hasten(self, step: Step) -> None:
        faults.hasten(self.site, self.host(step))

    def do_empty(self, step: Step) -> None:
        faults.empty(self.site, self.host(step))

    def do_images_of(self, step: Step) -> None:
        node = self.host(step)
        found = images.archives()
        with self.importing:
            cluster.import_images(self.site, node, self.inits[node.name], found.node)
            if node.leads:
                cluster.import_images(self.site, node, self.inits[node.name], found.control_plane)
        files.write(disk.directory(self.site.state, node) / "images", images.key().encode())

    def do_serve(self, step: Step) -> None:
        machine = self.host(step)
        servers.prepare(self.site, machine, self.inits[machine.name], self.lines(step))
        files.write(disk.directory(self.site.state, machine) / "served", " ".join(machine.runs.names).encode())

    # --- clusters

    def do_init(self, step: Step) -> None:
        leader = self.site.lab.leader(step.subject)
        cluster.make(self.site, leader, self.inits[leader.name], self.lines(step))

    def do_join(self, step: Step) -> None:
        node = self.host(step)
        leader = self.inits[self.site.lab.leader(node.cluster).name]
        cluster.join(self.site, node, self.inits[node.name], leader, self.lines(step))

    def do_storage(self, step: Step) -> None:
        cluster.storage(self.site, step.subject, self.lines(step))

    def do_wait(self, step: Step) -> None:
        cluster.wait(self.site, step.subject, self.lines(step))


def left(site: Site) -> bool:
    """Whether anything of the lab is left but its files."""
    stray = bool(processes.stray(site.state))
    return stray or cgroups.there(site.lab.id) or site.lab.interface in network.links()


def down(site: Site, *, keep: bool = False) -> None:
    """End the lab and remove all of it; with `keep`, its disks and state stay for the next `up`.

    Works on whatever an interrupted run left, and a second time on nothing. Raises PlaneshiftError (PS442).
    """
    cgroups.thaw(site.lab.id, "")
    found = processes.inits(site.state)
    for init in sorted(found.values(), key=lambda i: i.nested):  # the lab's own first: the others end with it
        processes.end(init.pid, init.started)
    for pid in processes.stray(site.state):
        processes.end_any(pid)
    cgroups.remove(site.lab.id)
    network.remove(site.lab)
    if not keep:
        disk.remove_state(site.state)
