"""Real images of a real service: the same bytes again, run as their user, patched, and rebuilt after kills and damage."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from imagerig import packages

from planeshift.errors import PlaneshiftError
from planeshift.images import debian, roots
from planeshift.images.build import Builder
from planeshift.images.kept import Kept
from planeshift.images.packages import shipped
from planeshift.images.recipe import Recipe
from planeshift.images.store import Image
from planeshift.ports import quiet

pytestmark = pytest.mark.xdist_group("images")
NAME = "localhost/planeshift/placement:test"
PATCH = b"""\
--- a/placement/errors.py
+++ b/placement/errors.py
@@ -1,2 +1,3 @@
+patched = "by the site"
 #    Licensed under the Apache License, Version 2.0 (the "License"); you may
 #    not use this file except in compliance with the License. You may obtain
"""


def build(kept: Kept, recipe: Recipe) -> Image:
    return Builder(kept, os.environ, quiet).image(recipe, NAME)


def run(kept: Kept, image: Image, directory: Path, *argv: str) -> str:
    """Run a program of an image as the image's user, in a directory that holds the image and nothing of this machine."""
    if not directory.exists():
        roots.unpack([(layer, kept.store.path(layer.descriptor.digest)) for layer in image.layers], directory)
    user = image.config["config"]["User"]
    environment = dict(pair.split("=", 1) for pair in image.config["config"]["Env"])
    said = subprocess.run(
        ["chroot", f"--userspec={user}", str(directory), *argv],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    return said.stdout


def test_the_same_inputs_give_the_same_image_anywhere(warm: Kept, base: Recipe, tmp_path: Path) -> None:
    first = build(warm, base)
    other = Kept(tmp_path / "a place with a longer name")
    other.store.add(b"")
    (kept,) = Builder(warm, os.environ, quiet).debian(base)
    os.link(warm.store.path(kept.descriptor.digest), other.store.path(kept.descriptor.digest))
    other.layer(base.foundation, lambda: kept)
    before = os.umask(0o077)
    try:
        again = Builder(other, os.environ | {"LC_ALL": "C", "TZ": "Asia/Tokyo"}, quiet).image(base, NAME)
    finally:
        os.umask(before)
    assert again.digest == first.digest


def test_an_image_runs_its_service_as_its_user(warm: Kept, base: Recipe, tmp_path: Path) -> None:
    image = build(warm, base)
    assert image.config["config"]["User"] == "42424:42424"
    version = run(warm, image, tmp_path / "root", "placement-manage", "--version")
    assert version.strip().endswith(base.version)
    assert "gunicorn" in run(warm, image, tmp_path / "root", "gunicorn", "--version")
    code = (
        "import placement.errors as m, sys; print(m.__file__, m.__cached__, sys.prefix, sys.flags.dont_write_bytecode)"
    )
    found = run(warm, image, tmp_path / "root", "/var/lib/openstack/bin/python", "-c", code).split()
    assert found[0].startswith("/var/lib/openstack/lib/python3.11/site-packages/") and found[2] == "/var/lib/openstack"
    compiled = (tmp_path / "root" / found[1].lstrip("/")).read_bytes()
    assert int.from_bytes(compiled[4:8], "little") == 0b11, "hash-based, and checked: PEP 552"


def test_nothing_in_an_image_tells_of_the_machine_that_built_it(warm: Kept, base: Recipe) -> None:
    image = build(warm, base)
    needles = [str(warm.directory).encode(), str(Path.home() / ".cache").encode(), sys.prefix.encode()]
    for layer in image.layers:
        with roots.tar_of(warm.store.path(layer.descriptor.digest)) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                data = content.read() if content else b""
                assert not [n for n in needles if n in data], member.name
                assert member.name not in ("etc/hostname", "etc/resolv.conf", "etc/apt/sources.list")


def test_services_share_the_base(warm: Kept, base: Recipe) -> None:
    image = build(warm, base)
    assert image.layers[0].descriptor.digest == Builder(warm, os.environ, quiet).debian(base)[0].descriptor.digest
    assert image.layers[0].descriptor.size > 10 * image.layers[1].descriptor.size


def test_a_patch_shows_in_the_service_and_costs_one_small_layer(warm: Kept, base: Recipe, tmp_path: Path) -> None:
    plain = build(warm, base)
    image = build(warm, replace(base, patches=(("0001-mark.patch", PATCH),)))
    assert [x.descriptor.digest for x in image.layers[:-1]] == [x.descriptor.digest for x in plain.layers]
    assert image.layers[-1].descriptor.size < 50_000
    assert image.labels["planeshift.patches"] == "0001-mark.patch"
    code = "import placement.errors as m; print(m.patched)"
    assert run(warm, image, tmp_path / "root", "/var/lib/openstack/bin/python", "-c", code) == "by the site\n"


def test_a_patch_that_does_not_apply_builds_nothing(warm: Kept, base: Recipe) -> None:
    before = build(warm, base)
    for patch in (PATCH.replace(b"Apache License", b"Other License"), b"no patch at all\n"):
        with pytest.raises(PlaneshiftError, match=r"PS427: 0002-bad\.patch"):
            build(warm, replace(base, patches=(("0001-mark.patch", PATCH), ("0002-bad.patch", patch))))
    assert warm.store.named()[NAME].digest == before.digest


def test_patches_reach_only_what_is_installed(warm: Kept, base: Recipe) -> None:
    escaping = PATCH.replace(b"placement/errors.py", b"../../../../etc/passwd")
    with pytest.raises(PlaneshiftError, match="PS427"):
        build(warm, replace(base, patches=(("0001.patch", escaping),)))
    note = b"--- /dev/null\n+++ b/releasenotes/notes/x.yaml\n@@ -0,0 +1 @@\n+fixes: []\n"
    image = build(warm, replace(base, patches=(("0001.patch", PATCH + note),)))
    with roots.tar_of(warm.store.path(image.layers[-1].descriptor.digest)) as tar:
        names = tar.getnames()
    assert len(names) == 2 and not [n for n in names if "releasenotes" in n]


def test_a_package_that_does_not_match_its_lock_is_refused(cache: Kept, base: Recipe) -> None:
    forged = re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, base.requirements)
    with pytest.raises(PlaneshiftError, match="PS406"):
        build(cache, replace(base, requirements=forged))
    assert not cache.store.named()


def test_a_kill_at_any_moment_is_gone_on_from(cache: Kept, warm: Kept, base: Recipe, tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]);"
        "from imagerig import recipe; from test_build import build;"
        "from planeshift.images.kept import Kept; print('go', flush=True);"
        "print(build(Kept(Path(sys.argv[1])), recipe()).digest)"
    )
    command = [sys.executable, "-c", script, str(cache.directory), str(Path(__file__).parent)]
    for moment in (0.05, 0.4, 1.2, 2.5):
        with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
            assert process.stdout and process.stdout.readline() == b"go\n"
            time.sleep(moment)
            os.kill(process.pid, signal.SIGKILL)
    image = build(cache, base)
    cache.store.verify(image)
    assert image.digest == build(warm, base).digest
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(tmp_path) not in mounts


def test_a_dropped_package_leaves_the_kept_base_and_else_is_refused_by_name(
    warm: Kept, base: Recipe, tmp_path: Path
) -> None:
    lock = base.lock
    assert lock
    gone = replace(lock.packages[0], sha256="0" * 64, version="0.0.1", path="pool/main/n/none/none_0.0.1_all.deb")
    dropped = replace(base, lock=replace(lock, packages=(gone, *lock.packages[1:])))
    kept = Builder(warm, os.environ, quiet).debian(base)[0]
    warm.layer(dropped.foundation, lambda: kept)
    assert build(warm, dropped).layers[0] == kept
    other = Kept(tmp_path / "other")
    packages(other, Kept.of(os.environ), lock)
    with pytest.raises(PlaneshiftError, match="PS425") as caught:
        Builder(other, os.environ, quiet).debian(dropped)
    assert gone.name in caught.value.problems[0].why and "0.0.1" in caught.value.problems[0].why


def test_a_base_of_locked_packages_is_the_same_again(base: Recipe, user_cache: Kept, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "another place")
    assert base.lock
    packages(kept, user_cache, base.lock)
    again = Builder(kept, os.environ, quiet).debian(base)
    assert again == Builder(user_cache, os.environ, quiet).debian(base)


def test_what_is_kept_but_damaged_is_made_again(cache: Kept, base: Recipe) -> None:
    image = build(cache, base)
    cache.store.path(image.layers[-1].descriptor.digest).write_bytes(b"short")
    assert build(cache, base).digest == image.digest
    cache.store.verify(image)


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(debian.shutil, "which", lambda program, path: None)
    with pytest.raises(PlaneshiftError, match="mmdebstrap") as caught:
        debian.bootstrap(shipped("amd64"), [], tmp_path, quiet)
    assert caught.value.problems[0].hint == "apt-get install mmdebstrap"
