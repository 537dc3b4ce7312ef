"""Debian: which packages a base needs, their files by hash, and a root directory made of them by mmdebstrap.

apt itself resolves and downloads, from the sources of this machine, so its mirrors, proxies and passwords are used as they
are. A locked package's bytes are proved by their hash wherever they come from; what was fetched once is kept.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from planeshift.drivers import files
from planeshift.drivers.local.command import run
from planeshift.errors import PlaneshiftError, Problem
from planeshift.images.entries import EPOCH, Entry, member
from planeshift.images.packages import SUITE, Lock, Package, wanted
from planeshift.ports import Say

_HELPER = "/usr/lib/apt/apt-helper"
# Nobody reads these in a container; licences stay.
_LEFT_OUT = ("man", "info", "locale", "doc", "lintian", "bug")
# Of the machine that builds, or of the moment; containers get their own.
_NOT_OURS = (
    "etc/hostname",
    "etc/resolv.conf",
    "etc/machine-id",
    "etc/apt/sources.list",
    "var/cache/ldconfig/aux-cache",
)
_EMPTIED = ("dev", "proc", "sys", "run", "tmp", "var/tmp", "var/log", "var/cache/apt", "var/lib/apt/lists")
# Old copies and logs that maintainer scripts leave.
_LEAVINGS = ("etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-")


def need(program: str, package: str) -> str:
    """The path of a program of the build machine. Raises PlaneshiftError (PS424), naming the package that has it."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        hint = f"apt-get install {package}"
        raise PlaneshiftError(Problem("PS424", f"building this image needs {program}, which is not here", hint=hint))
    return found


def resolve(architecture: str, include: Sequence[str]) -> Lock:
    """The newest packages that this machine's apt knows for a minimal Debian with `include`; nothing is downloaded.

    Raises PlaneshiftError: PS424 without apt, PS426 where its sources have no such Debian or no such package.
    """
    need("apt-get", "apt")
    archives = _archives()
    if not any(archive == SUITE for archive, _ in archives):
        hint = f"Add a source of Debian {SUITE} (Signed-By: debian-archive-keyring), `apt-get update`; or use `--from`."
        raise PlaneshiftError(Problem("PS426", f"this machine's apt sources have no Debian {SUITE}", hint=hint))
    asked = wanted(include)
    with tempfile.TemporaryDirectory(prefix="planeshift-apt-") as scratch:
        settings = _alone(Path(scratch), architecture)
        command = ["apt-get", *settings, "-qq", "--no-install-recommends", "--print-uris", "install"]
        done = _run([*command, "?essential", "?priority(required)", "apt", *asked])
        if done.returncode:
            hint = "`apt-get update` first; package names are Debian's."
            raise PlaneshiftError(
                Problem("PS426", "apt cannot resolve the packages", why=_last(done.stderr), hint=hint)
            )
        origins = dict(_origins(done.stdout, settings, archives))
    return Lock(SUITE, architecture, asked, tuple(origins[name] for name in sorted(origins)))


def fetch(lock: Lock, kept: Path, say: Say) -> list[Path]:
    """The .deb files of a lock, from `kept`, or downloaded to there.

    Raises PlaneshiftError (PS425), naming every package that neither is kept nor can be had any more.
    """
    files.private(kept)
    missing = [p for p in lock.packages if not _kept(kept, p).is_file()]
    if missing:
        say(f"downloading {len(missing)} distribution packages")
        need("apt-get", "apt")
        archives = _archives()
        lost = [f"{p.name} {p.version}: {why}" for p in missing if (why := _download(p, _kept(kept, p), archives))]
        if lost:
            hint = (
                "`planeshift image lock --output FILE` locks what the archive has today, for `image build --lock FILE` or "
                "PLANESHIFT_IMAGE_LOCK=FILE; a mirror that keeps old packages can stand in this machine's apt sources."
            )
            what = f"{len(lost)} locked distribution package{'s' * (len(lost) > 1)} cannot be had"
            raise PlaneshiftError(Problem("PS425", what, why="\n".join(lost), hint=hint))
    return [_kept(kept, p) for p in lock.packages]


def bootstrap(lock: Lock, debs: Sequence[Path], scratch: Path, say: Say) -> list[Entry]:
    """Install exactly the locked packages into an empty root by mmdebstrap; what lies in it then, as entries.

    Of Python's compiled files none are taken, since they hold times. Raises PlaneshiftError: PS424, PS426.
    """
    program = need("mmdebstrap", "mmdebstrap")
    repository = _repository(lock, debs, scratch / "repository")
    out = scratch / "root.tar"
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT]
    command = [
        *(program, "--quiet", "--variant=apt", "--format=tar", f"--architectures={lock.architecture}"),
        *("--aptopt=Acquire::Languages none", *excluded, "--dpkgopt=path-include=/usr/share/doc/*/copyright"),
        *("--include", ",".join(sorted(p.name for p in lock.packages))),
        *(lock.suite, str(out), f"deb [trusted=yes] copy:{quote(str(repository))} ./"),
    ]
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(scratch)}
    environment |= {"LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": str(EPOCH), "TMPDIR": str(scratch), "TZ": "UTC"}
    try:
        run(["/bin/sh", "-c", 'umask 022; exec "$@"', "sh", *command], environment, str(scratch), say)
    except PlaneshiftError as error:
        hint = "mmdebstrap needs root, or a user with subuids (see its manual)."
        why = error.problems[0].why
        raise PlaneshiftError(Problem("PS426", "mmdebstrap could not make the base", why=why, hint=hint)) from error
    with tarfile.open(out, errors="surrogateescape") as archive:
        found = [entry for info in archive if (entry := member(info, archive)) and _stays(entry)]
    out.unlink()
    return found


def _stays(entry: Entry) -> bool:
    if entry.name in _NOT_OURS or entry.name in _LEAVINGS or "__pycache__" in entry.name.split("/"):
        return False
    return (entry.kind == "directory" and not entry.name.startswith("var/log/")) or not entry.name.startswith(
        tuple(f"{directory}/" for directory in _EMPTIED)
    )


# --- apt


def _archives() -> list[tuple[str, str]]:
    """(codename, address) of every part of Debian that this machine's apt reads."""
    form = "$(CREATED_BY)|$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)"
    rows = (line.split("|") for line in _run(["apt-get", "indextargets", "--format", form]).stdout.splitlines())
    found = [(r[2], r[4]) for r in rows if r[:2] == ["Packages", "Debian"] and r[3] == "main"]
    return list(dict.fromkeys(found))


def _alone(scratch: Path, architecture: str) -> list[str]:
    """apt's settings for an empty machine of Debian packages alone, with the lists of this one."""
    (scratch / "archives" / "partial").mkdir(parents=True)
    (scratch / "status").touch()
    preferences = scratch / "preferences"
    debian = f"Package: *\nPin: release o=Debian,n=/^{SUITE}/\nPin-Priority: 500\n"
    preferences.write_text(f"{debian}\nPackage: *\nPin: release n=*\nPin-Priority: -1\n")
    options = {
        "Dir::State::status": scratch / "status",
        "Dir::State::extended_states": scratch / "extended",
        "Dir::Etc::Preferences": preferences,
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::Cache::Archives": scratch / "archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "Acquire::ForceHash": "sha256",
        "Debug::NoLocking": "true",
    }
    return [part for name, value in options.items() for part in ("-o", f"{name}={value}")]


def _origins(uris: str, settings: Sequence[str], archives: Sequence[tuple[str, str]]) -> Iterator[tuple[str, Package]]:
    """Each package that apt would download. Format: `'URI' FILE SIZE SHA256:HASH`, FILE being NAME_VERSION_ARCH.deb."""
    for line in uris.splitlines():
        if not line.startswith("'"):
            continue
        uri, file, size, digest = line.rsplit(" ", 3)
        uri = uri.strip("'")
        name, version, _ = (unquote(part) for part in file.removesuffix(".deb").split("_"))
        archive, base = next((a, b) for a, b in sorted(archives, key=lambda p: -len(p[1])) if uri.startswith(b))
        path = unquote(uri.removeprefix(base).lstrip("/"))
        yield name, Package(name, version, archive, path, int(size), digest.removeprefix("SHA256:"))


def _download(package: Package, target: Path, archives: Sequence[tuple[str, str]]) -> str:
    """Fetch one package; empty where that went well, else why not."""
    bases = [base for archive, base in sorted(archives, key=lambda a: a[0] != package.archive)]
    why = "this machine's apt sources have no Debian"
    for base in dict.fromkeys(bases):
        partial = target.with_suffix(f".{os.getpid()}.new")
        uri = f"{base.rstrip('/')}/{package.path.replace('%', '%25').replace('+', '%2b')}"
        settings = ["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3"]
        try:
            done = _run([_HELPER, *settings, "download-file", uri, str(partial), f"SHA256:{package.sha256}"])
            if done.returncode == 0 and partial.is_file():
                partial.replace(target)
                return ""
            why = _last(done.stderr or done.stdout).replace(base, "")
        finally:
            partial.unlink(missing_ok=True)
    return why


def _kept(kept: Path, package: Package) -> Path:
    return kept / f"{package.sha256}.deb"


def _repository(lock: Lock, debs: Sequence[Path], directory: Path) -> Path:
    """A package archive of exactly these files. Format: https://wiki.debian.org/DebianRepository/Format (flat)."""
    need("dpkg-deb", "dpkg")
    directory.mkdir(parents=True)
    stanzas = []
    for package, deb in zip(lock.packages, debs, strict=True):
        os.link(deb, directory / f"{package.sha256}.deb") if _same_device(deb, directory) else shutil.copy(
            deb, directory
        )
        control = _run(["dpkg-deb", "--field", str(deb)]).stdout.strip()
        stanzas.append(f"{control}\nFilename: ./{deb.name}\nSize: {package.size}\nSHA256: {package.sha256}\n")
    (directory / "Packages").write_text("\n".join(stanzas))
    return directory


def _same_device(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment: Mapping[str, str] = {**os.environ, "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)


def _last(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-5:]) or "no reason was given"
