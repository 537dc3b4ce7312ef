"""Metrics as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from planeshift.serving.http import Reply

if TYPE_CHECKING:
    from prometheus_client.core import Metric


def as_metrics(families: Sequence[Metric]) -> Reply:
    """These metrics, and those of this process, in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    class Ours:
        def collect(self) -> Sequence[Metric]:
            return families

    registry = CollectorRegistry()
    registry.register(Ours())
    ProcessCollector(registry=registry)
    return Reply(body=generate_latest(registry), type="text/plain; version=0.0.4; charset=utf-8")
