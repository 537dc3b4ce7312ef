"""Fixtures of the tests on sealed files."""

from __future__ import annotations

from secretrig import key, place, secrets, sops

__all__ = ["key", "place", "secrets", "sops"]
