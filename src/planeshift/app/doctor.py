"""What this machine and this cloud look like, for a person in trouble and for whoever helps."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from planeshift import __version__
from planeshift.app.compose import ssh_hosts
from planeshift.app.compose import world as compose
from planeshift.app.site import Site, open_site, runtime, shown
from planeshift.errors import PlaneshiftError

PACKAGES = {"haproxy": "haproxy"}  # program → Debian package, of what planeshift cannot do without
OPTIONAL = {"mariadb-dump": "mariadb-client", "memcached": "memcached", "apache2": "apache2-bin"}


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `bad` must be mended, `look` may be."""

    mark: Literal["ok", "look", "bad"]
    what: str
    says: str
    hint: str = ""


def examine(file: str | None) -> list[Finding]:
    """Every finding; raises nothing."""
    return [*_machine(), *_programs(), *_cloud(file)]


def _machine() -> Iterator[Finding]:
    yield Finding("ok", "planeshift", f"{__version__}, Python {platform.python_version()}")
    yield Finding("ok", "system", f"{_distribution()}, Linux {platform.release()}, {os.cpu_count()} cores")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield Finding("ok" if memory > 3 else "look", "memory", f"{memory:.1f} GiB")
    free = shutil.disk_usage(".").free / 2**30
    hint = "A cloud's programs take about 1.5 GiB." if free < 3 else ""
    yield Finding("ok" if free > 3 else "look", "disk", f"{free:.1f} GiB free here", hint)
    if os.getuid() == 0:
        yield Finding("look", "user", "root", "Services run as the user who runs planeshift: root is for trials.")


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _programs() -> Iterator[Finding]:
    for program, package in PACKAGES.items():
        path = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin:" + os.environ.get("PATH", ""))
        if path:
            yield Finding("ok", program, _version(path))
        else:
            yield Finding("bad", program, "not installed", f"apt-get install {package}")
    for program, package in OPTIONAL.items():
        path = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin:" + os.environ.get("PATH", ""))
        yield Finding("ok", program, path or f"not installed (optional: apt-get install {package})")
    from uv import find_uv_bin

    yield Finding("ok", "uv", _version(find_uv_bin()))


def _version(program: str) -> str:
    flag = "--version" if program.endswith("uv") else "-v"
    done = subprocess.run([program, flag], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    lines = (done.stdout or done.stderr).strip().splitlines()
    return f"{sys.intern(lines[0])[:80]}" if lines else program


def _cloud(file: str | None) -> Iterator[Finding]:
    try:
        site = open_site(file)
    except PlaneshiftError as error:
        for problem in error.problems[:10]:
            yield Finding("look" if problem.code == "PS105" else "bad", "cloud", str(problem), problem.hint)
        return
    yield Finding("ok", "cloud", f"{shown(site.path)}: {site.cloud.metadata.name}, {len(site.warnings)} warnings")
    yield Finding("ok", "runtime directory", str(runtime(site.path)))
    yield from _hosts(site)
    yield from _secrets(site)
    yield from _control(site)


def _hosts(site: Site) -> Iterator[Finding]:
    """Those that are reached by ssh, all at once."""
    with ThreadPoolExecutor(16) as pool:
        for host, looked in [(h, pool.submit(h.look)) for h in ssh_hosts(site)]:
            try:
                facts = looked.result()
            except PlaneshiftError as error:
                problem = error.problems[0]
                says = f"{problem}: {(problem.why.splitlines() or [''])[-1]}".rstrip(": ")
                yield Finding("bad", host.name, says, problem.hint)
                continue
            free = int(facts["free"]) / 1024
            says = f"{host.client.user}@{host.client.host}: {facts['system']}, {facts['machine']}, "
            says += f"Python {facts['version']}, {host.paths.supervisor}, {free:.1f} GiB free"
            hint = "" if free > 1 else f"A service's programs take about 0.3 GiB below {host.directory}."
            yield Finding("ok" if free > 1 else "look", host.name, says, hint)
            host.close()


def _secrets(site: Site) -> Iterator[Finding]:
    try:
        world = compose(site)
        world.refresh()
    except PlaneshiftError as error:
        yield Finding("bad", "secrets", str(error.problems[0]), error.problems[0].hint)
        return
    for name, file in world.desired.secrets.items():
        there = world.secret_names(name)
        vital = [s.name for s in file.secrets if s.backup and s.name in there]
        if vital:
            hint = f"Keep a copy of {file.path} elsewhere: without {', '.join(vital)} what is encrypted is lost."
            yield Finding("look", f"secrets of {name}", f"{len(there)} in {file.path}", hint)


def _control(site: Site) -> Iterator[Finding]:
    left = compose(site).control.unfinished()
    if left:
        hint = "`planeshift up` goes on from there."
        yield Finding("look", "journal", f"a run of {left.get('who')} did not end", hint)
