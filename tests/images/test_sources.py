"""Code from elsewhere than the lock: a directory, a commit, a wheelhouse, another image below, more packages."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from imagerig import recipe

from planeshift.app import images
from planeshift.errors import PlaneshiftError
from planeshift.images import archives, roots, sources
from planeshift.images.build import Builder, difference
from planeshift.images.entries import Entry
from planeshift.images.kept import Kept
from planeshift.images.recipe import Recipe, account
from planeshift.images.store import Image
from planeshift.ports import quiet

pytestmark = pytest.mark.xdist_group("images")
# A service that needs little, so that the tests install little.
_PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "openstack-placement"
version = "99.1"
dependencies = ["iso8601"]
[project.scripts]
placement-manage = "placement.cmd:main"
[tool.setuptools]
packages = ["placement"]
"""
_CODE = 'def main():\n    print("mine", __file__)\n'
_PATCH = b"""\
diff --git a/placement/cmd.py b/placement/cmd.py
--- a/placement/cmd.py
+++ b/placement/cmd.py
@@ -1,2 +1,2 @@
 def main():
-    print("mine", __file__)
+    print("patched", __file__)
"""
NAME = "localhost/planeshift/placement:test"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    (directory / "placement").mkdir(parents=True)
    (directory / "pyproject.toml").write_text(_PROJECT)
    (directory / "placement" / "__init__.py").touch()
    (directory / "placement" / "cmd.py").write_text(_CODE)
    return directory


@pytest.fixture
def small(base: Recipe) -> Recipe:
    """The recipe with a lock of one package, since a source brings what it needs."""
    blocks = base.requirements.replace(" \\\n    ", " ").splitlines()
    (line,) = [b for b in blocks if b.startswith("iso8601==")]
    return replace(base, requirements=line + "\n")


def build(kept: Kept, made: Recipe, below: Image | None = None) -> Image:
    return Builder(kept, os.environ, quiet).image(made, NAME, below)


def git(directory: Path, *arguments: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    done = subprocess.run(["git", "-C", str(directory), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def ran(kept: Kept, image: Image, directory: Path) -> str:
    """What the service's own command says in the image."""
    roots.unpack([(layer, kept.store.path(layer.descriptor.digest)) for layer in image.layers], directory)
    said: list[str] = []
    roots.inside(directory, ["/var/lib/openstack/bin/placement-manage"], said.append)
    return "\n".join(said)


def test_a_source_directory_is_installed_patched_and_leaves_no_trace(
    cache: Kept, small: Recipe, project: Path, tmp_path: Path
) -> None:
    source = sources.of(str(project), "", cache.repositories, os.environ, quiet)
    made = replace(small, source=source, patches=(("0001.patch", _PATCH),))
    image = build(cache, made)
    assert ran(cache, image, tmp_path / "root").startswith("patched /var/lib/openstack/")
    for entry in roots.entries_of(cache.store.path(image.layers[-1].descriptor.digest)):
        assert isinstance(entry.content, bytes) and str(tmp_path).encode() not in entry.content, entry.name
    assert (project / "placement" / "cmd.py").read_text() == _CODE, "the operator's tree is not touched"
    (project / "placement" / "__pycache__").mkdir()
    (project / "placement" / "__pycache__" / "x.pyc").touch()
    assert sources.of(str(project), "", cache.repositories, os.environ, quiet) == source
    (project / "placement" / "cmd.py").write_text(_CODE + "\n")
    assert sources.of(str(project), "", cache.repositories, os.environ, quiet) != source


def test_a_commit_is_what_is_built_whatever_lies_in_the_tree(
    cache: Kept, small: Recipe, project: Path, tmp_path: Path
) -> None:
    git(project, "init", "--quiet", "--initial-branch=main")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "-m", "one")
    git(project, "tag", "v1")
    (project / "placement" / "cmd.py").write_text("syntax error")
    source = sources.of(str(project), "v1", cache.repositories, os.environ, quiet)
    assert source.digest == git(project, "rev-parse", "HEAD")
    image = build(cache, replace(small, source=source))
    assert ran(cache, image, tmp_path / "root").startswith("mine ")
    assert image.labels["planeshift.source"] == f"git {source.digest}"
    with pytest.raises(PlaneshiftError, match=r"PS428.*has no v2"):
        sources.of(str(project), "v2", cache.repositories, os.environ, quiet)


@pytest.mark.parametrize("ref", ["--upload-pack=touch /tmp/x", "v1; id", "../x"])
def test_a_ref_is_never_an_option(ref: str) -> None:
    with pytest.raises(PlaneshiftError, match="PS428"):
        sources.of("", ref, Path("/nonexistent"), os.environ, quiet)


def test_a_wheelhouse_is_all_that_is_installed_from(cache: Kept, small: Recipe, project: Path, tmp_path: Path) -> None:
    from uv import find_uv_bin

    house = tmp_path / "wheels"
    with pytest.raises(PlaneshiftError, match="no wheels"):
        sources.wheelhouse(house)
    subprocess.run([find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", str(house), str(project)], check=True)
    made = replace(small, source=sources.wheelhouse(house), top="openstack-placement\n")
    with pytest.raises(PlaneshiftError, match="PS4") as caught:
        build(cache, made)  # iso8601 is not in it
    assert "iso8601" in caught.value.problems[0].why


def test_an_image_stands_on_another_and_hides_its_environment(
    cache: Kept, small: Recipe, project: Path, tmp_path: Path
) -> None:
    source = sources.of(str(project), "", cache.repositories, os.environ, quiet)
    first = build(cache, replace(small, source=source))
    archive = tmp_path / "first.tar"
    cache.store.export([NAME], archive)
    below = archives.take(archive, cache.store, "file:first")
    assert below.digest == first.digest
    made = replace(small, source=None, base=below.digest, lock=None, service="other", package="iso8601")
    image = build(cache, made, below)
    assert image.layers[: len(below.layers)] == below.layers
    assert image.labels["org.opencontainers.image.base.digest"] == below.digest
    layers = [(layer, cache.store.path(layer.descriptor.digest)) for layer in image.layers]
    roots.unpack(layers, tmp_path / "root")
    assert not (tmp_path / "root/var/lib/openstack/bin/placement-manage").exists()
    assert list((tmp_path / "root/var/lib/openstack").glob("lib/python3*/site-packages/iso8601"))
    passwd = (tmp_path / "root/etc/passwd").read_text()
    assert "other:x:42424:42424:" in passwd and "placement:" not in passwd


def test_a_base_without_python_is_refused(cache: Kept, small: Recipe) -> None:
    empty = cache.store.add_image([cache.store.add_layer([Entry("etc/passwd", content=b"")])], name="x:1")
    with pytest.raises(PlaneshiftError, match=r"PS428.*no /usr/bin/python3"):
        build(cache, replace(small, base=empty.digest, lock=None), empty)


def test_a_damaged_archive_is_refused(cache: Kept, tmp_path: Path) -> None:
    image = cache.store.add_image([cache.store.add_layer([Entry("a", content=b"1" * 1000)])], name="x:1")
    cache.store.export(["x:1"], tmp_path / "x.tar")
    data = bytearray((tmp_path / "x.tar").read_bytes())
    layer = cache.store.path(image.layers[0].descriptor.digest).read_bytes()
    data[data.index(layer) + 20] ^= 1
    (tmp_path / "x.tar").write_bytes(data)
    other = Kept(tmp_path / "other")
    with pytest.raises(PlaneshiftError, match="PS421"):
        archives.take(tmp_path / "x.tar", other.store, "x:1")
    assert not other.store.named()
    for bad in (b"", b"no archive", bytes(data[:700])):
        (tmp_path / "x.tar").write_bytes(bad)
        with pytest.raises(PlaneshiftError, match="PS42"):
            archives.take(tmp_path / "x.tar", other.store, "x:1")


def test_what_docker_saves_is_taken(cache: Kept, tmp_path: Path) -> None:
    import io
    import json
    import tarfile

    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("etc"))
    layer = inner.getvalue()
    from planeshift.images.oci import digest_of

    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]}}
    rows = [{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["l/layer.tar"]}]
    files = {"c.json": json.dumps(config).encode(), "manifest.json": json.dumps(rows).encode(), "l/layer.tar": layer}
    with tarfile.open(tmp_path / "saved.tar", "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    image = archives.take(tmp_path / "saved.tar", cache.store, "x:1")
    assert image.layers[0].descriptor.digest == image.layers[0].diff_id == digest_of(layer)


@pytest.mark.parametrize("name", ["../../escape", "link/escape", "/escape"])
def test_a_hostile_layer_writes_nothing_outside(name: str, cache: Kept, tmp_path: Path) -> None:
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "target")
        tar.addfile(link)
        file = tarfile.TarInfo(name)
        file.size = 4
        tar.addfile(file, io.BytesIO(b"evil"))
        hard = tarfile.TarInfo("hard")
        hard.type, hard.linkname = tarfile.LNKTYPE, "../../../../../../etc/passwd"
        tar.addfile(hard)
    (tmp_path / "target").mkdir()
    path = tmp_path / "layer.tar"
    path.write_bytes(out.getvalue())
    root = tmp_path / "deep" / "root"
    with pytest.raises(PlaneshiftError, match="PS421"):  # the hard link leads to what is not in the image
        roots.unpack([(cache.store.add_layer([]), path)], root)
    assert not list((tmp_path / "target").iterdir())
    assert not (tmp_path / "escape").exists() and not (tmp_path / "deep" / "escape").exists()
    assert list(root.rglob("escape"))


def test_a_difference_of_trees_makes_one_of_the_other() -> None:
    lower = {e.name: e for e in [Entry("a", content=b"1"), Entry("d", "directory", 0o755), Entry("d/x"), Entry("d/y")]}
    upper = [Entry("a", content=b"2"), Entry("b"), Entry("c", "hardlink", target="b")]
    names = [e.name for e in difference(lower, upper)]
    assert names == ["a", "b", "c", ".wh.d"]
    assert not difference({e.name: e for e in upper}, upper)


def test_the_account_takes_the_place_of_who_had_its_number() -> None:
    entries = {
        e.name: e for e in account("glance", "root:x:0:0::/:/bin/sh\nold:x:42424:42424::/:/bin/sh\n", "old:x:42424:\n")
    }
    assert entries["etc/passwd"].content.count(b"42424:42424") == 1  # type: ignore[union-attr]
    assert entries["etc/group"].content == b"glance:x:42424:\n"
    assert entries["var/lib/glance"].uid == 42424


def test_keys_follow_every_input() -> None:
    first = recipe()
    others = [
        replace(first, requirements=first.requirements + "\n"),
        replace(first, pip=("x==1",)),
        replace(first, patches=(("a.patch", b"1"),)),
        replace(first, dist=("apache2",)),
        replace(first, base="sha256:" + "0" * 64, lock=None),
        replace(first, compressor="0"),
        replace(first, ports=(1,)),
    ]
    assert len({r.whole for r in [first, *others]}) == len(others) + 1
    patched = replace(first, patches=(("a.patch", b"1"),))
    assert patched.environment == first.environment, "a patch makes no new environment"


def test_a_request_that_contradicts_itself_is_refused() -> None:
    kept = Kept.of(os.environ)
    for request, code in (
        (images.Request("nowa"), "PS205"),
        (images.Request("glance", release="1999.1"), "PS210"),
        (images.Request("glance", wheels="/tmp", ref="1"), "PS428"),
        (images.Request("glance", base="/tmp/x", dist=("apache2",)), "PS428"),
        (images.Request("glance", base="glance"), "PS464"),
        (images.Request("glance", lock="/nonexistent"), "PS428"),
        (images.Request("glance", patches="/nonexistent"), "PS428"),
        (images.Request("glance", source="/nonexistent"), "PS428"),
    ):
        with pytest.raises(PlaneshiftError, match=code):
            images.recipe(request, kept, os.environ, quiet)


def test_an_image_says_which_ports_its_service_s_programs_listen_at() -> None:
    assert recipe("nova").ports == (8774, 8775, 6080)  # and none for those that take messages
