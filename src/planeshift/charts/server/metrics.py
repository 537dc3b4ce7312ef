"""Prometheus metrics, by ChartMuseum's names."""

from __future__ import annotations

import threading

from planeshift.charts.server.museum import Museum
from planeshift.serving.http import Reply
from planeshift.serving.metrics import as_metrics


class Metrics:
    """Counts requests; counts charts when it is asked."""

    def __init__(self, museum: Museum) -> None:
        self._museum = museum
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str, int], list[float]] = {}

    def count(self, what: str, method: str, status: int, seconds: float) -> None:
        """Count a request."""
        found = self._counts.get((what, method, status))
        if found is None:
            with self._lock:
                found = self._counts.setdefault((what, method[:16], status), [0, 0.0])
        found[0] += 1
        found[1] += seconds

    def page(self) -> Reply:
        """All metrics, in Prometheus' text format."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

        charts = GaugeMetricFamily("chartmuseum_charts_served_total", "Total number of charts", labels=["repo"])
        versions = GaugeMetricFamily(
            "chartmuseum_chart_versions_served_total", "Total number of chart versions available", labels=["repo"]
        )
        for repository in self._museum.all():
            charts.add_metric([repository.tenant], repository.index.charts)
            versions.add_metric([repository.tenant], repository.index.versions)
        requests = CounterMetricFamily("chartmuseum_requests", "Requests", labels=["url", "method", "code"])
        durations = SummaryMetricFamily("chartmuseum_request_duration_seconds", "The HTTP request latencies in seconds")
        counts = list(self._counts.items())
        for (what, method, status), (number, _) in counts:
            requests.add_metric([what, method, str(status)], number)
        durations.add_metric([], int(sum(n for _, (n, _) in counts)), sum(s for _, (_, s) in counts))
        return as_metrics([charts, versions, requests, durations])
