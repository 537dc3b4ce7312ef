"""Images to and from registries: proved by their digests, gone on with where a connection broke off.

API: https://github.com/opencontainers/distribution-spec/blob/main/spec.md. Our own client, since oras, the library that
there is, proves no digest of what it pulls, and goes on with nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode

import urllib3

from planeshift.errors import PlaneshiftError, Problem
from planeshift.images import oci
from planeshift.images.oci import Descriptor, Platform
from planeshift.images.reference import Reference
from planeshift.images.store import Image, Store
from planeshift.images.transport import Broken, Transport

_ACCEPT = ", ".join([*oci.MANIFESTS, *oci.INDEXES])
_CHUNK = 1 << 20
_AT_ONCE = 3


@dataclass(frozen=True)
class Registry:
    """A repository of a registry. Methods raise PlaneshiftError: PS461 where it does not answer or refuses, PS462 where it
    does not take our credentials, PS463 where it serves another content than the digest says."""

    transport: Transport
    repository: str

    # --- pull

    def pull(self, reference: Reference, store: Store, name: str, platform: Platform | None = None) -> Image:
        """Fetch an image into a store, for one platform where it has several, and name it."""
        descriptor, data = self.manifest(reference.which)
        if descriptor.media_type in oci.INDEXES:
            descriptor, data = self.manifest(oci.chosen(data, platform or Platform.here()).digest)
        if descriptor.media_type not in oci.MANIFESTS:
            raise oci.broken(f"{reference} is a {descriptor.media_type[:100]!r}, not an image")
        plain = oci.document(data, "manifest")
        config = Descriptor.parse(plain.get("config"))
        self.fetch(config, store)
        settings = oci.document(store.read(config.digest), "config")
        self._all(lambda layer: self.fetch(layer.descriptor, store), oci.layers_of(plain, settings))
        store.add(data)
        made_for = Platform(str(settings.get("os")), str(settings.get("architecture")))
        store.name(name, replace(descriptor, platform=made_for))
        return store.image(name)

    def manifest(self, which: str) -> tuple[Descriptor, bytes]:
        """A manifest by tag or digest, and its proved descriptor."""

        def once() -> tuple[Descriptor, bytes]:
            response = self._request("GET", f"manifests/{which}", headers={"Accept": _ACCEPT})
            if response.status == 404:
                what = f"{self.transport.host}/{self.repository} has no {which}"
                raise PlaneshiftError(Problem("PS423", what))
            self.transport.checked(response, 200)
            data = _all_of(response, oci.MAX_DOCUMENT)
            digest = oci.digest_of(data)
            if which.startswith("sha256:") and digest != which:
                raise self._wrong(which, digest)
            return Descriptor(response.headers.get("Content-Type", "").partition(";")[0], digest, len(data)), data

        found: tuple[Descriptor, bytes] = self.transport.patiently(f"reading {self.repository}:{which}", once)
        return found

    def fetch(self, blob: Descriptor, store: Store) -> None:
        """Fetch a blob into a store, from where an earlier attempt broke off."""
        if store.has(blob.digest):
            return
        with store.writing(expected=blob.digest) as (file, keep):
            if not store.has(blob.digest):  # another process was quicker, which we waited for
                self.transport.patiently(f"fetching {blob.digest[:19]}", lambda: self._fetch(blob, file))
                keep(blob.digest)

    def _fetch(self, blob: Descriptor, file: BinaryIO) -> None:
        total = hashlib.sha256()
        have = _read_over(file, total.update, blob.size)
        if have < blob.size:
            headers = {"Range": f"bytes={have}-"} if have else {}
            response = self._request("GET", f"blobs/{blob.digest}", headers=headers)
            self.transport.checked(response, 200, 206)
            if response.status == 200 and have:  # it knows no ranges
                total, have = hashlib.sha256(), 0
                file.seek(0)
                file.truncate()
            for data in _parts(response, have):
                have += len(data)
                if have > blob.size:
                    break
                file.write(data)
                total.update(data)
            if have < blob.size:
                raise Broken(f"the answer ended after {have:,} of {blob.size:,} bytes", done=have)
        found = f"sha256:{total.hexdigest()}"
        if have > blob.size or found != blob.digest:
            file.seek(0)
            file.truncate()
            raise self._wrong(blob.digest, found)

    # --- push

    def push(self, image: Image, store: Store, reference: Reference) -> None:
        """Bring an image to the registry: what it has already is not sent; the manifest last, so that it is whole."""
        config, *blobs, manifest = image.blobs()
        self.send(config, store.path(config.digest))  # alone, so that a refusal is heard once
        self._all(lambda blob: self.send(blob, store.path(blob.digest)), blobs)
        data = store.read(manifest.digest)
        for which in dict.fromkeys([manifest.digest, reference.tag or manifest.digest]):
            self.put(which, manifest.media_type, data)
        served, _ = self.manifest(reference.tag or manifest.digest)
        if served.digest != manifest.digest:
            raise self._wrong(manifest.digest, served.digest)

    def put(self, which: str, media_type: str, data: bytes) -> bool:
        """Bring a manifest, under a tag or its digest; whether the registry noted what it refers to."""

        def once() -> bool:
            headers = {"Content-Type": media_type}
            response = self._request("PUT", f"manifests/{which}", headers=headers, body=data)
            self.transport.checked(response, 201).drain_conn()
            return "OCI-Subject" in response.headers

        return bool(self.transport.patiently(f"naming {self.repository}:{which}", once))

    def send(self, blob: Descriptor, path: Path) -> None:
        """Bring a blob; one that breaks off is gone on with from what the registry says that it has."""
        upload = _Upload(self, blob, path)
        self.transport.patiently(f"sending {blob.digest[:19]}", upload.once)

    # --- both

    def _request(self, method: str, path: str, **more: object) -> urllib3.response.BaseHTTPResponse:
        scope = f"repository:{self.repository}:pull" + ("" if method in ("GET", "HEAD") else ",push")
        url = path if "://" in path or path.startswith("/") else f"/v2/{self.repository}/{path}"
        return self.transport.request(method, url, scope=scope, **more)  # type: ignore[arg-type]

    def _all(self, do: Callable[[Any], None], items: Sequence[Any]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            futures = [pool.submit(do, item) for item in items]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                for future in futures:
                    future.cancel()
                raise

    def _wrong(self, wanted: str, found: str) -> PlaneshiftError:
        why = f"Wanted {wanted}, was given {found}."
        hint = "Nothing of it was kept. Whoever runs the registry, or a proxy before it, should know."
        what = f"{self.transport.host}/{self.repository} serves another content than was asked for"
        return PlaneshiftError(Problem("PS463", what, why=why, hint=hint))


class _Upload:
    """One blob on its way; `once` goes on from where the last attempt came to."""

    def __init__(self, registry: Registry, blob: Descriptor, path: Path) -> None:
        self.registry, self.blob, self.path = registry, blob, path
        self.location = ""

    def once(self) -> None:
        request, checked = self.registry._request, self.registry.transport.checked
        if not self.location:
            there = request("HEAD", f"blobs/{self.blob.digest}")
            if there.status == 200:
                return
            if there.status != 404:
                checked(there, 404)
            begun = checked(request("POST", "blobs/uploads/", body=b""), 202)
            begun.drain_conn()
            self.location, have = begun.headers.get("Location", ""), 0
        else:
            have = self._have()
        if have < self.blob.size:
            with _tail(self.path, have, self.blob.size) as body:
                headers = {
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(self.blob.size - have),
                    "Content-Range": f"{have}-{self.blob.size - 1}",
                }
                try:
                    response = request("PATCH", self.location, headers=headers, body=body)
                except OSError as error:
                    raise Broken(str(error), done=have) from error
            if response.status in (404, 416):
                self.location = ""  # it forgot the upload
                raise Broken("the registry lost the upload", done=have)
            checked(response, 202).drain_conn()
            self.location = response.headers.get("Location", self.location)
        joint = "&" if "?" in self.location else "?"
        done = request("PUT", f"{self.location}{joint}{urlencode({'digest': self.blob.digest})}", body=b"")
        if done.status in (404, 416):
            self.location = ""
            raise Broken("the registry lost the upload")
        if done.status == 400:  # DIGEST_INVALID: what arrived is not what was sent
            self.location = ""
            raise Broken("what arrived is not what was sent")
        checked(done, 201).drain_conn()

    def _have(self) -> int:
        """How many bytes the registry has of the upload."""
        response = self.registry._request("GET", self.location)
        if response.status != 204:
            response.drain_conn()
            self.location = ""
            raise Broken("the registry lost the upload")
        self.location = response.headers.get("Location", self.location)
        end = response.headers.get("Range", "").rpartition("-")[2]
        return int(end) + 1 if end.isdigit() and int(end) else 0


def _read_over(file: BinaryIO, update: Callable[[bytes], None], limit: int) -> int:
    """Read what an earlier attempt left, to its end; how much that is. What is too long is dropped."""
    if file.seek(0, os.SEEK_END) > limit:
        file.truncate(0)
    have = file.seek(0)
    while data := file.read(_CHUNK):
        update(data)
        have += len(data)
    return have


def _parts(response: urllib3.response.BaseHTTPResponse, have: int) -> Iterator[bytes]:
    try:
        for data in response.stream(_CHUNK, decode_content=False):
            have += len(data)
            yield data
    except urllib3.exceptions.HTTPError as error:
        raise Broken(f"{type(error).__name__} after {have:,} bytes", done=have) from error
    finally:
        response.close()


def _all_of(response: urllib3.response.BaseHTTPResponse, limit: int) -> bytes:
    try:
        data = b"".join(_parts(response, 0)) if int(response.headers.get("Content-Length") or 0) <= limit else b""
    except ValueError:
        data = b""
    if not data or len(data) > limit:
        raise oci.broken(f"a manifest of no or more than {limit:,} bytes")
    return data


@contextlib.contextmanager
def _tail(path: Path, start: int, size: int) -> Iterator[BinaryIO]:
    """A file from `start` on, as one that begins there."""
    with path.open("rb") as file:
        yield _From(file, start)  # type: ignore[misc]


class _From:
    def __init__(self, file: BinaryIO, start: int) -> None:
        self.file, self.start = file, start
        file.seek(start)

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)

    def seek(self, place: int) -> int:
        return self.file.seek(self.start + place) - self.start

    def tell(self) -> int:
        return self.file.tell() - self.start


def attach(registry: Registry, subject: Descriptor, kind: str, document: bytes, store: Store) -> Descriptor:
    """Bring a document about an image, as what refers to it: found by the registry's API for that, or, where it has none,
    by the tag that stands in (distribution-spec, "referrers tag schema")."""
    empty = Descriptor(oci.EMPTY, *store.add(b"{}"))
    body = Descriptor(kind, *store.add(document))
    for blob in (empty, body):
        registry.send(blob, store.path(blob.digest))
    data = oci.manifest(empty, [body], {}, subject=subject, artifact=kind)
    found = Descriptor(oci.MANIFEST, oci.digest_of(data), len(data))
    if not registry.put(found.digest, found.media_type, data):
        listed = {d.digest: d for d in referrers(registry, subject)} | {found.digest: found}
        registry.put(_stand_in(subject), oci.INDEX, oci.index(listed.values()))
    return found


def referrers(registry: Registry, subject: Descriptor) -> list[Descriptor]:
    """What the registry keeps about an image, such as its SBOM."""
    for path in (f"referrers/{subject.digest}", f"manifests/{_stand_in(subject)}"):
        response = registry._request("GET", path, headers={"Accept": oci.INDEX})
        if response.status == 200:
            listed = oci.document(_all_of(response, oci.MAX_DOCUMENT), "index").get("manifests") or []
            return [Descriptor.parse(d) for d in listed]
        response.drain_conn()
    return []


def _stand_in(subject: Descriptor) -> str:
    return subject.digest.replace(":", "-")
