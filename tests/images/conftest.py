"""What the tests of images share: a cache of their own that borrows the packages of the user's."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from imagerig import recipe, with_base

from planeshift.errors import PlaneshiftError
from planeshift.images import debian
from planeshift.images.build import Builder
from planeshift.images.kept import Kept
from planeshift.images.recipe import Recipe
from planeshift.ports import quiet

REASON = "making a base needs mmdebstrap, git, root or user namespaces, and Debian's archive"


@pytest.fixture(scope="session")
def user_cache() -> Kept:
    return Kept.of(os.environ)


@pytest.fixture(scope="session")
def base(user_cache: Kept) -> Recipe:
    """A recipe whose base is in the user's cache; made where it is not."""
    if not shutil.which("mmdebstrap") or not shutil.which("git"):
        pytest.skip(REASON)
    found = recipe()
    try:
        Builder(user_cache, os.environ, quiet).debian(found)
    except PlaneshiftError as error:
        if error.problems[0].code != "PS425":
            raise
        # The archive has dropped a package since it was locked: what it has today is as good for a test.
        found = replace(found, lock=debian.resolve("amd64", ()))
        Builder(user_cache, os.environ, quiet).debian(found)
    return found


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory, user_cache: Kept, base: Recipe) -> Kept:
    """A cache that fills as tests build: what they build from the same inputs is built once."""
    return with_base(tmp_path_factory.mktemp("warm"), user_cache, base)


@pytest.fixture
def cache(tmp_path: Path, user_cache: Kept, base: Recipe) -> Kept:
    """A cache that has the base, and nothing else."""
    return with_base(tmp_path / "cache", user_cache, base)
