"""Images of services: what is asked for, made a recipe from the catalog, the site and its files, and built.

What building takes is imported only when something is built.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planeshift import catalog
from planeshift.errors import Exit, PlaneshiftError, Problem
from planeshift.ports import Say, quiet

if TYPE_CHECKING:
    from planeshift.images.kept import Kept
    from planeshift.images.packages import Lock
    from planeshift.images.recipe import Recipe
    from planeshift.images.store import Image, Store

REPOSITORY = "localhost/planeshift"
FROM = "file:"  # names that images taken from files have in the store


@dataclass(frozen=True)
class Request:
    """An image that is asked for. Texts that are empty take the default."""

    service: str
    release: str = ""
    name: str = ""
    base: str = ""  # --from: an image in a registry, a layout or an archive
    dist: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    lock: str = ""
    source: str = ""
    ref: str = ""
    wheels: str = ""
    patches: str = ""
    cloud: str = ""  # the file whose extras apply
    plain_http: bool = False

    @property
    def moves(self) -> bool:
        """Whether what it names may be something else tomorrow, so that somebody must be asked."""
        return (
            bool(self.source and self.ref) or "://" in self.source or bool(self.base and not Path(self.base).exists())
        )


def build(
    request: Request,
    say: Say,
    detail: Say = quiet,
    *,
    fresh: bool = False,
    variables: Mapping[str, str] | None = None,
) -> Image:
    """The image of a request, of layers that are built only where an input changed since. Raises PlaneshiftError."""
    from planeshift.images.build import Builder
    from planeshift.images.kept import Kept

    variables = os.environ if variables is None else variables
    kept = Kept.of(variables, fresh=fresh)
    made, base = recipe(request, kept, variables, say)
    return Builder(kept, variables, say, detail).image(made, _checked(request).name, base)


def kept(variables: Mapping[str, str] | None = None) -> Kept:
    """What this user's cache has."""
    from planeshift.images.kept import Kept

    return Kept.of(os.environ if variables is None else variables)


def named(store: Store, name: str) -> Image:
    """An image by its name; `keystone` and `keystone:2026.2` are enough where only one image is meant.

    Raises PlaneshiftError (PS423).
    """
    known = [n for n in store.named() if not n.startswith(FROM)]
    tails = [n for n in known if name in (n.rpartition("/")[2], n.rpartition("/")[2].rpartition(":")[0])]
    ours = [n for n in tails if n.startswith(f"{REPOSITORY}/")] or tails
    return store.image(ours[-1] if name not in known and ours else name)


def _checked(request: Request) -> Request:
    known = catalog.names()
    if request.service not in known:
        from planeshift.model.load import nearest

        hint = nearest(request.service, list(known)) or f"There are {', '.join(known)}."
        problem = Problem("PS205", f"unknown service `{request.service}`", hint=hint)
        raise PlaneshiftError(problem, exit_code=Exit.USAGE)
    releases = catalog.releases(request.service)
    release = request.release or releases[-1]
    if release not in releases:
        hint = f"{request.service} has {', '.join(releases)}."
        raise PlaneshiftError(Problem("PS210", f"unknown release `{release}`", hint=hint), exit_code=Exit.USAGE)
    if request.wheels and (request.source or request.ref):
        raise PlaneshiftError(Problem("PS428", "--wheels goes with neither --source nor --ref"), exit_code=Exit.USAGE)
    name = request.name or f"{REPOSITORY}/{request.service}:{release}"
    return replace(request, release=release, name=name, dist=tuple(sorted(set(request.dist))))


def recipe(request: Request, kept: Kept, variables: Mapping[str, str], say: Say) -> tuple[Recipe, Image | None]:
    """What a request comes to, and the image that it builds upon, if not upon a Debian. Raises PlaneshiftError."""
    from planeshift.images import layers, patches, sources
    from planeshift.images.recipe import Recipe

    request = _checked(request)
    if not request.lock and not request.base:
        request = replace(request, lock=variables.get("PLANESHIFT_IMAGE_LOCK", ""))
    spec = catalog.service(request.service)
    request = _with_extras(request) if request.cloud else request
    source = None
    if request.wheels:
        source = sources.wheelhouse(Path(request.wheels))
    elif request.source or request.ref:
        source = sources.of(request.source, request.ref, kept.repositories, variables, say)
    base = _base(request, kept, say) if request.base else None
    lock = None if base else _lock(request, kept)
    made = Recipe(
        service=request.service,
        package=spec.package,
        release=request.release,
        version=source.version if source else str(catalog.facts(request.service, request.release)["version"]),
        requirements=catalog.data(request.service, request.release, "lock.txt"),
        top=catalog.data(request.service, request.release, "requirements.in"),
        base=base.digest if base else "",
        base_name=request.base if base and request.moves else "",
        lock=lock,
        dist=request.dist,
        pip=request.pip,
        source=source,
        patches=patches.read(Path(request.patches)) if request.patches else (),
        ports=tuple(c.port for c in spec.components if c.port),
        compressor=layers.COMPRESSOR,
    )
    return made, base


def _with_extras(request: Request) -> Request:
    from planeshift.app.site import open_site

    service = open_site(request.cloud).cloud.spec.services.get(request.service)
    if service is None:
        raise PlaneshiftError(Problem("PS205", f"{request.cloud} has no service {request.service}"))
    extras = service.extras
    dist = tuple(sorted({*request.dist, *extras.dist}))
    return replace(request, dist=dist, pip=tuple(dict.fromkeys((*request.pip, *extras.pip))))


def _base(request: Request, kept: Kept, say: Say) -> Image:
    """The image to build upon, in the store: from a file, a directory, the store itself, or a registry."""
    if request.dist:
        hint = "Add them to that image, or leave --from out: a Debian of locked packages takes more packages."
        raise PlaneshiftError(Problem("PS428", "--dist-packages does not go with --from", hint=hint))
    if Path(request.base).exists():
        from planeshift.images import archives

        say(f"reading {request.base}")
        return archives.take(Path(request.base), kept.store, f"{FROM}{Path(request.base).absolute()}")
    if request.base in kept.store.named():
        return kept.store.image(request.base)
    return pull(request.base, kept, say, plain_http=request.plain_http)


def pull(name: str, kept: Kept, say: Say, *, plain_http: bool = False) -> Image:
    """Fetch an image from its registry. Raises PlaneshiftError."""
    from planeshift.images.reference import Reference
    from planeshift.images.registry import Registry
    from planeshift.images.transport import Transport

    reference = Reference.parse(name)
    say(f"pulling {reference}")
    registry = Registry(Transport.of(reference, plain=plain_http, say=say), reference.repository)
    return registry.pull(reference, kept.store, str(reference))


def push(image: Image, kept: Kept, target: str, say: Say, *, plain_http: bool = False, ca: str = "") -> str:
    """Bring an image and its SBOM to a registry; its name there, by digest. Raises PlaneshiftError."""
    from planeshift.images import oci
    from planeshift.images.reference import Reference
    from planeshift.images.registry import Registry, attach
    from planeshift.images.transport import Transport

    reference = Reference.parse(target)
    say(f"pushing {reference}")
    registry = Registry(Transport.of(reference, plain=plain_http, ca=ca, say=say), reference.repository)
    registry.push(image, kept.store, reference)
    attach(registry, image.descriptor, oci.SPDX, sbom(image, kept), kept.store)
    return f"{reference}@{image.digest}"


def _lock(request: Request, kept: Kept) -> Any:
    from planeshift.images import debian, packages
    from planeshift.images.oci import Platform

    architecture = Platform.here().architecture
    if request.lock:
        path = Path(request.lock)
        try:
            lock = packages.Lock.parse(path.read_text("utf-8"), request.lock)
        except OSError as error:
            raise PlaneshiftError(Problem("PS428", f"{request.lock}: {error.strerror}")) from error
    elif request.dist:
        lock = kept.lock_of(architecture, request.dist, lambda: debian.resolve(architecture, request.dist))
    else:
        lock = packages.shipped(architecture)
    lacking = lock.lacking(request.dist)
    if lacking:
        hint = f"planeshift image lock --dist-packages {','.join(request.dist)} --output {request.lock}"
        raise PlaneshiftError(Problem("PS428", f"{request.lock} does not lock {', '.join(lacking)}", hint=hint))
    return lock


def inputs(request: Request, variables: Mapping[str, str]) -> list[str]:
    """Every file and directory that a request's image depends on, and where the image itself is noted."""
    program = Path(__file__).resolve().parent.parent
    lock = request.lock or variables.get("PLANESHIFT_IMAGE_LOCK", "")
    given = [lock, request.cloud, request.patches, request.wheels, request.source, request.base]
    index = kept(variables).store.directory / "index.json"
    service = program / "catalog" / request.service
    return [str(program / "images"), str(service), str(Path(__file__)), str(index), *filter(None, given)]


def sbom(image: Image, kept: Kept) -> bytes:
    """The SPDX document of an image: told from its layers, and kept."""
    from planeshift.images import roots
    from planeshift.images.sbom import Contents, spdx

    def tell() -> bytes:
        contents = Contents()
        for layer in image.layers:
            contents.add(roots.entries_of(kept.store.path(layer.descriptor.digest)), layer.created_by)
        return spdx(image.name, image.digest, contents)

    return kept.document(f"{image.digest[7:]}.spdx.json", tell)


def lock_packages(dist: tuple[str, ...], out: Path) -> Lock:
    """Lock today's packages for the base and a site's own in a file. Raises PlaneshiftError."""
    from planeshift.drivers import files
    from planeshift.images import debian
    from planeshift.images.oci import Platform

    found = debian.resolve(Platform.here().architecture, dist)
    files.write(out.absolute(), found.text().encode())
    return found
