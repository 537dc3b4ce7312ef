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
    from planeshift.images.oci import Layer
    from planeshift.images.recipe import Recipe
    from planeshift.images.store import Image

REPOSITORY = "localhost/planeshift"


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
    made, below = recipe(request, kept, variables, say)
    return Builder(kept, variables, say, detail).image(made, _checked(request).name, below)


def store(variables: Mapping[str, str] | None = None) -> Any:
    """The images of this user."""
    from planeshift.images.kept import Kept

    return Kept.of(os.environ if variables is None else variables).store


def images(variables: Mapping[str, str] | None = None) -> list[Image]:
    """All named images, by name."""
    kept = store(variables)
    return [kept.image(name) for name in kept.named()]


def full_name(name: str, variables: Mapping[str, str] | None = None) -> str:
    """The name of an image as it is kept: a service's name means its newest release's image."""
    known = list(store(variables).named())
    if name in known:
        return name
    tail = [n for n in known if n.rpartition("/")[2] == name or n.rpartition("/")[2].rpartition(":")[0] == name]
    if not tail:
        hint = "`planeshift image list` shows those that there are."
        raise PlaneshiftError(Problem("PS423", f"there is no image {name}", hint=hint))
    return str(tail[-1])


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


def recipe(request: Request, kept: Kept, variables: Mapping[str, str], say: Say) -> tuple[Recipe, list[Layer]]:
    """What a request comes to, and the layers of the image that it builds upon. Raises PlaneshiftError."""
    from planeshift.images import layers, patches, sources
    from planeshift.images.recipe import Recipe

    request = _checked(request)
    spec = catalog.service(request.service)
    request = _with_extras(request) if request.cloud else request
    source = None
    if request.wheels:
        source = sources.wheelhouse(Path(request.wheels))
    elif request.source or request.ref:
        source = sources.of(request.source, request.ref, kept.repositories, variables, say)
    if request.base:
        raise PlaneshiftError(Problem("PS428", "--from is not there yet"))
    lock = _lock(request, kept, say)
    made = Recipe(
        service=request.service,
        package=spec.package,
        release=request.release,
        version=source.digest if source and source.kind == "version" else _version(request),
        requirements=catalog.data(request.service, request.release, "lock.txt"),
        top=catalog.data(request.service, request.release, "requirements.in"),
        base="",
        lock=lock,
        dist=request.dist,
        pip=request.pip,
        source=source,
        patches=patches.read(Path(request.patches)) if request.patches else (),
        ports=tuple(component.port for component in spec.components),
        compressor=layers.COMPRESSOR,
    )
    return made, []


def _version(request: Request) -> str:
    return str(catalog.facts(request.service, request.release)["version"])


def _with_extras(request: Request) -> Request:
    from planeshift.app.site import open_site

    service = open_site(request.cloud).cloud.spec.services.get(request.service)
    if service is None:
        raise PlaneshiftError(Problem("PS205", f"{request.cloud} has no service {request.service}"))
    extras = service.extras
    dist = tuple(sorted({*request.dist, *extras.dist}))
    return replace(request, dist=dist, pip=tuple(dict.fromkeys((*request.pip, *extras.pip))))


def _lock(request: Request, kept: Kept, say: Say) -> Any:
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
    given = [request.lock, request.cloud, request.patches, request.wheels, request.source, request.base]
    service = program / "catalog" / request.service
    kept = store(variables).directory / "index.json"
    return [str(program / "images"), str(service), str(Path(__file__)), str(kept), *filter(None, given)]
