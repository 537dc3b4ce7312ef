"""What an image holds and where each file came from, as SPDX 2.3: the same bytes for the same image. Pure, given the layers.

Format: https://spdx.github.io/spdx-spec/v2.3/. Origins are the image's own records: dpkg's lists for distribution packages,
RECORD for wheels; a compiled file is its source's; what a patch changed, and what maintainer scripts made, says so.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.parser import HeaderParser
from typing import Any
from urllib.parse import quote

from planeshift.images.entries import OPAQUE, WHITEOUT, Entry
from planeshift.images.oci import CREATED, canonical

_METADATA = re.compile(r"(?P<site>.*site-packages)/(?P<name>[^/]+)\.dist-info/(?P<file>METADATA|RECORD)")
_DPKG_LIST = re.compile(r"var/lib/dpkg/info/(?P<name>[^/:]+)(?::[^/]+)?\.list")
_RECORD = re.compile(r"var/lib/dpkg/status|var/lib/dpkg/info/.*\.list|.*\.dist-info/(METADATA|RECORD)")
_COMPILED = re.compile(r"(?P<directory>.*)/__pycache__/(?P<stem>[^/]+)\.cpython-\d+(?:\.opt-\d)?\.pyc")
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]")


@dataclass
class Held:
    """A file of an image: its digests, the line of the layer that it is in, and whether another layer had it, too."""

    sha1: str
    sha256: str
    by: str
    changed: bool


@dataclass
class Package:
    """A distribution package or a wheel."""

    name: str
    version: str
    purl: str
    licence: str = "NOASSERTION"
    files: set[str] = field(default_factory=set)


@dataclass
class Contents:
    """An image's files, gathered layer by layer, and the records among them."""

    files: dict[str, Held] = field(default_factory=dict)
    records: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def add(self, entries: Iterable[Entry], by: str) -> None:
        """Add the next layer; a file's content must be bytes."""
        for entry in entries:
            directory, _, base = entry.name.rpartition("/")
            if base == OPAQUE:
                for held in [f for f, h in self.files.items() if f.startswith(f"{directory}/") and h.by != by]:
                    self._gone(held)
            elif base.startswith(WHITEOUT):
                self._gone(f"{directory}/{base.removeprefix(WHITEOUT)}".lstrip("/"))
            elif entry.kind == "file" and isinstance(entry.content, bytes):
                sha1 = hashlib.sha1(entry.content, usedforsecurity=False).hexdigest()
                sha256 = hashlib.sha256(entry.content).hexdigest()
                self.files[entry.name] = Held(sha1, sha256, by, entry.name in self.files)
                if (
                    entry.name == "var/lib/dpkg/status"
                    or _DPKG_LIST.fullmatch(entry.name)
                    or _METADATA.fullmatch(entry.name)
                ):
                    self.records[entry.name] = entry.content
            elif entry.kind == "hardlink" and entry.target in self.files:
                self.files[entry.name] = self.files[entry.target]
            elif entry.kind == "link":
                self.links[entry.name] = entry.target

    @functools.cached_property
    def compiled(self) -> dict[str, list[str]]:
        """Compiled files by their source; to be asked when all layers are in."""
        found: dict[str, list[str]] = {}
        for path in self.files:
            if match := _COMPILED.fullmatch(path):
                found.setdefault(f"{match['directory']}/{match['stem']}.py", []).append(path)
        return found

    def _gone(self, name: str) -> None:
        for held in [f for f in self.files if f == name or f.startswith(f"{name}/")]:
            del self.files[held]
            self.records.pop(held, None)


def spdx(name: str, digest: str, contents: Contents) -> bytes:
    """The document of an image."""
    packages = [*_debs(contents), *_wheels(contents)]
    ids = {path: f"SPDXRef-File-{number}" for number, path in enumerate(sorted(contents.files))}
    rows = [_image(name, digest, contents), *(_package(p, contents) for p in packages)]
    relations = [_relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image")]
    owned: set[str] = set()
    for package, row in zip(packages, rows[1:], strict=True):
        relations.append(_relation("SPDXRef-Image", "CONTAINS", row["SPDXID"]))
        relations += [_relation(row["SPDXID"], "CONTAINS", ids[path]) for path in sorted(package.files)]
        owned |= package.files
    relations += [_relation("SPDXRef-Image", "CONTAINS", ids[path]) for path in sorted(set(ids) - owned)]
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:oci:{digest}",
        "creationInfo": {"created": CREATED, "creators": ["Tool: planeshift"]},
        "packages": rows,
        "files": [_file(path, held, ids[path], path in owned) for path, held in sorted(contents.files.items())],
        "relationships": relations,
    }
    return canonical(document) + b"\n"


def _debs(contents: Contents) -> list[Package]:
    status = contents.records.get("var/lib/dpkg/status", b"").decode("utf-8", "replace")
    lists: dict[str, set[str]] = {}
    for path, data in contents.records.items():
        if found := _DPKG_LIST.fullmatch(path):
            lists[found["name"]] = {
                _real(line.strip("/"), contents) for line in data.decode("utf-8", "replace").split("\n")
            }
    packages = []
    for stanza in status.split("\n\n"):
        fields = HeaderParser().parsestr(stanza)
        name, version = fields.get("Package"), fields.get("Version")
        if not name or not version or not str(fields.get("Status", "")).endswith(" installed"):
            continue
        purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={fields.get('Architecture', 'all')}"
        own = {f"var/lib/dpkg/info/{name}"} | lists.get(name, set())
        files = {f for f in _with_compiled(own, contents) if f in contents.files}
        files |= {
            f for f in contents.files if f.startswith((f"var/lib/dpkg/info/{name}.", f"var/lib/dpkg/info/{name}:"))
        }
        packages.append(Package(name, version, purl, files=files))
    return packages


def _wheels(contents: Contents) -> list[Package]:
    packages = []
    for path, data in sorted(contents.records.items()):
        found = _METADATA.fullmatch(path)
        if not found or found["file"] != "METADATA":
            continue
        fields = HeaderParser().parsestr(data.decode("utf-8", "replace").partition("\n\n")[0])
        name, version = str(fields.get("Name", found["name"])), str(fields.get("Version", ""))
        normal = re.sub(r"[-_.]+", "-", name).lower()
        record = contents.records.get(path.replace("METADATA", "RECORD"), b"").decode("utf-8", "replace")
        listed = {_resolved(f"{found['site']}/{row[0]}") for row in csv.reader(record.splitlines()) if row}
        files = {f for f in _with_compiled(listed, contents) if f in contents.files}
        licence = str(fields.get("License-Expression") or "NOASSERTION")
        licence = "NOASSERTION" if "LicenseRef-" in licence else licence  # its text would have to be told, too
        purl = f"pkg:pypi/{quote(normal)}@{quote(version)}"
        packages.append(Package(name, version, purl, licence, files))
    return packages


def _with_compiled(paths: set[str], contents: Contents) -> set[str]:
    """These files, and the compiled ones of those that are Python."""
    return paths | {compiled for path in paths for compiled in contents.compiled.get(path, ())}


def _real(path: str, contents: Contents) -> str:
    """A path as it is in the image: dpkg lists /lib/x where /lib is a link to usr/lib."""
    top, _, rest = path.partition("/")
    target = contents.links.get(top)
    return f"{target.strip('/')}/{rest}" if target and rest else path


def _resolved(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", ".", ".."):
            parts.append(part)
    return "/".join(parts)


def _image(name: str, digest: str, contents: Contents) -> dict[str, Any]:
    checksum = {"algorithm": "SHA256", "checksumValue": digest.removeprefix("sha256:")}
    return {
        "SPDXID": "SPDXRef-Image",
        "name": name,
        "versionInfo": digest,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": True,
        "packageVerificationCode": _verification(contents.files, contents),
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [checksum],
    }


def _package(package: Package, contents: Contents) -> dict[str, Any]:
    kind = package.purl.partition(":")[2].partition("/")[0]
    row: dict[str, Any] = {
        "SPDXID": f"SPDXRef-{kind}-{_UNSAFE.sub('-', package.name)}",
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": bool(package.files),
        "licenseDeclared": package.licence,
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package.purl}
        ],
    }
    if package.files:
        row["packageVerificationCode"] = _verification(package.files, contents)
    return row


def _verification(paths: Iterable[str], contents: Contents) -> dict[str, str]:
    joined = "".join(sorted(contents.files[path].sha1 for path in paths))
    return {"packageVerificationCodeValue": hashlib.sha1(joined.encode(), usedforsecurity=False).hexdigest()}


def _file(path: str, held: Held, identity: str, owned: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "SPDXID": identity,
        "fileName": f"./{path}",
        "checksums": [
            {"algorithm": "SHA1", "checksumValue": held.sha1},
            {"algorithm": "SHA256", "checksumValue": held.sha256},
        ],
    }
    if held.changed or not owned:
        row["comment"] = f"{'Changed' if held.changed else 'Made'} by: {held.by or 'an image below'}"
    return row


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
