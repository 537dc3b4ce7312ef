"""What every lease must do: in memory (tests/contract), and in a real cluster (tests/cluster)."""

from __future__ import annotations

from planeshift.ports import Lease, LeaseRecord

ADA = LeaseRecord("ada@one", "1", 15, "2026-11-29T12:00:00.000+00:00")
BEN = LeaseRecord("ben@two", "2", 15, "2026-11-29T12:00:01.500+00:00")
NOBODY = LeaseRecord("", "", 15, "2026-11-29T12:00:02.500+00:00")


def one_has_it_at_a_time(lease: Lease) -> None:
    """From one that nobody ever had, to one that nobody has."""
    assert lease.read() is None
    first = lease.write(ADA, None)
    assert first and (first.who, first.mark, first.valid) == ("ada@one", "1", 15)
    assert lease.read() == first
    assert lease.write(BEN, None) is None  # he saw none, but there is one

    second = lease.write(ADA.at("2026-11-29T12:00:05.000+00:00"), first)
    assert second and second.version != first.version
    assert lease.write(BEN, first) is None  # he saw it as it was before it was renewed
    assert lease.read() == second

    third = lease.write(BEN, second)
    assert third and lease.read() == third and third.who == "ben@two"
    assert lease.write(ADA, second) is None

    free = lease.write(NOBODY, third)
    assert free and free.who == "" and lease.read() == free
    assert lease.write(ADA, free)
