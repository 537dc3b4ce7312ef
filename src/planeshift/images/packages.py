"""The lock of distribution packages: which ones, of which bytes, make a base image. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import resources

from planeshift.errors import PlaneshiftError, Problem
from planeshift.images.oci import canonical, digest_of

FORMAT = 1
SUITE = "bookworm"
# What every image of a service needs beyond a minimal Debian; its Python is the one that the wheels are chosen for.
INCLUDE = ("ca-certificates", "netbase", "python3")


@dataclass(frozen=True, slots=True)
class Package:
    """One .deb: `archive` is the codename of the part of the distribution that has it, `path` its place there."""

    name: str
    version: str
    archive: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Lock:
    """Exactly the packages of an image's base, for one architecture. `include` is what was asked for."""

    suite: str
    architecture: str
    include: tuple[str, ...]
    packages: tuple[Package, ...]

    def text(self) -> str:
        """The lock as a file, a package a line, so that a new lock reads well as a diff."""
        rows = [json.dumps(asdict(p), sort_keys=True) for p in sorted(self.packages, key=lambda p: p.name)]
        head = {"format": FORMAT, "suite": self.suite, "architecture": self.architecture, "include": list(self.include)}
        body = json.dumps(head)[:-1] + ', "packages": [\n ' + ",\n ".join(rows) + "\n]}\n"
        return body

    @property
    def digest(self) -> str:
        """What stands for the lock where inputs are compared, however the file is laid out."""
        return digest_of(canonical(json.loads(self.text())))

    @classmethod
    def parse(cls, text: str, file: str) -> Lock:
        """A lock of a file's text. Raises PlaneshiftError (PS428)."""
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']}")
            rows = [Package(**{k: row[k] for k in Package.__slots__}) for row in data["packages"]]
            found = cls(data["suite"], data["architecture"], tuple(data["include"]), tuple(rows))
            for package in rows:
                _plain(package)
            return found
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = f"{type(error).__name__}: {error}"
            hint = "`planeshift image lock` writes one."
            raise PlaneshiftError(Problem("PS428", f"{file} is no lock of packages", why=why, hint=hint)) from error

    def lacking(self, wanted: Iterable[str]) -> list[str]:
        """Which of these packages the lock has not."""
        known = {p.name for p in self.packages}
        return sorted(set(wanted) - known)


def shipped(architecture: str) -> Lock:
    """The lock that this version of Planeshift brings. Raises PlaneshiftError (PS428) for another architecture."""
    name = f"debian-{SUITE}-{architecture}.json"
    try:
        text = resources.files(__package__).joinpath("locks", name).read_text("utf-8")
    except FileNotFoundError as error:
        hint = "On such a machine, `planeshift image lock --output FILE`, then `planeshift image build --lock FILE …`."
        raise PlaneshiftError(Problem("PS428", f"no packages are locked for {architecture}", hint=hint)) from error
    return Lock.parse(text, name)


def wanted(include: Sequence[str]) -> tuple[str, ...]:
    """What is asked for, all told: every image's packages and these."""
    return tuple(sorted({*INCLUDE, *include}))


def _plain(package: Package) -> None:
    good = all(isinstance(v, str) and v.isprintable() for v in (package.name, package.version, package.archive))
    hexadecimal = len(package.sha256) == 64 and not set(package.sha256) - set("0123456789abcdef")
    inside = not package.path.startswith("/") and ".." not in package.path.split("/")
    if not (good and hexadecimal and inside and isinstance(package.size, int)):
        raise ValueError(f"package {package.name!r}")
