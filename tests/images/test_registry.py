"""Real registries, real faults: what is moved is proved, gone on with, or refused by name."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import registryrig as rig

from planeshift.app.clusters import RegistryBringer
from planeshift.app.site import open_site
from planeshift.catalog.spec import Secret
from planeshift.drivers.maker import RandomMaker
from planeshift.errors import PlaneshiftError
from planeshift.images import Config, Entry, Store
from planeshift.images.credentials import find
from planeshift.images.reference import Reference
from planeshift.images.registry import Registry, attach, referrers
from planeshift.images.store import Image
from planeshift.images.transport import Transport

NAME = "localhost/sample:1"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with rig.registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@dataclass
class Site:
    """A store with an image, and a proxy before the registry to move it through."""

    store: Store
    image: Image
    proxy: rig.Proxy
    said: list[str]
    variables: dict[str, str]

    def reference(self, tag: str = "v1") -> Reference:
        return Reference.parse(
            f"{self.proxy.host}/planeshift/{self.store.directory.parent.name.replace('_', '-')}:{tag}"
        )

    def registry(self, variables: dict[str, str] | None = None) -> Registry:
        reference = self.reference()
        transport = Transport(reference.host, True, variables or self.variables, self.said.append, pause=0.01)
        return Registry(transport, reference.repository)

    def push(self) -> None:
        self.registry().push(self.image, self.store, self.reference())

    def pull(self, directory: Path) -> Image:
        return self.registry().pull(self.reference(), Store(directory), NAME)


def sample(directory: Path) -> tuple[Store, Image]:
    store = Store(directory)
    layers = [store.add_layer([Entry(f"file{n}", content=os.urandom(400_000))]) for n in range(3)]
    return store, store.add_image(layers, Config(labels={"a": "b"}), name=NAME)


@pytest.fixture
def site(tmp_path: Path, plain: str) -> Iterator[Site]:
    with rig.proxy(plain) as proxy:
        yield Site(*sample(tmp_path / "store"), proxy, [], {"HOME": str(tmp_path)})


def test_an_image_comes_back_as_it_went(site: Site, tmp_path: Path) -> None:
    site.push()
    other = Store(tmp_path / "other")
    image = site.registry().pull(site.reference(), other, NAME)
    assert image.digest == site.image.digest
    other.verify(image)
    by_digest = Reference.parse(f"{site.proxy.host}/{site.reference().repository}@{image.digest}")
    assert site.registry().pull(by_digest, Store(tmp_path / "third"), NAME).digest == image.digest


def test_a_document_about_an_image_is_found_by_it(site: Site) -> None:
    site.push()
    registry = site.registry()
    one = attach(registry, site.image.descriptor, "application/spdx+json", b'{"one": 1}', site.store)
    two = attach(registry, site.image.descriptor, "text/plain", b"two", site.store)
    attach(registry, site.image.descriptor, "text/plain", b"two", site.store)
    assert {d.digest for d in referrers(registry, site.image.descriptor)} == {one.digest, two.digest}
    _, data = registry.manifest(one.digest)
    assert json.loads(data)["subject"]["digest"] == site.image.digest


def test_what_is_there_is_not_moved_again(site: Site, tmp_path: Path) -> None:
    site.push()
    before = site.proxy.sent
    site.push()
    assert site.proxy.sent - before < 10_000
    site.pull(tmp_path / "other")
    seen = len(site.proxy.seen)
    site.pull(tmp_path / "other")
    assert all("/manifests/" in line for line in site.proxy.seen[seen:])


def test_a_registry_that_dies_amid_a_push_is_gone_on_with(site: Site, tmp_path: Path) -> None:
    cut = 150_000
    site.proxy.fault = lambda method, path, count: ("cut", cut) if method == "PATCH" and count <= 2 else None
    site.push()
    assert site.pull(tmp_path / "other").digest == site.image.digest
    whole = sum(blob.size for blob in site.image.blobs())
    # What arrived before the cuts is not sent again: each cut loses at most what was on its way.
    assert site.proxy.sent < whole + 2 * cut + 10_000
    assert any(line.startswith("GET") and "/uploads/" in line for line in site.proxy.seen)
    assert any("waiting for" in line for line in site.said)


def test_a_connection_that_breaks_amid_a_pull_is_gone_on_with(site: Site, tmp_path: Path) -> None:
    site.push()
    blob = site.image.layers[0].descriptor
    site.proxy.fault = lambda method, path, count: (
        ("cut", 60_000) if method == "GET" and path.endswith(blob.digest) else None
    )
    image = site.pull(tmp_path / "other")
    Store(tmp_path / "other").verify(image)
    # More breaks than attempts, since every one of them got further.
    assert sum(line.endswith(blob.digest) and line.startswith("GET") for line in site.proxy.seen) == 7


def test_a_pull_that_was_killed_is_gone_on_with(site: Site, tmp_path: Path) -> None:
    site.push()
    script = (
        "import sys; from pathlib import Path; from planeshift.images import Store;"
        "from planeshift.images.reference import Reference; from planeshift.images.registry import Registry;"
        "from planeshift.images.transport import Transport; r = Reference.parse(sys.argv[1]);"
        "Registry(Transport(r.host, True, {}, print, pause=60), r.repository).pull(r, Store(Path(sys.argv[2])), 'x:1')"
    )
    site.proxy.fault = lambda method, path, count: ("cut", 300_000) if method == "GET" and "/blobs/" in path else None
    command = [sys.executable, "-u", "-c", script, str(site.reference()), str(tmp_path / "other")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and "waiting for" in process.stdout.readline()
        process.kill()
    assert list((tmp_path / "other" / "partial").glob("*.partial"))
    site.proxy.fault = lambda method, path, count: None
    seen = len(site.proxy.seen)
    Store(tmp_path / "other").verify(site.pull(tmp_path / "other"))
    assert len(site.proxy.seen) > seen and not list((tmp_path / "other" / "partial").iterdir())


def test_a_wrong_blob_is_refused_and_not_kept(site: Site, tmp_path: Path) -> None:
    site.push()
    wrong = site.image.layers[1].descriptor.digest
    site.proxy.fault = lambda method, path, count: ("flip", 0) if path.endswith(wrong) and method == "GET" else None
    with pytest.raises(PlaneshiftError, match="PS463"):
        site.pull(tmp_path / "other")
    other = Store(tmp_path / "other")
    assert not other.has(wrong) and not other.named()
    site.proxy.fault = lambda method, path, count: None
    other.verify(site.pull(tmp_path / "other"))


def test_a_wrong_manifest_is_refused(site: Site, tmp_path: Path) -> None:
    site.push()
    site.proxy.fault = lambda method, path, count: ("flip", 0) if "/manifests/" in path and method == "GET" else None
    reference = Reference.parse(f"{site.proxy.host}/{site.reference().repository}@{site.image.digest}")
    with pytest.raises(PlaneshiftError, match="PS463"):
        site.registry().pull(reference, Store(tmp_path / "other"), NAME)


def test_a_registry_that_is_busy_is_waited_for_and_one_that_stays_away_is_named(site: Site) -> None:
    site.proxy.fault = lambda method, path, count: ("status", 503) if method == "POST" and count <= 2 else None
    site.push()
    site.proxy.fault = lambda method, path, count: ("status", 503)
    with pytest.raises(PlaneshiftError, match="PS461") as caught:
        site.push()
    assert "503" in caught.value.problems[0].why
    nobody = Transport(f"127.0.0.1:{rig.free_port()}", True, {}, pause=0.01)
    with pytest.raises(PlaneshiftError, match="PS461"):
        Registry(nobody, "x").manifest("v1")


def test_what_is_not_there_is_named(site: Site, tmp_path: Path) -> None:
    with pytest.raises(PlaneshiftError, match="PS423"):
        site.registry().pull(site.reference("nothing"), Store(tmp_path / "other"), NAME)


# --- credentials


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_credentials_let_in_and_wrong_ones_do_not(kind: str, tmp_path: Path) -> None:
    tokens: dict[str, Any]
    with rig.token_server(tmp_path, "right") as tokens:
        settings = rig.htpasswd(tmp_path) if kind == "basic" else tokens["settings"]
        with rig.registry(tmp_path, settings) as host, rig.proxy(host) as proxy:
            right = rig.docker_config(tmp_path, proxy.host, "right")
            site = Site(*sample(tmp_path / "store"), proxy, [], right)
            site.push()
            assert site.pull(tmp_path / "other").digest == site.image.digest
            wrong = rig.docker_config(tmp_path / "wrong", proxy.host, "wrong secret")
            for variables, word in (
                (wrong, "does not take our credentials"),
                ({"HOME": "/nonexistent"}, "there are none"),
            ):
                seen = len(proxy.seen)
                with pytest.raises(PlaneshiftError, match=f"PS462.*{word}") as caught:
                    site.registry(variables).push(site.image, site.store, site.reference())
                assert "wrong secret" not in repr(caught.value.problems)
                assert len(proxy.seen) - seen <= 2, "a refusal is not tried again and again"


def test_a_token_that_expires_amid_the_work_is_got_anew(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        tokens = stack.enter_context(rig.token_server(tmp_path, "right"))
        proxy = stack.enter_context(rig.proxy(stack.enter_context(rig.registry(tmp_path, tokens["settings"]))))
        site = Site(*sample(tmp_path / "store"), proxy, [], rig.docker_config(tmp_path, proxy.host, "right"))
        registry = site.registry()
        registry.push(site.image, site.store, site.reference())
        tokens["state"]["life"] = -120  # as if time had gone on
        registry.transport._authorization.clear()
        with pytest.raises(PlaneshiftError, match="PS462"):
            registry.manifest("v1")
        tokens["state"]["life"] = 300
        assert registry.manifest("v1")[0].digest == site.image.digest
        given = tokens["state"]["given"]
        time.sleep(0.1)
        registry.transport._authorization = dict.fromkeys(registry.transport._authorization, "Bearer old.old.old")
        assert registry.manifest("v1")[0].digest == site.image.digest
        assert tokens["state"]["given"] == given + 1


def test_a_password_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    variables = rig.docker_config(tmp_path, "registry.example.org", "hush hush")
    assert find("registry.example.org", variables).password == "hush hush"
    assert not find("other.example.org", variables)
    assert "hush" not in repr(find("registry.example.org", variables))
    (tmp_path / "home" / ".docker" / "config.json").chmod(0o644)
    with pytest.raises(PlaneshiftError, match="PS503"):
        find("registry.example.org", variables)


def test_a_credential_helper_is_asked(tmp_path: Path) -> None:
    helper = tmp_path / "docker-credential-mine"
    helper.write_text('#!/bin/sh\nread host\necho "{\\"Username\\": \\"op\\", \\"Secret\\": \\"for $host\\"}"\n')
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text('{"credHelpers": {"registry.example.org": "mine"}}')
    variables = {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert find("registry.example.org", variables).password == "for registry.example.org"


def test_credentials_go_to_no_place_without_tls(tmp_path: Path) -> None:
    transport = Transport("registry.example.org", False, rig.docker_config(tmp_path, "registry.example.org", "x"))
    challenge = 'Bearer realm="http://registry.example.org/token",service="r"'
    with pytest.raises(PlaneshiftError, match=r"PS462.*not safe"):
        transport._answer(challenge, "repository:x:pull")


# --- names


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag"),
    [
        ("registry.example.org/a/b:v1", "registry.example.org", "a/b", "v1"),
        ("localhost/planeshift/glance", "localhost", "planeshift/glance", "latest"),
        ("10.0.0.1:5000/x", "10.0.0.1:5000", "x", "latest"),
        ("[::1]:5000/x:1", "[::1]:5000", "x", "1"),
        (f"h.example/x@sha256:{'0' * 64}", "h.example", "x", ""),
    ],
)
def test_names_are_read(text: str, host: str, repository: str, tag: str) -> None:
    found = Reference.parse(text)
    assert (found.host, found.repository, found.tag) == (host, repository, tag)
    assert found.loopback == host.startswith(("localhost", "[::1]"))


@pytest.mark.parametrize(
    "text",
    [
        "glance",
        "glance:v1",
        "a/b",
        "h.example/",
        "h.example/A",
        "h.example/../x",
        "h.example/x:",
        "h.example/x@sha256:1",
    ],
)
def test_names_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(PlaneshiftError, match="PS464"):
        Reference.parse(text)


CLOUD = """
apiVersion: planeshift/v1
kind: Cloud
metadata: {name: sample}
spec:
  registries: {ours: {host: "HOST", ca: tls/registry.pem}}
  hosts: [{name: here}]
  services: {keystone: {backends: {vms: {hosts: [here]}}}}
"""


def test_a_registry_under_an_authority_of_the_operators_own(tmp_path: Path) -> None:
    store, image = sample(tmp_path / "store")
    made = RandomMaker().make(Secret("tls", "trial-tls", "a test"), ["127.0.0.1"])
    assert isinstance(made, dict)
    with rig.registry(tmp_path, tls={name: str(text) for name, text in made.items()}) as host:
        reference = Reference.parse(f"{host}/site/sample:v1")
        (tmp_path / "tls").mkdir()
        (tmp_path / "tls/registry.pem").write_text(str(made["ca_certificate"]))
        (tmp_path / "cloud.yaml").write_text(CLOUD.replace("HOST", host))
        bringer = RegistryBringer.of(open_site(str(tmp_path / "cloud.yaml")), f"{host}/site")
        assert not bringer.has(str(reference))
        Registry(Transport.of(reference, ca=bringer.ca), reference.repository).push(image, store, reference)
        assert bringer.has(str(reference))
        with pytest.raises(PlaneshiftError) as caught:
            Registry(Transport(host), reference.repository).manifest("v1")
        (problem,) = caught.value.problems
        assert problem.code == "PS461" and "`registries`" in problem.hint
    with pytest.raises(PlaneshiftError, match="reading site/sample:v1 failed"):
        bringer.has(str(reference))
