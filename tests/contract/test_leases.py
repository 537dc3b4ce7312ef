"""A lease that operators of several machines see. The same, in a real cluster: tests/cluster/test_pods_broken.py."""

from __future__ import annotations

import leasecases

from planeshift.drivers.memory import Memory


def test_one_has_it_at_a_time() -> None:
    leasecases.one_has_it_at_a_time(Memory().cluster("k1").lease)
