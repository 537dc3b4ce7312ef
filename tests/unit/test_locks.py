"""Locks of releases: an older one is of what there was in its time, since later libraries have dropped what it reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from planeshift import catalog

CATALOG = Path(catalog.__file__).parent
NEWEST = max(folder.name for folder in CATALOG.glob("*/releases/*"))
OLDER = sorted(f for f in CATALOG.glob("*/releases/*/requirements.in") if f.parent.name != NEWEST)


@pytest.mark.parametrize("source", OLDER, ids=lambda f: f"{f.parents[2].name}-{f.parent.name}")
def test_a_release_that_is_not_the_newest_is_locked_as_of_a_day_of_its_own_half_year(source: Path) -> None:
    found = re.search(r"^# exclude-newer: (\d{4})-(\d\d)-\d\d$", source.read_text(), re.MULTILINE)
    assert found, f"{source}: no `# exclude-newer: DATE`"
    year, half = source.parent.name.split(".")
    assert (found[1], int(found[2]) > 6) == (year, half == "2")
