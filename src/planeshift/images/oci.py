"""The documents of an OCI image, to and from the bytes that their digests are of. Pure.

Formats: https://github.com/opencontainers/image-spec (config.md, manifest.md, image-index.md, annotations.md).
"""

from __future__ import annotations

import hashlib
import json
import platform as machine
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from planeshift.errors import PlaneshiftError, Problem

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
SPDX = "application/spdx+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_ZSTD = LAYER + "+zstd"
# Docker's own names for the same things, which registries and archives still hold.
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
MANIFESTS, INDEXES = (MANIFEST, DOCKER_MANIFEST), (INDEX, DOCKER_INDEX)

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
CREATED = "2026-01-01T00:00:00Z"  # of every image: the hour is no input
MAX_DOCUMENT = 4 * 1024 * 1024  # bytes of a manifest or config; registries have the same limit

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}


def digest_of(data: bytes) -> str:
    """The OCI digest of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def valid_digest(text: object) -> str:
    """`text` where it is a sha256 digest. Raises PlaneshiftError (PS421); a digest becomes a file's name."""
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise broken(f"{str(text)[:80]!r} is no sha256 digest")
    return text


def broken(why: str) -> PlaneshiftError:
    """An image that is not as the specification has it."""
    return PlaneshiftError(Problem("PS421", "an image that cannot be read", why=why))


@dataclass(frozen=True, slots=True)
class Platform:
    """What machine an image is for, in Go's words."""

    os: str
    architecture: str

    @classmethod
    def here(cls) -> Platform:
        """This machine's."""
        return cls("linux", _ARCHITECTURES.get(machine.machine(), machine.machine()))


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What points at a blob: its type, digest and size, so that whoever fetches it can tell that it is the right one."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None

    def plain(self) -> dict[str, Any]:
        """As it stands in JSON."""
        found: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            found["annotations"] = dict(self.annotations)
        if self.platform:
            found["platform"] = {"architecture": self.platform.architecture, "os": self.platform.os}
        return found

    @classmethod
    def parse(cls, data: object) -> Descriptor:
        """Of JSON. Raises PlaneshiftError (PS421)."""
        if not isinstance(data, dict) or not isinstance(size := data.get("size"), int) or size < 0:
            raise broken("a descriptor without a size")
        place = data.get("platform") or {}
        platform = (
            Platform(str(place.get("os")), str(place.get("architecture")))
            if isinstance(place, dict) and place
            else None
        )
        notes = data.get("annotations") or {}
        if not isinstance(notes, dict):
            raise broken("annotations that are no mapping")
        return cls(
            str(data.get("mediaType", "")),
            valid_digest(data.get("digest")),
            size,
            {str(k): str(v) for k, v in notes.items()},
            platform,
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer: where its blob is, and the digest of what it unpacks to. `created_by` is its line in the history."""

    descriptor: Descriptor
    diff_id: str
    created_by: str = ""


@dataclass(frozen=True)
class Config:
    """How an image runs, as its maker says it. `history` is filled from the layers."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    directory: str = ""
    ports: tuple[str, ...] = ()  # such as "9292/tcp"
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""

    def document(self, layers: Sequence[Layer], platform: Platform) -> bytes:
        """The config blob of an image of these layers."""
        run: dict[str, Any] = {
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.command),
            "Env": [f"{name}={value}" for name, value in sorted(self.environment.items())],
            "User": self.user,
            "WorkingDir": self.directory,
            "ExposedPorts": {port: {} for port in sorted(self.ports)},
            "Labels": dict(self.labels),
            "StopSignal": self.stop_signal,
        }
        return canonical(
            {
                "architecture": platform.architecture,
                "os": platform.os,
                "created": CREATED,
                "config": {name: value for name, value in run.items() if value},
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
                "history": [{"created": CREATED, "created_by": layer.created_by or "planeshift"} for layer in layers],
            }
        )


def manifest(
    config: Descriptor,
    layers: Iterable[Descriptor],
    annotations: Mapping[str, str],
    *,
    subject: Descriptor | None = None,
    artifact: str = "",
) -> bytes:
    """The manifest blob; with a `subject`, of an artifact about that image."""
    found: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.plain(),
        "layers": [layer.plain() for layer in layers],
    }
    if subject:
        about = Descriptor(subject.media_type, subject.digest, subject.size)
        found |= {"subject": about.plain(), "artifactType": artifact}
    return canonical(found | ({"annotations": dict(annotations)} if annotations else {}))


def index(manifests: Iterable[Descriptor]) -> bytes:
    """An image index: of a layout, an archive, or an image of several platforms."""
    return canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": [m.plain() for m in manifests]})


def canonical(data: object) -> bytes:
    """JSON of which there is one form."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def document(data: bytes, kind: str) -> dict[str, Any]:
    """A JSON object of bytes. Raises PlaneshiftError (PS421), naming what `kind` of document it should have been."""
    try:
        found = json.loads(data) if len(data) <= MAX_DOCUMENT else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise broken(f"the {kind} is no JSON object of at most {MAX_DOCUMENT:,} bytes")
    return found


def layers_of(manifest: Mapping[str, Any], config: Mapping[str, Any]) -> list[Layer]:
    """The layers of a parsed manifest and config. Raises PlaneshiftError (PS421) where the two do not fit together."""
    listed = manifest.get("layers")
    root = config.get("rootfs")
    diff_ids = root.get("diff_ids") if isinstance(root, dict) else None
    if not isinstance(listed, list) or not isinstance(diff_ids, list) or len(listed) != len(diff_ids):
        raise broken("manifest and config tell of different layers")
    lines = [line for line in config.get("history") or [] if isinstance(line, dict) and not line.get("empty_layer")]
    said = [str(line.get("created_by", "")) for line in lines] if len(lines) == len(listed) else [""] * len(listed)
    return [
        Layer(Descriptor.parse(layer), valid_digest(diff_id), line)
        for layer, diff_id, line in zip(listed, diff_ids, said, strict=True)
    ]


def chosen(index: bytes, platform: Platform) -> Descriptor:
    """The manifest for a platform, of an image that has several. Raises PlaneshiftError (PS421) where there is none."""
    listed = document(index, "index").get("manifests")
    found = [Descriptor.parse(d) for d in listed] if isinstance(listed, list) else []
    fitting = [d for d in found if d.platform == platform]
    if not fitting:
        there = ", ".join(sorted({f"{d.platform.os}/{d.platform.architecture}" for d in found if d.platform})) or "none"
        raise broken(f"it has no image for {platform.os}/{platform.architecture}, only for {there}"[:300])
    return fitting[0]
