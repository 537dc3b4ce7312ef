"""image: build, list, inspect, push, pull, load, lock, remove, prune."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from planeshift.app import images as app
from planeshift.app.unchanged import remember
from planeshift.cli import view
from planeshift.errors import Exit

_PLAIN = click.option("--plain-http", is_flag=True, help="Speak to the registry without TLS.")


@click.group(short_help="OCI images of services, made without a daemon.")
def image() -> None:
    """OCI images of services, made without a daemon; the same inputs give the same digest on any machine.

    \b
      planeshift image build keystone glance
      planeshift image build glance --patches patches/glance --push registry.example.org/cloud/glance:2026.2
      planeshift image build glance --from base.tar --ref stable/2026.2 --source ../glance
      planeshift image load keystone glance          into this machine's containerd, for Kubernetes
      planeshift image list

    Laid out as LOCI's images are: the service in /var/lib/openstack, run as uid 42424, so stock charts take them.
    """


@image.command("build", short_help="Build images of services.")
@click.argument("services", nargs=-1, required=True, metavar="SERVICE...")
@click.option("--release", default="", metavar="SERIES", help="OpenStack series (default: the newest in the catalog).")
@click.option(
    "--from", "base", default="", metavar="IMAGE", help="Build upon an image: registry name, layout or archive."
)
@click.option("--dist-packages", "dist", default="", metavar="A,B", help="Distribution packages to add.")
@click.option("--lock", default="", metavar="FILE", help="Distribution packages as `image lock` locked them.")
@click.option("--source", default="", metavar="DIR|URL", help="The service's code: a directory or a git repository.")
@click.option("--ref", default="", help="Tag, branch or commit of --source; without --source, a version on the index.")
@click.option("--wheels", default="", metavar="DIR", help="Install from this wheelhouse alone.")
@click.option("--patches", default="", metavar="DIR", help="The site's patches, applied in order; each must fit.")
@click.option(
    "-f", "--file", "cloud", default="", metavar="FILE", help="A cloud file whose extras for the service apply."
)
@click.option("--name", default="", metavar="NAME:TAG", help="Name of the image (default: by service and series).")
@click.option("--output", metavar="FILE.tar", help="Write an archive: an OCI layout, which Docker loads, too.")
@click.option("--push", "target", metavar="REF", help="Bring the image to a registry.")
@click.option("--no-cache", is_flag=True, help="Build every layer anew, the base too.")
@_PLAIN
def build_(
    services: tuple[str, ...], dist: str, output: str | None, target: str | None, no_cache: bool, **given: Any
) -> int:
    """Build an image of each service, and print its name and digest; what did not change is not built again.

    Without --from the base is a minimal Debian of locked packages, which takes mmdebstrap. See docs/images.md.
    """
    if len(services) > 1 and (given["name"] or target):
        raise click.UsageError("--name and --push are for one service.")
    packages = tuple(part for part in dist.split(",") if part)
    requests = [app.Request(service=service, dist=packages, **given) for service in services]
    built = [app.build(request, _step, fresh=no_cache) for request in requests]
    kept = app.kept()
    if output:
        kept.store.export([found.name for found in built], Path(output))
    printed = "".join(f"{found.name}@{found.digest}\n" for found in built)
    if target:
        printed += app.push(built[0], kept, target, _step, plain_http=given["plain_http"]) + "\n"
    elif not no_cache and not any(request.moves for request in requests):
        depended = [path for request in requests for path in app.inputs(request, os.environ)]
        remember(sys.argv[1:], os.environ, [*depended, *filter(None, [output])], printed)
    print(printed, end="")
    return Exit.DONE


@image.command("list", short_help="Show the images that are kept here.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "name"]), default="table", help="How to print it.")
def list_(output: str) -> int:
    """Show the images that were built or pulled here."""
    store = app.kept().store
    found = [store.image(name) for name in store.named() if not name.startswith(app.FROM)]
    if output == "json":
        print(json.dumps([_row(i) for i in found], indent=2))
    elif output == "name":
        print("".join(f"{i.name}\n" for i in found), end="")
    else:
        cells = [[i.name, i.digest[7:19], f"{i.size / 1e6:.0f} MB", str(len(i.layers)), _version(i)] for i in found]
        view.table(["NAME", "DIGEST", "SIZE", "LAYERS", "VERSION"], cells)
    return Exit.DONE


@image.command(short_help="Show what an image is made of.")
@click.argument("name")
@click.option("-o", "--output", type=click.Choice(["text", "json", "config", "manifest", "spdx"]), default="text")
def inspect(name: str, output: str) -> int:
    """Show what an image is made of: its layers, its inputs, how it runs.

    -o spdx prints its SBOM: every package, every file, and where each came from.
    """
    kept = app.kept()
    found = app.named(kept.store, name)
    if output == "spdx":
        sys.stdout.write(app.sbom(found, kept).decode())
    elif output in ("config", "manifest"):
        print(json.dumps(found.config if output == "config" else found.manifest, indent=2, ensure_ascii=False))
    elif output == "json":
        print(json.dumps({**_row(found), "labels": dict(found.labels)}, indent=2))
    else:
        run = found.config.get("config") or {}
        print(f"{view.paint(found.name, 'bold')}\n  digest   {found.digest}\n  user     {run.get('User', '')}")
        for label, value in sorted(found.labels.items()):
            print(f"  {label.removeprefix('org.opencontainers.image.')}: {value}")
        print("  layers")
        for layer in found.layers:
            print(f"    {layer.descriptor.digest[7:19]}  {layer.descriptor.size / 1e6:7.1f} MB  {layer.created_by}")
    return Exit.DONE


@image.command(short_help="Bring an image to a registry.")
@click.argument("name")
@click.argument("target", metavar="REF")
@_PLAIN
def push(name: str, target: str, plain_http: bool) -> int:
    """Bring an image to a registry, its SBOM with it. What is there is not sent again; after a failure, run it again."""
    kept = app.kept()
    print(app.push(app.named(kept.store, name), kept, target, _step, plain_http=plain_http))
    return Exit.DONE


@image.command(short_help="Fetch an image from a registry.")
@click.argument("name", metavar="REF")
@_PLAIN
def pull(name: str, plain_http: bool) -> int:
    """Fetch an image from a registry, each blob proved by its digest."""
    found = app.pull(name, app.kept(), _step, plain_http=plain_http)
    print(f"{found.name}@{found.digest}")
    return Exit.DONE


@image.command(short_help="Hand images to containerd.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--namespace", default="k8s.io", show_default=True, help="containerd's namespace; Kubernetes' by default."
)
@click.option("--address", default="/run/containerd/containerd.sock", show_default=True, help="containerd's socket.")
def load(names: tuple[str, ...], namespace: str, address: str) -> int:
    """Hand images to this machine's containerd, so that its Kubernetes needs no registry for them."""
    from planeshift.images import containerd

    store = app.kept().store
    found = [app.named(store, name) for name in names]
    containerd.load(store, [i.name for i in found], namespace=namespace, address=address)
    print("".join(f"{i.name}@{i.digest}\n" for i in found), end="")
    return Exit.DONE


@image.command(short_help="Lock distribution packages.")
@click.option("--dist-packages", "dist", default="", metavar="A,B", help="Packages beyond those that every image has.")
@click.option("--output", required=True, metavar="FILE", help="Where to write the lock.")
def lock(dist: str, output: str) -> int:
    """Lock the distribution packages that this machine's apt has today, by hash, for `image build --lock FILE`.

    Run `apt-get update` first. Keep the file in git: with it the base is the same on every machine.
    """
    found = app.lock_packages(tuple(part for part in dist.split(",") if part), Path(output))
    view.tell(f"{len(found.packages)} packages of {found.suite} for {found.architecture}")
    print(output)
    return Exit.DONE


@image.command(short_help="Forget images.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def remove(names: tuple[str, ...]) -> int:
    """Forget images; `prune` then frees what no other image has."""
    store = app.kept().store
    for name in [app.named(store, name).name for name in names]:
        store.forget(name)
        print(name)
    return Exit.DONE


@image.command(short_help="Free what no image needs.")
def prune() -> int:
    """Free what no named image needs. Bases of locked packages stay, since the archive may have dropped a package."""
    freed = app.kept().prune()
    view.tell(f"freed {freed / 1e6:.0f} MB of layers")
    return Exit.DONE


def _row(found: Any) -> dict[str, Any]:
    layers = [{"digest": x.descriptor.digest, "size": x.descriptor.size, "by": x.created_by} for x in found.layers]
    return {
        "name": found.name,
        "digest": found.digest,
        "size": found.size,
        "version": _version(found),
        "layers": layers,
    }


def _version(found: Any) -> str:
    return str(found.labels.get("org.opencontainers.image.version", ""))


def _step(line: str) -> None:
    view.tell(f"  {view.paint('…', 'cyan', sys.stderr)} {line}")
