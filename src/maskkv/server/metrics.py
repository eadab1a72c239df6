"""What a server counts, in Prometheus' text format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Hold the counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        # Routes and statuses are few; what clients choose freely is never a label.
        self.requests = self._counter("requests", "Requests answered.", ("route", "status"))
        self.seconds = Histogram(
            "maskkv_request_seconds", "Time to the end of the answer.", ("route",), registry=self._registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self.ended = self._counter("jobs", "Requests that left the model's thread.", ("outcome",))
        self.steps = self._counter("steps", "Denoising steps, counted per request.")
        self.passes = self._counter("passes", "Steps of all running requests together.")
        self.prompt_tokens = self._counter("prompt_tokens", "Prompt tokens of answered requests.")
        self.completion_tokens = self._counter("completion_tokens", "Response tokens of answered requests.")
        self.recalled_pairs = self._counter("recalled_pairs", "Evicted pairs that came back, of requests that left.")
        self.running = self._gauge("running", "Requests that run now.")
        self.cache_bytes = self._gauge("cache_bytes", "Bytes in the caches of the requests that run now.")
        self.host_bytes = self._gauge("host_bytes", "Bytes of evicted pairs that wait in host memory, of the same.")
        self.waiting = self._gauge("waiting", "Requests that wait for a place.")

    def text(self) -> bytes:
        """Return everything for a scraper."""
        return generate_latest(self._registry)

    def families(self) -> list[Metric]:
        """Return everything as it is now, for one who adds up several servers."""
        return list(self._registry.collect())

    def _counter(self, name: str, meaning: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"maskkv_{name}", meaning, labels, registry=self._registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(f"maskkv_{name}", meaning, registry=self._registry)
