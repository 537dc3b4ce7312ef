"""check, render, explain."""

from __future__ import annotations

import json
from pathlib import Path

import click

from planeshift.app.rendering import rendered, with_defaults
from planeshift.app.site import open_site
from planeshift.cli import view
from planeshift.cli.root import file_option
from planeshift.errors import CODES, Exit, PlaneshiftError, Problem
from planeshift.topology import coldstart


@click.command(short_help="Find every mistake in the cloud file and configuration.")
@file_option
def check(file: str | None) -> int:
    """Find every mistake in the cloud file and in the services' own configuration, at once.

    Each option of the operator's oslo.config files is compared with what that release of the service
    really knows. A control plane that runs on servers of its own cloud, and could not start again after
    a loss of power, is warned of, with the order that starts it. Asks no host; changes nothing.
    """
    site = open_site(file)
    view.problems([*site.warnings, *coldstart.check(site.loaded)])
    services = site.cloud.spec.services
    words = f"{len(services)} services, {len(site.tree)} configuration files"
    print(f"{site.loaded.document.file}: {site.cloud.metadata.name} is right ({words}).")
    return Exit.DONE


@click.command(short_help="Print the cloud with all defaults, or the files it becomes.")
@click.argument("kind", type=click.Choice(["cloud", "files"]), default="cloud")
@file_option
@click.option("-d", "--directory", type=click.Path(file_okay=False), help="Write every rendered file below it.")
def render(kind: str, file: str | None, directory: str | None) -> int:
    """Print the cloud with all its defaults (cloud), or the files that it becomes (files).

    With -d every file is written as it would be laid out; secrets are shown as ***.
    """
    site = open_site(file)
    view.problems(site.warnings)
    if kind == "cloud" and directory is None:
        import yaml

        print(yaml.safe_dump(with_defaults(site), sort_keys=False, allow_unicode=True), end="")
        return Exit.DONE
    for path, content in rendered(site).items():
        if directory is None:
            print(view.paint(f"==> {path} <==", "bold"))
            print(content)
        else:
            target = Path(directory) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, "utf-8")
    if directory is not None:
        print(f"written below {directory}")
    return Exit.DONE


@click.command(short_help="Explain a problem code, or list them all.")
@click.argument("code", required=False)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
def explain(code: str | None, output: str) -> int:
    """Explain a problem code, or list them all.

    \b
      planeshift explain PS202
    """
    if code is None:
        if output == "json":
            print(json.dumps({c: {"title": t, "text": x} for c, (t, x) in CODES.items()}, indent=2))
        else:
            view.table(["CODE", "MEANS"], [[c, title] for c, (title, _) in CODES.items()])
        return Exit.DONE
    found = CODES.get(code.upper())
    if found is None:
        hint = "`planeshift explain` lists all codes."
        raise PlaneshiftError(Problem("PS105", f"there is no code {code[:40]!r}", hint=hint), exit_code=Exit.USAGE)
    print(f"{view.paint(code.upper(), 'bold')}: {found[0]}\n\n{click.wrap_text(found[1], 90)}")
    return Exit.DONE
