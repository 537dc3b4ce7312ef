"""Images on disk: an OCI image layout that several processes may use at once, and a kill leaves whole.

Format: https://github.com/opencontainers/image-spec/blob/main/image-layout.md. Blobs are written beside and renamed to
their digest; index.json is replaced as a whole, under a lock of the kernel's.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from planeshift.drivers import files
from planeshift.errors import PlaneshiftError, Problem
from planeshift.images import layers as writing
from planeshift.images import oci
from planeshift.images.entries import EPOCH, Entry
from planeshift.images.oci import Config, Descriptor, Layer, Platform

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_CHUNK = 1 << 20
_YOUNG = 3600.0  # seconds


@dataclass(frozen=True)
class Image:
    """An image of a store: its name and what its manifest and config say."""

    name: str
    descriptor: Descriptor
    config_digest: str
    layers: tuple[Layer, ...]
    manifest: Mapping[str, Any] = field(repr=False)
    config: Mapping[str, Any] = field(repr=False)

    @property
    def digest(self) -> str:
        """The digest of its manifest: the image's identity."""
        return self.descriptor.digest

    @property
    def size(self) -> int:
        """Bytes of its layers as they are moved."""
        return sum(layer.descriptor.size for layer in self.layers)

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of its config."""
        run = self.config.get("config")
        labels = run.get("Labels") if isinstance(run, dict) else None
        return {str(k): str(v) for k, v in labels.items()} if isinstance(labels, dict) else {}

    @property
    def variables(self) -> dict[str, str]:
        """The environment of its config."""
        run = self.config.get("config")
        pairs = run.get("Env") if isinstance(run, dict) else None
        return dict(str(pair).split("=", 1) for pair in pairs or () if "=" in str(pair))

    def blobs(self) -> list[Descriptor]:
        """All that it consists of, its manifest last."""
        config = Descriptor.parse(self.manifest["config"])
        return [config, *(layer.descriptor for layer in self.layers), self.descriptor]


class Store:
    """An OCI image layout in a directory, which is made when first written to.

    Methods raise PlaneshiftError: PS401 and PS404 where the disk refuses, PS421 for an image that is not as it must be.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    # --- blobs

    def path(self, digest: str) -> Path:
        """Where a blob is, or would be."""
        return self.directory / "blobs" / "sha256" / oci.valid_digest(digest).removeprefix("sha256:")

    def has(self, digest: str) -> bool:
        """Whether a blob is here."""
        return self.path(digest).is_file()

    def read(self, digest: str, limit: int = oci.MAX_DOCUMENT) -> bytes:
        """A small blob, proved by its digest."""
        with files.failing(f"blob {digest} cannot be read"), self.path(digest).open("rb") as file:
            data = file.read(limit + 1)
        if oci.digest_of(data) != digest:
            raise oci.broken(f"blob {digest} is damaged; remove it, and build or pull the image again")
        return data

    def add(self, data: bytes) -> tuple[str, int]:
        """Keep some bytes as a blob; their digest and size."""
        digest = oci.digest_of(data)
        if not self.has(digest):
            self._prepare()
            files.write(self.path(digest), data)
        return digest, len(data)

    @contextlib.contextmanager
    def writing(self, expected: str = "") -> Iterator[tuple[BinaryIO, Callable[[str], None]]]:
        """A file for a new blob, and what to call with its digest when it is whole.

        With `expected`, what an earlier attempt left of that blob is still in the file, to be gone on with.
        """
        self._prepare()
        name = f"{oci.valid_digest(expected)[7:]}.partial" if expected else f"{os.getpid()}-{os.urandom(4).hex()}.new"
        partial = self.directory / "partial" / name
        with files.failing(f"{partial} cannot be written"):
            file = os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "r+b")
            with file:
                fcntl.flock(file, fcntl.LOCK_EX)
                done = False

                def keep(digest: str) -> None:
                    nonlocal done
                    file.flush()
                    os.fchmod(file.fileno(), 0o644)
                    os.fsync(file.fileno())
                    partial.replace(self.path(digest))
                    done = True

                try:
                    yield file, keep
                finally:
                    if not done and not expected:
                        partial.unlink(missing_ok=True)

    # --- images

    def add_layer(self, entries: Iterable[Entry], created_by: str = "") -> Layer:
        """Write a layer and keep it."""
        with self.writing() as (file, keep):
            written = writing.write(entries, file)
            keep(written.digest)
        return Layer(Descriptor(oci.LAYER_ZSTD, written.digest, written.size), written.diff_id, created_by)

    def add_image(
        self,
        layers: Sequence[Layer],
        config: Config | None = None,
        *,
        name: str = "",
        platform: Platform | None = None,
        annotations: Mapping[str, str] | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> Image:
        """Make an image of layers that are kept here, and name it. `notes` stay in the store's index alone."""
        document = (config or Config()).document(layers, platform or Platform.here())
        described = Descriptor(oci.CONFIG, *self.add(document))
        data = oci.manifest(described, [layer.descriptor for layer in layers], annotations or {})
        descriptor = Descriptor(oci.MANIFEST, *self.add(data), platform=platform or Platform.here())
        if name:
            self.name(name, descriptor, notes)
        return self.image(descriptor, name)

    def name(self, name: str, descriptor: Descriptor, notes: Mapping[str, str] | None = None) -> None:
        """Let a name stand for an image, whatever it stood for before."""
        found = {**(notes or {}), oci.REF_NAME: name.rpartition(":")[2], oci.CONTAINERD_NAME: name}
        named = Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, found, descriptor.platform)
        with self._index() as listed:
            listed[:] = [d for d in listed if d.annotations.get(oci.CONTAINERD_NAME) != name] + [named]

    def forget(self, name: str) -> bool:
        """Take a name away; its blobs stay until they are pruned. Whether the name was there."""
        with self._index() as listed:
            before = len(listed)
            listed[:] = [d for d in listed if d.annotations.get(oci.CONTAINERD_NAME) != name]
            return len(listed) < before

    def named(self) -> dict[str, Descriptor]:
        """All names, sorted, and what they stand for."""
        path = self.directory / "index.json"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise PlaneshiftError(Problem("PS401", f"{path} cannot be read: {error.strerror}")) from error
        listed = [Descriptor.parse(d) for d in oci.document(data, "index").get("manifests") or []]
        named = ((d.annotations.get(oci.CONTAINERD_NAME, ""), d) for d in listed)
        return dict(sorted((name, d) for name, d in named if name))

    def image(self, which: str | Descriptor, name: str = "") -> Image:
        """An image by name or descriptor. Raises PlaneshiftError (PS423) where there is none of that name."""
        if isinstance(which, str):
            found = self.named().get(which)
            if found is None:
                hint = "`planeshift image list` shows those that there are."
                raise PlaneshiftError(Problem("PS423", f"there is no image {which}", hint=hint))
            return self.image(found, which)
        manifest = oci.document(self.read(which.digest), "manifest")
        config = Descriptor.parse(manifest.get("config"))
        plain = oci.document(self.read(config.digest), "config")
        return Image(name, which, config.digest, tuple(oci.layers_of(manifest, plain)), manifest, plain)

    def export(self, names: Sequence[str], out: Path) -> None:
        """Write images to an archive file, replaced as a whole."""
        partial = out.with_name(f".{out.name}.{os.getpid()}.new")
        with files.failing(f"{out} cannot be written"):
            try:
                with partial.open("xb") as file:
                    self.write_archive(names, file)
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(out)
            finally:
                partial.unlink(missing_ok=True)

    def write_archive(self, names: Sequence[str], file: BinaryIO) -> None:
        """Write images as one archive: for containerd, Podman, Skopeo, and Docker's `load`."""
        images = [self.image(name) for name in names]
        listed = [self.named()[image.name] for image in images]
        documents = {"oci-layout": _LAYOUT, "index.json": oci.index(listed), "manifest.json": _for_docker(images)}
        digests = sorted({blob.digest for image in images for blob in image.blobs()})
        with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as tar:
            for name, data in documents.items():
                tar.addfile(_member(name, len(data)), io.BytesIO(data))
            for digest in digests:
                with self.path(digest).open("rb") as blob:
                    tar.addfile(_member(f"blobs/sha256/{digest[7:]}", os.fstat(blob.fileno()).st_size), blob)

    def verify(self, image: Image) -> None:
        """Read every blob of an image. Raises PlaneshiftError (PS421) for the first that is not what its digest says."""
        for blob in image.blobs():
            with files.failing(f"blob {blob.digest} cannot be read"), self.path(blob.digest).open("rb") as file:
                if f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" != blob.digest:
                    raise oci.broken(f"blob {blob.digest} is damaged")

    def prune(self, needed: Iterable[str] = ()) -> int:
        """Remove the blobs that no named image has, but for those `needed`; how many bytes that freed.

        What another process writes at the same time stays: it is younger than an hour.
        """
        kept = {blob.digest[7:] for name in self.named() for blob in self.image(name).blobs()}
        kept |= {digest.removeprefix("sha256:") for digest in needed}
        freed = 0
        for path in [*self.directory.glob("blobs/sha256/*"), *self.directory.glob("partial/*")]:
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                if path.name not in kept and time.time() - found.st_mtime > _YOUNG:
                    path.unlink()
                    freed += found.st_size
        return freed

    # --- the directory itself

    def _prepare(self) -> None:
        with files.failing(f"{self.directory} cannot be made"):
            (self.directory / "partial").mkdir(parents=True, exist_ok=True, mode=0o700)
            (self.directory / "blobs" / "sha256").mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (self.directory / "oci-layout").is_file():
            files.write(self.directory / "oci-layout", _LAYOUT)

    @contextlib.contextmanager
    def _index(self) -> Iterator[list[Descriptor]]:
        """The index's descriptors, to be changed in place; written when the block ends well."""
        self._prepare()
        with files.failing(f"{self.directory} cannot be locked"), (self.directory / "index.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            listed = list(self.named().values())
            before = list(listed)
            yield listed
            if listed != before:
                files.write(self.directory / "index.json", oci.index(listed))


def _for_docker(images: Sequence[Image]) -> bytes:
    """manifest.json as `docker save` writes it, over the same blobs."""
    rows = [
        {
            "Config": f"blobs/sha256/{image.config_digest[7:]}",
            "RepoTags": [image.name],
            "Layers": [f"blobs/sha256/{layer.descriptor.digest[7:]}" for layer in image.layers],
        }
        for image in images
    ]
    return json.dumps(rows, sort_keys=True, separators=(",", ":")).encode()


def _member(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, EPOCH
    return info
