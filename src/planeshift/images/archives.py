"""Images from elsewhere on this machine: an OCI layout, an archive of one, or what `docker save` writes.

Nothing is taken on trust: every blob is proved by its digest, and a name in an archive is never a path on this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from planeshift.errors import PlaneshiftError, Problem
from planeshift.images import oci
from planeshift.images.oci import Descriptor, Platform
from planeshift.images.store import Image, Store

Open = Callable[[str], BinaryIO]
_CHUNK = 1 << 20
_KINDS = {b"\x28\xb5\x2f\xfd": oci.LAYER_ZSTD, b"\x1f\x8b": f"{oci.LAYER}+gzip"}


def take(path: Path, store: Store, name: str, platform: Platform | None = None) -> Image:
    """Take an image of a layout directory or archive into a store, and name it.

    Raises PlaneshiftError: PS428 where it is neither, or holds several images, PS421 where a blob is not as its digest says.
    """
    with _opened(path) as opened:
        try:
            index = oci.document(_small(opened, "index.json"), "index")
        except KeyError:
            return _of_docker(opened, path, store, name)
        listed = [Descriptor.parse(d) for d in index.get("manifests") or []]
        listed = list({d.digest: d for d in listed}.values())
        if len(listed) != 1:
            raise _unusable(path, f"It holds {len(listed)} images; one is needed.")
        return _of_layout(opened, listed[0], platform or Platform.here(), store, name)


def _of_layout(opened: Open, found: Descriptor, platform: Platform, store: Store, name: str) -> Image:
    data = _small(opened, _blob(found.digest))
    if found.media_type in oci.INDEXES:
        found = oci.chosen(data, platform)
        data = _small(opened, _blob(found.digest))
    if oci.digest_of(data) != found.digest:
        raise oci.broken("its manifest is not what its digest says")
    plain = oci.document(data, "manifest")
    config = Descriptor.parse(plain.get("config"))
    _copy(opened(_blob(config.digest)), config.digest, store)
    for layer in oci.layers_of(plain, oci.document(store.read(config.digest), "config")):
        if not store.has(layer.descriptor.digest):
            _copy(opened(_blob(layer.descriptor.digest)), layer.descriptor.digest, store)
    store.add(data)
    store.name(name, Descriptor(found.media_type or oci.MANIFEST, found.digest, len(data), platform=platform))
    return store.image(name)


def _of_docker(opened: Open, path: Path, store: Store, name: str) -> Image:
    """Format: https://github.com/moby/docker-image-spec (combined image JSON and layer tars)."""
    try:
        rows = json.loads(_small(opened, "manifest.json"))
        (row,) = rows
        config = _small(opened, row["Config"])
        paths = [str(p) for p in row["Layers"]]
    except (KeyError, ValueError, TypeError) as error:
        raise _unusable(path, "It has no index.json of an OCI layout, and no manifest.json of one image.") from error
    settings = oci.document(config, "config")
    described = [_copy(opened(layer), "", store) for layer in paths]
    manifest = oci.manifest(Descriptor(oci.CONFIG, *store.add(config)), described, {})
    oci.layers_of(oci.document(manifest, "manifest"), settings)
    made_for = Platform(str(settings.get("os")), str(settings.get("architecture")))
    store.name(name, Descriptor(oci.MANIFEST, *store.add(manifest), platform=made_for))
    return store.image(name)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Open]:
    """What opens a member by name; it raises KeyError for one that is not there."""
    if path.is_dir():

        def of_directory(name: str) -> BinaryIO:
            try:
                return (path / name).open("rb")
            except OSError as error:
                raise KeyError(name) from error

        yield of_directory
        return
    try:
        with tarfile.open(path) as tar:

            def of_archive(name: str) -> BinaryIO:
                found: Any = tar.extractfile(name)  # raises KeyError, also for a link that leads nowhere
                if found is None:
                    raise KeyError(name)
                return found  # type: ignore[no-any-return]

            yield of_archive
    except KeyError as error:
        raise oci.broken(f"it lacks {error}") from error
    except (tarfile.TarError, OSError, EOFError) as error:
        raise _unusable(path, f"{type(error).__name__}: {error}") from error


def _small(opened: Open, name: str) -> bytes:
    with opened(name) as file:
        data = file.read(oci.MAX_DOCUMENT + 1)
    if len(data) > oci.MAX_DOCUMENT:
        raise oci.broken(f"{name} is too large")
    return data


def _copy(source: BinaryIO, digest: str, store: Store) -> Descriptor:
    """Keep a blob; its digest must be the given one, if one is given."""
    total, size, first = hashlib.sha256(), 0, b""
    with source, store.writing() as (file, keep):
        while data := source.read(_CHUNK):
            first = first or data[:4]
            total.update(data)
            file.write(data)
            size += len(data)
        found = f"sha256:{total.hexdigest()}"
        if digest and found != digest:
            raise oci.broken(f"blob {digest} is damaged: its content has {found}")
        keep(found)
    kind = next((kind for magic, kind in _KINDS.items() if first.startswith(magic)), oci.LAYER)
    return Descriptor(kind, found, size)


def _blob(digest: str) -> str:
    return f"blobs/sha256/{oci.valid_digest(digest).removeprefix('sha256:')}"


def _unusable(path: Path, why: str) -> PlaneshiftError:
    hint = "An OCI layout or archive, or one that `docker save` or `podman save` wrote, of one image."
    return PlaneshiftError(Problem("PS428", f"{path} is no image to build upon", why=why, hint=hint))
