"""chart list, diff, mirror, gc."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from planeshift.app import charts as app
from planeshift.cli import view
from planeshift.cli.chart import connected, repository_options
from planeshift.errors import Exit, PlaneshiftError, Problem

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("list", short_help="List charts, or a chart's versions.")
@click.argument("name", required=False)
@click.option("-o", "--output", type=click.Choice(["table", "json", "name"]), default="table", help="How to print it.")
@repository_options
def list_(name: str | None, output: str, **options: Any) -> int:
    """List the charts of a repository with their newest versions, or all versions of one chart."""
    remote = connected(options)
    with app.telling():
        if name is not None:
            offers = list(remote.versions(name))
            if not offers:
                raise PlaneshiftError(Problem("PS434", f"{remote.url} has no {name}"))
        else:
            offers = [found[0] for n in remote.charts() if (found := remote.versions(n))]
    if output == "json":
        rows = [
            {
                "name": o.name,
                "version": o.version,
                "appVersion": o.app_version,
                "digest": o.digest,
                "created": o.created,
            }
            for o in offers
        ]
        print(json.dumps(rows, indent=2))
    elif output == "name":
        print("".join(f"{o.name} {o.version}\n" for o in offers), end="")
    else:
        cells = [[o.name, o.version, o.app_version or "-", o.created[:10] or "-", o.description[:60]] for o in offers]
        view.table(["NAME", "VERSION", "APP", "CREATED", "DESCRIPTION"], cells)
    return Exit.DONE


@click.command(short_help="Compare what two versions of a chart render.")
@click.argument("old")
@click.argument("new")
@click.option("--values", "-v", multiple=True, type=_FILE, help="Values file, for both; may be given again.")
@click.option("--release", default="release", show_default=True, help="Name of the release.")
@click.option("--namespace", default="default", show_default=True, help="Namespace of the release.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 where they differ.")
@repository_options
def diff(
    old: str, new: str, values: tuple[Path, ...], release: str, namespace: str, detailed_exitcode: bool, **options: Any
) -> int:
    """Compare the Kubernetes objects of two versions, object by object, with the same values.

    OLD and NEW are archives on disk, or NAME@VERSION of the repository. What is in Secrets is hidden.

    \b
      planeshift chart diff heat@1.0.0 heat@1.1.0 --values values.yaml
    """
    from planeshift.charts import compare

    program = app.helm()
    rendered = []
    for given in (old, new):
        if Path(given).is_file():
            data = Path(given).read_bytes()
        elif "@" in given:
            remote = connected(options)
            name, _, version = given.partition("@")
            with app.telling():
                data = remote.fetch(app.pick(remote, name, version))
        else:
            raise click.UsageError(f"{given} is neither a file nor NAME@VERSION.")
        with app.telling():
            rendered.append(compare.render(program, data, values, release, namespace))
    lines = compare.difference(*rendered)
    colours = {"+": "green", "-": "red", "~": "yellow"}
    for line in lines:
        mark = line.lstrip()[:1] if line[:4].strip() or line[4:5] in "+-" else ""
        print(view.paint(line, colours[mark]) if mark in colours else line)
    if not lines:
        view.tell("nothing differs")
    return Exit.CHANGES_PENDING if lines and detailed_exitcode else Exit.DONE


@click.command(short_help="Copy charts of others into a repository of ours.")
@click.argument("source", metavar="URL")
@click.option(
    "--chart", "charts", multiple=True, metavar="NAME[@RANGE]", help="What to copy; may be given again. Default: all."
)
@click.option("--newest", default=0, metavar="N", help="Only the newest N versions of each; default: all.")
@click.option("--lock", type=click.Path(dir_okay=False, path_type=Path), default=Path("charts.lock"), show_default=True)
@click.option("--frozen", is_flag=True, help="Copy exactly what the lock file says.")
@click.option("--source-username", help="Who we are at the source.")
@click.option("--source-password-file", type=_FILE, help="Holds the password there.")
@repository_options
def mirror(
    source: str,
    charts: tuple[str, ...],
    newest: int,
    lock: Path,
    frozen: bool,
    source_username: str | None,
    source_password_file: Path | None,
    **options: Any,
) -> int:
    """Copy charts from another repository (https://…, oci://…) into ours: what is not there yet, provenance included.

    Each archive's digest is kept in a lock file: what upstream changes under the same version is noticed and not
    taken. A run that was cut off is gone on with by the next one. A registry without a catalogue needs --chart.

    \b
      planeshift chart mirror https://charts.example.org --chart heat --chart 'mariadb@^11' --newest 3
    """
    from planeshift.charts import mirror as mirroring

    target = connected(options)
    ca = str(options["ca_file"]) if options["ca_file"] else None
    upstream = app.anonymous(source.rstrip("/"), ca)
    if source_username is not None:
        upstream = app.connect(source.rstrip("/"), source_username, source_password_file, token=False, ca=ca)
    known = mirroring.Lock.parse(lock.read_text("utf-8"), str(lock)) if lock.is_file() else mirroring.Lock()
    if frozen and not lock.is_file():
        raise PlaneshiftError(Problem("PS437", f"there is no lock file {lock}"))
    wanted = {n: v for n, _, v in (c.partition("@") for c in charts)}
    job = mirroring.Job(upstream, target, wanted, newest, frozen)
    with app.telling():
        report = mirroring.mirror(
            job, known, lambda: app.save(lock, known.text()), lambda line: view.tell(f"copied {line}")
        )
    app.save(lock, known.text())
    view.problems(report.problems)
    view.tell(f"{len(report.copied)} copied, {report.present} there already; {lock} says what")
    return Exit.FAILED if report.problems else Exit.DONE


@click.command(short_help="Delete versions that a retention rule does not keep.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--releases", default=10, show_default=True, type=click.IntRange(1), help="Newest releases of each that stay."
)
@click.option(
    "--prereleases", default=3, show_default=True, type=click.IntRange(0), help="Newest pre-releases that stay."
)
@click.option("--days", default=30, show_default=True, type=click.IntRange(0), help="What is younger stays.")
@click.option("--lock", multiple=True, type=_FILE, help="What a lock file names stays; may be given again.")
@click.option("--yes", is_flag=True, help="Delete them; without it, they are only shown.")
@repository_options
def gc(
    names: tuple[str, ...],
    releases: int,
    prereleases: int,
    days: int,
    lock: tuple[Path, ...],
    yes: bool,
    **options: Any,
) -> int:
    """Show the versions that nothing keeps, and delete them with --yes. What a rule, a lock or its youth keeps stays.

    Registries tell no dates, and what has no date is young: of an oci:// repository nothing goes.
    """
    from planeshift.charts import mirror as mirroring
    from planeshift.charts.retention import Retention, superfluous

    remote = connected(options)
    pins = [mirroring.Lock.parse(p.read_text("utf-8"), str(p)).pins() for p in lock]
    rule = Retention(releases, prereleases, days, frozenset().union(*pins))
    with app.telling():
        offers = [o for n in (names or remote.charts()) for o in remote.versions(n)]
        old = superfluous(offers, rule, app.now())
        for offer in old:
            if yes:
                remote.delete(offer.name, offer.version)
            print(
                f"{'deleted' if yes else 'would delete'} {offer.name} {offer.version} ({offer.created[:10] or 'no date'})"
            )
    left = len(offers) - len(old)
    view.tell(f"{len(old)} of {len(offers)} versions {'deleted' if yes else 'are superfluous'}, {left} stay")
    if old and not yes:
        view.tell("Next: the same with --yes")
    sys.stdout.flush()
    return Exit.DONE
