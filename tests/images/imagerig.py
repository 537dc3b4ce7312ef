"""Recipes of the catalog's services, and packages that need no second download."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from planeshift.app import images
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
