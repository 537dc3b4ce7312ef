"""What Nova's round trip makes of a slow compute node; the whole of it against a real Nova: tests/local/test_cells.py."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest
from openstack.exceptions import ResourceTimeout
from openstack.resource import wait_for_delete

allocations = importlib.import_module("planeshift.catalog.nova.verify")._Allocations


def placement(held: list[int]) -> Any:
    """A Placement that holds so many things of a server, from one question to the next; then one for ever."""

    def get(path: str) -> Any:
        assert path == "/allocations/one"
        found = {str(n): {} for n in range(held.pop(0) if held else 1)}
        return SimpleNamespace(json=lambda: {"allocations": found})

    return SimpleNamespace(get=get)


def test_what_placement_lets_go_of_a_moment_later_is_no_failure() -> None:
    held = [1, 1, 0]
    wait_for_delete(placement(held), allocations("one"), interval=0, wait=60)
    assert held == []


def test_what_it_never_lets_go_of_is_named() -> None:
    with pytest.raises(ResourceTimeout, match="Allocations:one"):
        wait_for_delete(placement([]), allocations("one"), interval=0, wait=0.2)
