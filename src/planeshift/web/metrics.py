"""Shifts as metrics for Prometheus. Counters count from the oldest shift that was remembered when this process began."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import get_args

from planeshift.app.watching import Seen
from planeshift.serving.http import Reply
from planeshift.serving.metrics import as_metrics
from planeshift.traffic.events import Event, Sample, State


class Metrics:
    """Counts what shifts tell; the rest is how the last shift of each service stands."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str]] = Counter()
        self._failures: Counter[tuple[str, str]] = Counter()

    def add(self, events: Iterable[Event]) -> None:
        """Count the requests of new events."""
        for event in events:
            for name, seen in event.backends.items() if isinstance(event, Sample) else ():
                self._requests[event.service, name] += seen.requests
                self._failures[event.service, name] += seen.failed

    def page(self, shifts: Iterable[Seen], holds: Collection[str]) -> Reply:
        """All metrics. `shifts`: oldest first; `holds`: services whose traffic is held."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        remembered = list(shifts)
        by_backend, by_service = ["service", "backend"], ["service"]
        requests = CounterMetricFamily(
            "planeshift_shift_requests", "Requests that ended while a shift was watched", labels=by_backend
        )
        failures = CounterMetricFamily("planeshift_shift_failures", "Of these, those that failed", labels=by_backend)
        for key in self._requests:
            requests.add_metric(key, self._requests[key])
            failures.add_metric(key, self._failures[key])
        share = GaugeMetricFamily(
            "planeshift_traffic_share_ratio",
            "Share of a service's traffic, as its last shift left it",
            labels=by_backend,
        )
        moving = GaugeMetricFamily("planeshift_shift_in_progress", "Whether a shift is in progress", labels=by_service)
        step = GaugeMetricFamily("planeshift_shift_step", "The step that was taken last, from 1", labels=by_service)
        steps = GaugeMetricFamily("planeshift_shift_steps", "How many steps the last shift has", labels=by_service)
        latency = GaugeMetricFamily(
            "planeshift_shift_latency_seconds",
            "Latency in the last sample of a shift",
            labels=[*by_backend, "quantile"],
        )
        gates = GaugeMetricFamily(
            "planeshift_shift_gate_state", "1 for the state that a gate is in", labels=["service", "gate", "state"]
        )
        for service, seen in {s.log.service: s for s in remembered}.items():
            course = seen.course
            moving.add_metric([service], float(seen.live))
            step.add_metric([service], course.step.step if course.step else 0)
            steps.add_metric([service], len(course.ladder))
            for name, percent in course.shares.items():
                share.add_metric([service, name], percent / 100)
            for gate in course.gates:
                for state in get_args(State):
                    gates.add_metric([service, gate.name, state], float(gate.state == state))
            for name, traffic in course.sample.backends.items() if course.sample and seen.live else ():
                for quantile, value in (("0.5", traffic.p50), ("0.99", traffic.p99)):
                    if value is not None:
                        latency.add_metric([service, name, quantile], value / 1000)
        results = GaugeMetricFamily(
            "planeshift_shifts", "Shifts that are remembered, by what came of them", labels=["service", "result"]
        )
        for (service, result), count in Counter((s.log.service, s.course.state(s.live)) for s in remembered).items():
            results.add_metric([service, result], count)
        held = GaugeMetricFamily(
            "planeshift_hold", "1 where a failed gate holds the traffic of a service", labels=by_service
        )
        for service in dict.fromkeys([*(s.log.service for s in remembered), *holds]):
            held.add_metric([service], float(service in holds))
        return as_metrics([requests, failures, share, moving, step, steps, latency, gates, results, held])
