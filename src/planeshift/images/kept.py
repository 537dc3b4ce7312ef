"""What building keeps in the user's cache: images, what layers were made from which inputs, packages, unpacked roots.

All of it can be made again, but for a base whose packages the archive dropped meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from planeshift.drivers import files
from planeshift.drivers.beside import beside
from planeshift.errors import PlaneshiftError
from planeshift.images import oci, roots
from planeshift.images.oci import Descriptor, Layer
from planeshift.images.packages import Lock, shipped
from planeshift.images.store import Store

BASE = "planeshift: Debian"  # how the line of a base in an image's history begins


class Kept:
    """The directories of the cache. `fresh`: what layers were made before is not used."""

    def __init__(self, directory: Path, *, fresh: bool = False) -> None:
        self.directory, self.fresh = directory, fresh
        self.store = Store(directory / "oci")
        self._made: set[str] = set()

    @classmethod
    def of(cls, variables: Mapping[str, str], *, fresh: bool = False) -> Kept:
        """The cache of the user whose environment variables these are."""
        return cls(files.cache(variables) / "images", fresh=fresh)

    @property
    def packages(self) -> Path:
        """The .deb files, by hash."""
        return self._within("packages")

    @property
    def locks(self) -> Path:
        """Locks of a site's own distribution packages."""
        return self._within("locks")

    @property
    def repositories(self) -> Path:
        """Mirrors of the repositories that services were built from."""
        return self._within("repositories")

    def lock_of(self, architecture: str, dist: Sequence[str], resolve: Callable[[], Lock]) -> Lock:
        """The lock of a site's own packages, resolved once, so that the next build has the same."""
        key = hashlib.sha256(" ".join([shipped(architecture).digest, *dist]).encode()).hexdigest()[:32]
        path = self.locks / f"{key}.json"
        with self._locked(key):
            if not path.is_file():
                files.write(path, resolve().text().encode())
            return Lock.parse(path.read_text("utf-8"), str(path))

    @property
    def scratch(self) -> Path:
        """For directories that go when a step ends."""
        return self._within("scratch")

    def layer(self, key: str, make: Callable[[], Layer]) -> Layer:
        """The layer of these inputs, made where it is not kept; a second process waits for the first."""
        with self._locked(key):
            found = None if self.fresh and key not in self._made else self._remembered(key)
            if found is None:
                found = make()
                plain = {
                    "descriptor": found.descriptor.plain(),
                    "diff_id": found.diff_id,
                    "created_by": found.created_by,
                }
                files.write(self._within("layers") / f"{key}.json", oci.canonical(plain))
                self._made.add(key)
            return found

    def tree(self, key: str, make: Callable[[Path], None]) -> Path:
        """A directory of these inputs, made where it is not kept; whole, or not there."""
        final = self._within("trees") / key
        if self.fresh and key not in self._made and final.is_dir():
            with self._locked(f"{key}-tree"):
                roots.remove(final)
        if not final.is_dir():
            with self._locked(f"{key}-tree"):
                if not final.is_dir():
                    with beside(final) as partial:
                        make(partial)
        self._made.add(key)
        return final

    def document(self, name: str, make: Callable[[], bytes]) -> bytes:
        """A document that can be told again from an image, kept since that takes a while."""
        path = self._within("documents") / name
        if not path.is_file():
            files.write(path, make())
        return path.read_bytes()

    @contextlib.contextmanager
    def using(self) -> Iterator[None]:
        """While something is built: what is kept stays."""
        with self._locked("use", fcntl.LOCK_SH):
            yield

    def prune(self) -> int:
        """Remove what no named image has, but for bases, which the archive might not let us make again; bytes freed.

        Waits for whoever builds.
        """
        with self._locked("use"):
            return self._prune()

    def _prune(self) -> int:
        bases: list[str] = []
        for path in self._within("layers").glob("*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                plain = json.loads(path.read_bytes())
                if str(plain["created_by"]).startswith(BASE):
                    bases.append(str(plain["descriptor"]["digest"]))
        for directory in ("trees", "scratch", "repositories", "documents"):
            for path in self._within(directory).iterdir():
                roots.remove(path) if path.is_dir() else path.unlink(missing_ok=True)
        return self.store.prune(bases)

    def _remembered(self, key: str) -> Layer | None:
        path = self._within("layers") / f"{key}.json"
        with contextlib.suppress(OSError, ValueError, KeyError, PlaneshiftError):
            plain = json.loads(path.read_bytes())
            layer = Layer(
                Descriptor.parse(plain["descriptor"]), oci.valid_digest(plain["diff_id"]), plain["created_by"]
            )
            if self.store.path(layer.descriptor.digest).stat().st_size == layer.descriptor.size:
                return layer
        return None

    @contextlib.contextmanager
    def _locked(self, name: str, how: int = fcntl.LOCK_EX) -> Iterator[None]:
        path = self._within("locks") / f"{name}.lock"
        with files.failing(f"{path} cannot be locked"), path.open("w") as lock:
            fcntl.flock(lock, how)
            yield

    def _within(self, name: str) -> Path:
        directory = self.directory / name
        files.private(directory)
        return directory
