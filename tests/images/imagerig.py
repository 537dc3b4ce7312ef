"""Recipes of the catalog's services, and packages that need no second download."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from planeshift.app import images
from planeshift.images.build import Builder
from planeshift.images.kept import Kept
from planeshift.images.packages import Lock
from planeshift.images.recipe import Recipe
from planeshift.ports import quiet


def recipe(service: str = "placement", **other: Any) -> Recipe:
    """The recipe of a service of the catalog, with some of its inputs others."""
    kept = Kept.of(os.environ)
    return replace(images.recipe(images.Request(service=service), kept, os.environ, quiet)[0], **other)


def packages(kept: Kept, other: Kept, lock: Lock) -> None:
    """Let `kept` have the packages that `other` has."""
    for package in lock.packages:
        os.link(other.packages / f"{package.sha256}.deb", kept.packages / f"{package.sha256}.deb")


def with_base(directory: Path, other: Kept, base: Recipe) -> Kept:
    """A cache with the base of another, not copied."""
    kept = Kept(directory)
    builder = Builder(other, os.environ, quiet)
    (layer,) = builder.debian(base)
    root = builder.root(base, [layer])
    kept.tree(f"root-{base.foundation}", lambda path: path.symlink_to(root))
    kept.store.add(b"")  # makes the layout's directories
    os.link(other.store.path(layer.descriptor.digest), kept.store.path(layer.descriptor.digest))
    kept.layer(base.foundation, lambda: layer)
    return kept
