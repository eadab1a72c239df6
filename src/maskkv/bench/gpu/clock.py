"""Seconds on a device: of responses composed from their steps, of single operations, of large products and copies."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from maskkv.bench.machine import Machine
from maskkv.bench.timed import TimedStep, kind, spent
from maskkv.cache import Refresh
from maskkv.generation import Generation

EAGER = 2
"""Steps of a kind after a prompt refresh that may still run without a graph, and record it."""
PROMPT, RESPONSE, PARTIAL, EVERYTHING = (kind(each) for each in (*Refresh, None))
_WARM_UPS, _TRIES = 5, 9


@dataclass(frozen=True)
class Pace:
    """Hold the seconds of a prompt refresh and, by kind, of the first steps after it and of all later ones."""

    prompt: float
    first: dict[str, list[float]]
    steady: dict[str, float]

    @classmethod
    def of(cls, times: Sequence[TimedStep]) -> Pace:
        """Take the last prompt refresh and the steps after it, or only the last step if nothing is cached."""
        if times[-1].kind == EVERYTHING:
            return cls(0.0, {}, {EVERYTHING: times[-1].seconds})
        last = max(index for index, each in enumerate(times) if each.kind == PROMPT)
        after = by_kind(times[last + 1 :])
        return cls(
            times[last].seconds,
            {name: own[:EAGER] for name, own in after.items()},
            {name: statistics.median(own[EAGER:]) for name, own in after.items() if own[EAGER:]},
        )

    def response(self, generation: Generation) -> float:
        """Compose the seconds of a whole response from those of its steps."""
        total, seen = 0.0, Counter[str]()
        for index in range(generation.num_steps):
            name = EVERYTHING if EVERYTHING in self.steady else due(generation, index)
            if name == PROMPT:
                seen.clear()
                total += self.prompt
                continue
            first = self.first.get(name, [])
            total += first[seen[name]] if seen[name] < len(first) else self.steady[name]
            seen[name] += 1
        return total

    def mean_step(self, response_interval: int) -> float:
        """Return the mean seconds of a step far from a prompt refresh."""
        partial = self.steady[PARTIAL] * (response_interval - 1) if response_interval > 1 else 0.0
        return (partial + self.steady[RESPONSE]) / response_interval

    def step_ms(self) -> dict[str, float]:
        """Return the milliseconds of each kind, for a record."""
        prompt = {PROMPT: milliseconds(self.prompt)} if self.prompt else {}
        return prompt | {name: milliseconds(value) for name, value in self.steady.items()}

    def first_ms(self) -> dict[str, list[float]]:
        """Return the milliseconds of each kind's first steps after a prompt refresh, for a record."""
        return {name: [milliseconds(value) for value in own] for name, own in self.first.items()}


def due(generation: Generation, index: int) -> str:
    """Say what a cached sequence recomputes in step `index` when its intervals alone decide."""
    if index == 0 or (generation.by_the_clock and index % generation.prompt_interval == 0):
        return PROMPT
    return RESPONSE if index % generation.response_interval == 0 else PARTIAL


def by_kind(times: Sequence[TimedStep]) -> dict[str, list[float]]:
    """Collect the seconds of each kind of step."""
    found: dict[str, list[float]] = {}
    for each in times:
        found.setdefault(each.kind, []).append(each.seconds)
    return found


def milliseconds(seconds: float) -> float:
    """Return milliseconds as a record holds them."""
    return round(1000 * seconds, 4)


def on_device(run: Callable[[], object], device: torch.device) -> float:
    """Return the median seconds of nine runs after five warm-ups, by the device's own clock if it has one."""
    for _ in range(_WARM_UPS):
        run()
    if device.type != "cuda":
        return statistics.median(spent(run, device) for _ in range(_TRIES))
    found = []
    for _ in range(_TRIES):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end) / 1000)
    return statistics.median(found)


def captured(run: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """Return the same work as one call: a captured graph on CUDA, `run` itself elsewhere."""
    if device.type != "cuda":
        return run
    run()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def ceilings(device: torch.device, dtype: torch.dtype, unit: int) -> Machine:
    """Time a product of random matrices of 8 units a side, and a copy of 4 MiB a unit."""
    side = 8 * unit
    a, b = (torch.randn((side, side), device=device, dtype=dtype) for _ in range(2))
    product = on_device(lambda: torch.mm(a, b), device)
    source = torch.zeros(4096 * unit * 1024, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = on_device(lambda: target.copy_(source), device)
    return Machine(2 * side**3 / product, 2 * source.nbytes / copy)
