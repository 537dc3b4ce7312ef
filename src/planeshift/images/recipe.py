"""What goes into an image, and all that follows from it: keys, labels, configuration, the account that it runs as. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from planeshift.images.entries import Entry
from planeshift.images.oci import Config, canonical, digest_of
from planeshift.images.packages import Lock
from planeshift.images.python import PREFIX

BUILDER = 2  # counts up whenever the same inputs become other bytes
UID = 42424  # LOCI's, which stock charts expect; the group's too
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LABEL = "planeshift."


@dataclass(frozen=True)
class Source:
    """Where the service's own code comes from, when not from the lock: `digest` stands for its content.

    `kind`: `tree` a directory, `git` a commit of a repository, `wheels` a wheelhouse, `version` another version on the
    package index.
    """

    kind: str
    place: str
    digest: str

    @property
    def version(self) -> str:
        """What an image's label says: the version where it is known before anything is built."""
        short = self.digest.removeprefix("sha256:")[:12]
        return self.digest if self.kind == "version" else f"{self.kind}-{short}"


@dataclass(frozen=True)
class Recipe:
    """The inputs of one image."""

    service: str
    package: str  # its name on the package index
    release: str
    version: str
    requirements: str  # the lock of its wheels
    top: str  # what the lock was made from: its requirements without their needs
    base: str = ""  # digest of the image to build upon; empty: Debian from `lock`
    base_name: str = ""
    lock: Lock | None = None
    dist: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    source: Source | None = None
    patches: tuple[tuple[str, bytes], ...] = ()
    ports: tuple[int, ...] = ()
    compressor: str = ""  # the version that writes the layers

    @property
    def tag(self) -> str:
        """The default tag: the series, since that is what charts and people ask for."""
        return self.release

    @property
    def whole(self) -> str:
        """The key of the whole image: equal inputs have equal keys."""
        return _key("image", self.environment, [(n, digest_of(p)) for n, p in self.patches], list(self.ports))

    @property
    def foundation(self) -> str:
        """The key of the base with its distribution packages."""
        return _key("base", self.compressor, self.base, self.lock.digest if self.lock else "", list(self.dist))

    @property
    def environment(self) -> str:
        """The key of /var/lib/openstack before patches; a source is patched before it is installed."""
        source = [self.source.kind, self.source.digest] if self.source else []
        source += [self.patch_digest] if self.source_is_patched else []
        what = [self.service, self.package, self.requirements, self.top, list(self.pip), source]
        return _key("environment", self.foundation, *what)

    @property
    def source_is_patched(self) -> bool:
        """Whether patches go to a source tree, and not to what was installed from wheels."""
        return self.source is not None and self.source.kind in ("tree", "git")

    @property
    def patch_digest(self) -> str:
        """One digest for all patches in their order; empty for none."""
        return digest_of(canonical([[n, digest_of(p)] for n, p in self.patches])) if self.patches else ""

    @property
    def system_packages(self) -> bool:
        """Whether the environment must see the distribution's Python packages."""
        return any(name.startswith("python3-") for name in self.dist)

    def labels(self) -> dict[str, str]:
        """Labels with what the image was made from."""
        found = {
            "org.opencontainers.image.title": self.service,
            "org.opencontainers.image.version": self.version,
            "org.opencontainers.image.description": f"OpenStack {self.service} {self.release}",
            LABEL + "service": self.service,
            LABEL + "release": self.release,
            LABEL + "key": self.whole,
            LABEL + "requirements": digest_of(self.requirements.encode()),
            LABEL + "packages": self.lock.digest if self.lock else "",
            "org.opencontainers.image.base.digest": self.base,
            "org.opencontainers.image.base.name": self.base_name,
            LABEL + "dist-packages": ",".join(self.dist),
            LABEL + "pip": ",".join(self.pip),
            LABEL + "source": f"{self.source.kind} {self.source.digest}" if self.source else "",
            LABEL + "patches": ",".join(name for name, _ in self.patches),
            LABEL + "patches.digest": self.patch_digest,
        }
        return {name: value for name, value in found.items() if value}

    def config(self, below: Mapping[str, str]) -> Config:
        """How it runs: as the service's user, with its programs on the path; what it runs is the chart's to say.

        `below` is the environment that the image below has.
        """
        path = f"/{PREFIX}/bin:{below.get('PATH') or _PATH}"
        return Config(
            environment={"LANG": "C.UTF-8", **below, "PATH": path},
            user=f"{UID}:{UID}",
            ports=tuple(f"{port}/tcp" for port in self.ports),
            labels=self.labels(),
        )


def plain(recipe: Recipe, lock: Lock) -> Recipe:
    """The recipe without distribution packages of its own, upon this lock."""
    return replace(recipe, lock=lock, dist=())


def account(service: str, passwd: str, group: str) -> list[Entry]:
    """The service's user and directories, as LOCI has them, given the base's account files."""
    home = f"var/lib/{service}"
    user = f"{service}:x:{UID}:{UID}:{service} user:/{home}:/usr/sbin/nologin\n"
    taken = _without(passwd, service, 2), _without(group, service, 2)
    own = [Entry(name, "directory", 0o755, UID, UID) for name in (f"etc/{service}", home, f"var/log/{service}")]
    return [
        *own,
        Entry(f"var/cache/{service}", "directory", 0o755, UID, UID),
        Entry("etc/passwd", content=(taken[0] + user).encode()),
        Entry("etc/group", content=f"{taken[1]}{service}:x:{UID}:\n".encode()),
    ]


def _without(table: str, name: str, column: int) -> str:
    rows = [row for row in table.splitlines() if row]
    kept = [r for r in rows if r.split(":")[0] != name and (r.split(":") + [""] * 3)[column] != str(UID)]
    return "".join(f"{row}\n" for row in kept)


def _key(*parts: object) -> str:
    return digest_of(canonical([BUILDER, *_lists(parts)]))[7:]


def _lists(parts: Sequence[object]) -> list[object]:
    return [list(part) if isinstance(part, tuple) else part for part in parts]
