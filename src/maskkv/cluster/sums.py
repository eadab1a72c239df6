"""The metrics of all replicas as one: what was counted is added up, what is so now counts of the living only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_SILENT_S = 5.0
"""Seconds after which a process that told nothing counts as gone; it tells about every second."""
_OF_A_PROCESS = "process_"
"""How metrics begin that make no sense added up."""

Families = Sequence[Metric]
_Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Told:
    at: float
    families: Families
    is_replica: bool


class Sums(Collector):
    """Hold the latest metrics of each process, those of the dead included, and add them up."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[str, _Told] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def tell(self, name: str, families: Families, *, is_replica: bool) -> None:
        """Take the metrics of a process; they replace those that it told before."""
        self._told[name] = _Told(self._clock(), families, is_replica)

    def leave(self, name: str) -> None:
        """Count a process as gone that says so itself."""
        told = self._told.get(name)
        if told is not None:
            self._told[name] = _Told(-_SILENT_S, told.families, told.is_replica)

    def text(self) -> bytes:
        """Return everything for a scraper."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the sums; `_created` is when the first of the series began."""
        now = self._clock()
        sums: dict[str, Metric] = {}
        values: dict[str, dict[tuple[str, _Labels], float]] = {}
        for told in self._told.values():
            living = now - told.at < _SILENT_S
            for family in told.families:
                if family.name.startswith(_OF_A_PROCESS) or (family.type == "gauge" and not living):
                    continue
                sums.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                added = values.setdefault(family.name, {})
                for sample in family.samples:
                    series = (sample.name, tuple(sorted(sample.labels.items())))
                    if sample.name.endswith("_created"):
                        added[series] = min(added.get(series, sample.value), sample.value)
                    else:
                        added[series] = added.get(series, 0.0) + sample.value
        for name, family in sums.items():
            for (sample_name, labels), value in values[name].items():
                family.add_sample(sample_name, dict(labels), value)
            yield family
        count = sum(told.is_replica and now - told.at < _SILENT_S for told in self._told.values())
        replicas = Metric("maskkv_replicas", "Replicas that live now.", "gauge")
        replicas.add_sample("maskkv_replicas", {}, count)
        yield replicas
