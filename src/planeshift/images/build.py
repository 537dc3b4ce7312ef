"""An image built from a recipe: each layer from its inputs, kept by their key, and made anew only where they changed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from planeshift.drivers.local.uv import install_locked
from planeshift.images import debian, patches, python, roots, sources
from planeshift.images.entries import Entry, opaque, ordered, tree, whiteout
from planeshift.images.kept import BASE, Kept
from planeshift.images.oci import Layer
from planeshift.images.packages import shipped
from planeshift.images.recipe import Recipe, account, plain
from planeshift.images.store import Image
from planeshift.ports import Say, quiet


@dataclass(frozen=True)
class Builder:
    """Builds with what a user's cache keeps; `variables` is the environment of uv, git and apt.

    `say` gets the steps, `detail` what their programs print.

    Every method raises PlaneshiftError where a step cannot be done; nothing half-made is ever kept.
    """

    kept: Kept
    variables: Mapping[str, str]
    say: Say
    detail: Say = quiet

    def image(self, recipe: Recipe, name: str, base: Image | None = None) -> Image:
        """Build and name an image. `base`: the image, in the store, that the recipe builds upon."""
        with self.kept.using():
            return self._image(recipe, name, base)

    def _image(self, recipe: Recipe, name: str, base: Image | None) -> Image:
        below = list(base.layers) if base else self.debian(recipe)
        root = self.root(recipe, below)
        interpreter = python.interpreter(root)
        layers = [*below, self._account(recipe, root), self._environment(recipe, root, interpreter)]
        if recipe.patches and not recipe.source_is_patched:
            layers.append(self._patched(recipe, root, interpreter))
        config = recipe.config(base.variables if base else {})
        return self.kept.store.add_image(layers, config, name=name, notes={"planeshift.key": recipe.whole})

    # --- the base

    def debian(self, recipe: Recipe) -> list[Layer]:
        """A minimal Debian of locked packages, shared by all services, and what a site's own packages add to it."""
        assert recipe.lock  # noqa: S101 - a recipe has a base or a lock
        if not recipe.dist:
            return [self.kept.layer(recipe.foundation, lambda: self._debian(recipe))]
        lower = self.debian(plain(recipe, shipped(recipe.lock.architecture)))
        return [*lower, self.kept.layer(recipe.foundation, lambda: self._added(recipe, lower))]

    def root(self, recipe: Recipe, layers: Sequence[Layer]) -> Path:
        """The base, unpacked, so that its Python can be run."""
        paths = [(layer, self.kept.store.path(layer.descriptor.digest)) for layer in layers]
        return self.kept.tree(f"root-{recipe.foundation}", lambda directory: roots.unpack(paths, directory))

    def _debian(self, recipe: Recipe) -> Layer:
        return self.kept.store.add_layer(self._installed(recipe), f"{BASE}, locked packages")

    def _added(self, recipe: Recipe, lower: Sequence[Layer]) -> Layer:
        entries = self._installed(recipe)
        below: dict[str, Entry] = {}
        for layer in lower:
            below |= {e.name: e for e in roots.entries_of(self.kept.store.path(layer.descriptor.digest))}
        created_by = f"planeshift: packages {', '.join(recipe.dist)}"
        return self.kept.store.add_layer(difference(below, entries), created_by)

    def _installed(self, recipe: Recipe) -> list[Entry]:
        """What a Debian of the recipe's lock holds, its Python compiled."""
        assert recipe.lock  # noqa: S101
        debs = debian.fetch(recipe.lock, self.kept.packages, self.say)
        self.say(f"installing {len(debs)} packages into a Debian {recipe.lock.suite} of their own")
        with tempfile.TemporaryDirectory(dir=self.kept.scratch, prefix="debian-") as scratch:
            found = debian.bootstrap(recipe.lock, debs, Path(scratch), self.detail)
            root = Path(scratch) / "root"
            roots.lay(found, root)
            for place in ("usr/lib/python3", f"usr/lib/python{python.interpreter(root).series}"):
                if (root / place).is_dir():
                    python.compile_files(root, place, self.detail)
            compiled = (e for e in tree(root) if "__pycache__" in e.name.split("/"))
            return [*found, *map(_held, compiled)]

    # --- the service

    def _account(self, recipe: Recipe, root: Path) -> Layer:
        tables = [_text(root, f"etc/{name}") for name in ("passwd", "group")]
        key = f"account-{recipe.service}-{recipe.foundation}"
        entries = account(recipe.service, *tables)
        return self.kept.layer(key, lambda: self.kept.store.add_layer(entries, f"planeshift: user {recipe.service}"))

    def _environment(self, recipe: Recipe, root: Path, interpreter: python.Interpreter) -> Layer:
        def make() -> Layer:
            directory = self._tree(recipe, root, interpreter)
            entries = [Entry(python.PREFIX, "directory", 0o755), *tree(directory, at=python.PREFIX)]
            if recipe.base:  # what an image below has there would be mixed with ours
                entries.append(opaque(python.PREFIX))
            return self.kept.store.add_layer(
                entries, f"planeshift: {recipe.package} {recipe.version} and what it needs"
            )

        return self.kept.layer(recipe.environment, make)

    def _tree(self, recipe: Recipe, root: Path, interpreter: python.Interpreter) -> Path:
        """/var/lib/openstack before patches, compiled."""

        def make(directory: Path) -> None:
            install = self._install(recipe)
            python.environment(directory, interpreter, recipe.system_packages, install, self.variables, self.detail)
            self.say(f"compiling {recipe.package} {recipe.version}")
            python.compile_files(root, python.PREFIX, self.detail, binds={python.PREFIX: directory})

        return self.kept.tree(f"environment-{recipe.environment}", make)

    def _install(self, recipe: Recipe) -> python.Install:
        def locked(command: Callable[..., None], prefix: Path, flags: Sequence[str]) -> None:
            self.say(f"installing {recipe.package} {recipe.version}")
            install_locked(command, prefix, recipe.requirements, recipe.pip, *flags)

        if recipe.source is None:
            return locked
        return sources.installer(recipe, self.kept.scratch, self.say)

    def _patched(self, recipe: Recipe, root: Path, interpreter: python.Interpreter) -> Layer:
        def make() -> Layer:
            source = self._tree(recipe, root, interpreter)
            library = f"lib/python{interpreter.series}/site-packages"
            with tempfile.TemporaryDirectory(dir=self.kept.scratch, prefix="patched-") as scratch:
                changed = Path(scratch) / "changed"
                place = changed / library
                place.mkdir(parents=True)
                names = list(dict.fromkeys(n for p in recipe.patches for n in patches.touched(*p, place)))
                names = [name for name in names if patches.in_wheel(name)]
                patches.copied(names, source / library, place)
                patches.apply(recipe.patches, place, installed=True, say=self.say)
                self._compile(root, changed)
                entries = [e for e in tree(changed, at=python.PREFIX) if e.kind == "file"]
                gone = [n for n in names if not (place / n).exists() and (source / library / n).exists()]
                entries += [whiteout(f"{python.PREFIX}/{library}/{name}") for name in _with_compiled(gone, interpreter)]
                return self.kept.store.add_layer(
                    entries, f"planeshift: patches {', '.join(n for n, _ in recipe.patches)}"
                )

        return self.kept.layer(f"patched-{recipe.whole}", make)

    def _compile(self, root: Path, changed: Path) -> None:
        python.compile_files(root, python.PREFIX, self.detail, binds={python.PREFIX: changed})


def difference(lower: Mapping[str, Entry], upper: Iterable[Entry]) -> list[Entry]:
    """The layer that makes `upper` of `lower`: what is new or other, and marks for what is gone."""
    listed = ordered(upper)
    names = {e.name for e in listed}
    found = [e for e in listed if lower.get(e.name) != e]
    # A hard link's first member must be in the same layer.
    present = {e.name for e in found}
    found += [
        e for e in listed if e.name not in present and any(f.target == e.name for f in found if f.kind == "hardlink")
    ]
    gone: list[str] = []
    for name in sorted(set(lower) - names, key=lambda n: n.split("/")):
        if not gone or not name.startswith(f"{gone[-1]}/"):
            gone.append(name)
    return [*found, *map(whiteout, gone)]


def _with_compiled(names: Sequence[str], interpreter: python.Interpreter) -> list[str]:
    tag = f"cpython-{interpreter.series.replace('.', '')}"
    found = list(names)
    for name in names:
        directory, _, base = name.rpartition("/")
        if base.endswith(".py"):
            found.append(f"{directory}/__pycache__/{base[:-3]}.{tag}.pyc")
    return found


def _held(entry: Entry) -> Entry:
    """An entry with its content in memory, since its directory goes."""
    return entry if isinstance(entry.content, bytes) else replace(entry, content=Path(entry.content).read_bytes())


def _text(root: Path, name: str) -> str:
    path = roots.within(root, name)
    return path.read_text("utf-8", "replace") if path.is_file() and not path.is_symlink() else ""
