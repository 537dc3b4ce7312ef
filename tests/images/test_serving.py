"""An image does its work: its service answers, as its user, from a root that it cannot write; and the command line."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import registryrig as rig
from test_build import NAME, PATCH, build

from planeshift.app import unchanged
from planeshift.images import roots
from planeshift.images.kept import Kept
from planeshift.images.recipe import Recipe

pytestmark = pytest.mark.xdist_group("images")
_CONFIG = """\
[DEFAULT]
use_stderr = true
[api]
auth_strategy = noauth2
[placement_database]
connection = sqlite:////run/p.db
sync_on_startup = true
"""
_SERVE = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1"
mount -t tmpfs -o mode=1777 tmpfs "$1/run" && cd /
chroot --userspec=42424:42424 "$1" /var/lib/openstack/bin/gunicorn --bind 127.0.0.1:$2 \
  --worker-tmp-dir /run --no-control-socket placement.wsgi.api:application
exit  # the shell stays the first process of its namespace, which ends with it
"""


def test_a_service_answers_from_its_image_as_its_user(warm: Kept, base: Recipe, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("binding a root read-only takes root")
    image, root, port = build(warm, base), tmp_path / "root", rig.free_port()
    roots.unpack([(layer, warm.store.path(layer.descriptor.digest)) for layer in image.layers], root)
    (root / "etc/placement/placement.conf").write_text(_CONFIG)
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", _SERVE, "sh", str(root), str(port)]
    environment = {"PATH": "/var/lib/openstack/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/run"}
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            answer = b""
            url = f"http://127.0.0.1:{port}/resource_providers"
            asked = urllib.request.Request(url, headers={"x-auth-token": "admin:admin"})
            for _ in range(300):
                with contextlib.suppress(OSError):
                    answer = urllib.request.urlopen(asked).read()
                    break
                assert process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
            assert b'"resource_providers"' in answer, (tmp_path / "log").read_text()
        finally:
            process.kill()


def planeshift(
    cache: Kept, directory: Path, *arguments: str, home: Path | None = None
) -> subprocess.CompletedProcess[str]:
    variables = os.environ | {
        "XDG_CACHE_HOME": str(cache.directory.parent.parent),
        "PYTHONWARNINGS": "error::ResourceWarning",
    }
    if home:
        variables["HOME"] = str(home)
    command = [sys.executable, "-m", "planeshift", *arguments]
    return subprocess.run(command, cwd=directory, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture
def command_cache(tmp_path: Path, user_cache: Kept, base: Recipe) -> Kept:
    """A cache where the command line looks for one."""
    from imagerig import with_base

    (tmp_path / "xdg" / "planeshift").mkdir(parents=True, mode=0o700)
    return with_base(tmp_path / "xdg" / "planeshift" / "images", user_cache, base)


def test_the_command_line_builds_pushes_and_takes_back(command_cache: Kept, tmp_path: Path) -> None:
    (tmp_path / "patches").mkdir()
    (tmp_path / "patches" / "0001-mark.patch").write_bytes(PATCH)
    auth = rig.htpasswd(tmp_path)
    with rig.registry(tmp_path, auth) as host:
        home = Path(rig.docker_config(tmp_path, host, "right")["HOME"])
        target = f"{host}/cloud/placement:v1"
        building = ("image", "build", "placement", "--patches", "patches", "--name", NAME)
        built = planeshift(command_cache, tmp_path, *building, "--push", target, home=home)
        assert built.returncode == 0, built.stderr
        name, pushed = built.stdout.splitlines()
        digest = name.removeprefix(f"{NAME}@")
        assert pushed == f"{target}@{digest}"
        refused = planeshift(command_cache, tmp_path, "image", "pull", target, home=tmp_path)
        assert refused.returncode == 1 and "PS462" in refused.stderr and not refused.stdout
        pulled = planeshift(command_cache, tmp_path, "image", "pull", target, home=home)
        assert pulled.stdout == f"{target}@{digest}\n", pulled.stderr
    listed = planeshift(command_cache, tmp_path, "image", "list", "-o", "name").stdout.split()
    assert listed == sorted([NAME, target])
    spdx = planeshift(command_cache, tmp_path, "image", "inspect", NAME, "-o", "spdx").stdout
    assert '"SPDX-2.3"' in spdx and "pkg:pypi/openstack-placement@" in spdx and "pkg:deb/debian/libc6@" in spdx
    assert "Changed by: planeshift: patches 0001-mark.patch" in spdx
    # A second build has nothing to do; one input changed, and there is.
    first = planeshift(command_cache, tmp_path, *building)
    again = planeshift(command_cache, tmp_path, *building)
    assert first.stdout == again.stdout == f"{name}\n" and not again.stderr
    (tmp_path / "patches" / "0001-mark.patch").write_bytes(PATCH.replace(b"by the site", b"by us"))
    other = planeshift(command_cache, tmp_path, *building)
    assert other.returncode == 0 and other.stdout != again.stdout and "applying 0001-mark.patch" in other.stderr


def test_an_answer_is_given_only_while_nothing_changed(tmp_path: Path) -> None:
    variables = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": "/nonexistent"}
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("1")
    absent = tmp_path / "absent"

    def noted() -> None:
        unchanged.remember(["x"], variables, [str(tmp_path / "in"), str(absent)], "said\n")
        assert unchanged.answer(["x"], variables) == "said\n"

    assert unchanged.answer(["x"], variables) is None
    noted()
    assert unchanged.answer(["x", "y"], variables) is None
    assert unchanged.answer(["x"], variables | {"PLANESHIFT_IMAGE_LOCK": "f"}) is None
    (tmp_path / "in" / "a").write_text("2")
    assert unchanged.answer(["x"], variables) is None
    noted()
    (tmp_path / "in" / "b").touch()
    assert unchanged.answer(["x"], variables) is None
    noted()
    absent.touch()
    assert unchanged.answer(["x"], variables) is None
    noted()
    [note] = (tmp_path / "cache" / "planeshift" / "unchanged").iterdir()
    whole = note.read_bytes()
    for length in range(len(whole)):
        note.write_bytes(whole[:length])
        assert unchanged.answer(["x"], variables) is None, whole[:length]
    note.write_bytes(whole)
    assert unchanged.answer(["x"], variables) == "said\n"
