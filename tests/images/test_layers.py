"""Layers and the store: the same bytes everywhere, whole after a kill, and what the specification asks."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest
import zstandard

from planeshift.errors import PlaneshiftError
from planeshift.images import Config, Entry, Layer, Store, link, tree
from planeshift.images.entries import EPOCH, member, ordered
from planeshift.images.kept import BASE, Kept


def _unpacked(store: Store, digest: str) -> tarfile.TarFile:
    data = zstandard.ZstdDecompressor().decompressobj().decompress(store.path(digest).read_bytes())
    return tarfile.open(fileobj=io.BytesIO(data))


def _sample(root: Path) -> Path:
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "run").write_text("#!/bin/sh\n")
    (root / "bin" / "run").chmod(0o700)
    (root / "lib").mkdir(mode=0o700)
    (root / "lib" / ("long" * 40)).write_bytes(b"x" * 3_000_000)
    (root / "lib" / "naïve").symlink_to("../bin/run")
    os.link(root / "bin" / "run", root / "lib" / "also")
    return root


def test_a_layer_is_the_same_from_another_place_umask_locale_and_hour(tmp_path: Path) -> None:
    one = Store(tmp_path / "a").add_layer(tree(_sample(tmp_path / "one"), at="opt"))
    script = (
        "import os, sys; os.umask(0o077); from pathlib import Path; from planeshift.images import Store, tree;"
        "sys.path.insert(0, sys.argv[3]); from test_layers import _sample; t = Path(sys.argv[1]);"
        "print(Store(Path(sys.argv[2])).add_layer(tree(_sample(t), at='opt')).descriptor.digest)"
    )
    arguments = [tmp_path / "two" / "deeper", tmp_path / "b", Path(__file__).parent]
    environment = os.environ | {"LC_ALL": "C", "TZ": "Pacific/Kiritimati"}
    run = [sys.executable, "-c", script, *map(str, arguments)]
    other = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == one.descriptor.digest


def test_a_layer_holds_what_the_tree_had(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    layer = store.add_layer([*tree(_sample(tmp_path / "tree"), hardlinks=True), link("etc", "usr/etc")])
    with _unpacked(store, layer.descriptor.digest) as found:
        members = {m.name: m for m in found.getmembers()}
        assert list(members) == sorted(members, key=lambda n: n.split("/"))
        assert {m.mtime for m in members.values()} == {EPOCH}
        assert {(m.uid, m.gid, m.uname, m.gname) for m in members.values()} == {(0, 0, "", "")}
        assert members["bin/run"].mode == 0o755 and members["lib"].mode == 0o755
        assert members["lib/also"].islnk() and members["lib/also"].linkname == "bin/run"
        assert members["lib/naïve"].linkname == "../bin/run"
        assert found.extractfile("lib/" + "long" * 40).read() == b"x" * 3_000_000  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "entry",
    [
        Entry("a"),
        Entry("d", "directory", 0o1777, 7, 8),
        Entry("x/" * 49 + "123", content=b"1"),
        Entry("x/" * 49 + "1234", content=b"1"),
        Entry("y" * 155 + "/" + "z" * 100, mode=0o4755),
        Entry("y" * 156 + "/" + "z" * 100),
        Entry("y" * 101),
        Entry("d" * 120, "directory"),
        Entry("p" * 30 + "/" + "d" * 99, "directory"),
        Entry("ü" * 60),
        Entry("l", "link", 0o777, target="t" * 100),
        Entry("l", "link", 0o777, target="t" * 101),
        Entry("u", uid=0o7777777, gid=0o10000000),
        Entry("c", capability=b"\x01\0\0\x02\x20\xff"),
    ],
)
def test_a_header_says_what_the_entry_says(entry: Entry) -> None:
    data = entry.header() + (entry.content if isinstance(entry.content, bytes) else b"")
    with tarfile.open(fileobj=io.BytesIO(data.ljust(len(data) + -len(data) % 512 + 1024, b"\0"))) as tar:
        (info,) = tar.getmembers()
        assert member(info, tar) == entry


@pytest.mark.parametrize("name", ["../out", "a/../../b", "", "/etc/passwd", "a//b", "./a"])
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(PlaneshiftError, match="PS422"):
        ordered([Entry(name)])


def test_a_name_stands_once() -> None:
    with pytest.raises(PlaneshiftError, match="PS422"):
        ordered([Entry("a"), Entry("b"), Entry("a", content=b"x")])


def test_a_file_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    entries = tree(tmp_path)
    for content in (b"1234", b"123456"):
        (tmp_path / "f").write_bytes(content)
        with pytest.raises(PlaneshiftError, match="PS422"):
            Store(tmp_path / "store").add_layer(entries)
    assert not list((tmp_path / "store" / "partial").iterdir())


def test_an_image_is_what_the_specification_says(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    layers = [store.add_layer([Entry("a", content=b"1")], "first"), store.add_layer([Entry("b", content=b"2")])]
    config = Config(entrypoint=("/a",), environment={"B": "2", "A": "1"}, user="42424:42424", ports=("80/tcp",))
    image = store.add_image(layers, config, name="localhost/x/y:v1")
    assert image.config["config"] == {
        "Entrypoint": ["/a"],
        "Env": ["A=1", "B=2"],
        "ExposedPorts": {"80/tcp": {}},
        "User": "42424:42424",
    }
    assert image.config["rootfs"]["diff_ids"] == [layer.diff_id for layer in layers]
    assert [line["created_by"] for line in image.config["history"]] == ["first", "planeshift"]
    store.verify(image)
    assert store.named() == {"localhost/x/y:v1": store.image("localhost/x/y:v1").descriptor}
    assert store.image("localhost/x/y:v1") == Store(store.directory).image("localhost/x/y:v1")


def test_an_archive_is_both_an_oci_layout_and_what_docker_loads(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    layer = store.add_layer([Entry("a", content=b"1")])
    for name in ("localhost/x:1", "localhost/y:1"):
        store.add_image([layer], Config(labels={"name": name}), name=name)
    outs = [tmp_path / "one.tar", tmp_path / "two.tar"]
    for out in outs:
        store.export(["localhost/x:1", "localhost/y:1"], out)
    assert outs[0].read_bytes() == outs[1].read_bytes()
    with tarfile.open(outs[0]) as archive:
        names = archive.getnames()
        docker = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
    assert [row["RepoTags"] for row in docker] == [["localhost/x:1"], ["localhost/y:1"]]
    assert {path for row in docker for path in [row["Config"], *row["Layers"]]} < set(names)
    assert [m["annotations"]["io.containerd.image.name"] for m in index["manifests"]] == [
        "localhost/x:1",
        "localhost/y:1",
    ]
    assert len(names) == len(set(names)) == 3 + 1 + 2 * 2


def test_a_name_moves_to_the_newer_image(tmp_path: Path) -> None:
    store = Store(tmp_path)
    layer = store.add_layer([Entry("a")])
    first = store.add_image([layer], Config(user="1"), name="x:1")
    second = store.add_image([layer], Config(user="2"), name="x:1")
    assert first.digest != second.digest == store.named()["x:1"].digest
    assert store.forget("x:1") and not store.forget("x:1")
    with pytest.raises(PlaneshiftError, match="PS423"):
        store.image("x:1")


def test_damage_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    image = store.add_image([store.add_layer([Entry("a")])], name="x:1")
    path = store.path(image.layers[0].descriptor.digest)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(PlaneshiftError, match="PS421"):
        store.verify(image)
    config = store.path(image.config_digest)
    config.write_bytes(config.read_bytes().replace(b"linux", b"minix"))
    with pytest.raises(PlaneshiftError, match="PS421"):
        store.image("x:1")


def test_pruning_leaves_what_is_named_needed_or_young(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    store = kept.store
    layers = [store.add_layer([Entry(name)]) for name in ("named", "base", "unneeded", "young")]
    image = store.add_image(layers[:1], name="x:1")
    kept.layer("key", lambda: Layer(layers[1].descriptor, layers[1].diff_id, f"{BASE}, locked packages"))
    kept.layer("other", lambda: layers[2])
    old = time.time() - 7200
    for layer in layers[:3]:
        os.utime(store.path(layer.descriptor.digest), (old, old))
    assert kept.prune() == layers[2].descriptor.size
    assert [store.has(layer.descriptor.digest) for layer in layers] == [True, True, False, True]
    store.verify(image)
    assert kept.layer("other", lambda: layers[3]) == layers[3], "what is gone is made again"


def test_a_kill_amid_a_layer_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from planeshift.images import Entry, Store;"
        "s = Store(Path(sys.argv[1])); s.add_image([s.add_layer([Entry('a')])], name='x:1');"
        "c = s.writing(); w = c.__enter__()[0]; w.write(b'half'); w.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert killed.returncode == -9
    store = Store(tmp_path)
    store.verify(store.image("x:1"))
    for blob in (tmp_path / "blobs" / "sha256").iterdir():
        assert store.has(f"sha256:{blob.name}") and store.read(f"sha256:{blob.name}")
    store.add_image([store.add_layer([Entry("b")])], name="y:1")
    assert list(store.named()) == ["x:1", "y:1"]


def test_pruning_waits_for_whoever_builds(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.tree("root", lambda path: path.mkdir())
    done: list[int] = []
    with kept.using():
        with Kept(tmp_path).using():  # two may build at once
            waiting = threading.Thread(target=lambda: done.append(Kept(tmp_path).prune()))
            waiting.start()
            waiting.join(0.3)
        assert not done and (tmp_path / "trees" / "root").is_dir()
    waiting.join(20)
    assert done == [0] and not (tmp_path / "trees" / "root").exists()
