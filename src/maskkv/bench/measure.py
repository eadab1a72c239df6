"""Run responses under several policies, side by side, and write down what they cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from maskkv.bench.flops import count_flops
from maskkv.bench.memory import LiveBytes
from maskkv.cache import Refresh
from maskkv.engine import Engine, Step
from maskkv.eviction.profile import LayerProfile
from maskkv.generation import Generation
from maskkv.models.transformer import Transformer
from maskkv.policies import named


@dataclass(frozen=True)
class Case:
    """Name what is compared: a policy and its budget."""

    policy: str
    budget: int | None = None

    @property
    def label(self) -> str:
        """Return the case as a row of the table is called."""
        return self.policy if self.budget is None else f"{self.policy} {self.budget}"

    @property
    def cached(self) -> bool:
        """Say whether the policy caches anything."""
        return named(self.policy).cached


@dataclass(frozen=True)
class Task:
    """Hold what every case has in common."""

    model: Transformer
    profile: LayerProfile
    prompt: Sequence[int]
    generation: Generation

    def open(self, case: Case, generation: Generation) -> Engine:
        """Return an engine that is about to take the response's first step."""
        engine = Engine(self.model, self.profile)
        engine.add(self.prompt, generation, named(case.policy), case.budget)
        return engine


@dataclass(frozen=True)
class Cost:
    """Record what does not depend on the clock: per kind of step the operations, and the bytes."""

    flops: dict[str, int]
    cache_bytes: int
    peak_live_bytes: int
    """Most bytes alive in a prompt refresh, the cache of the one before included and the weights not."""


@dataclass(frozen=True)
class Timing:
    """Record the first steps of one response."""

    kinds: tuple[str, ...]
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    """Over all threads of the process; what other programs take from the cores is not in it."""


def kind(refresh: Refresh | None) -> str:
    """Name what a step recomputes."""
    return "everything" if refresh is None else refresh.value


def cost(task: Task, case: Case) -> Cost:
    """Count one step of each kind, the prompt refresh when there is a cache to be replaced."""
    generation = task.generation
    if case.cached:
        generation = replace(generation, prompt_interval=3, response_interval=2)
    engine = task.open(case, generation)
    flops: dict[str, int] = {}
    with LiveBytes() as live:
        for _ in range(4 if case.cached else 1):
            done: list[Step] = []
            spent = count_flops(partial(_advance, engine, done))
            flops[kind(done[0].refresh)] = spent
    return Cost(flops, engine[0].cache_bytes, live.peak)


def timing(task: Task, case: Case, steps: int) -> Timing:
    """Time the first `steps` steps of a response, each for itself."""
    engine = task.open(case, task.generation)
    kinds, seconds, cpu_seconds = [], [], []
    for _ in range(steps):
        wall, cpu = time.perf_counter(), time.process_time()
        (step,) = engine.step()
        if task.model.device.type == "cuda":
            torch.cuda.synchronize(task.model.device)
        seconds.append(time.perf_counter() - wall)
        cpu_seconds.append(time.process_time() - cpu)
        kinds.append(kind(step.refresh))
    return Timing(tuple(kinds), tuple(seconds), tuple(cpu_seconds))


def _advance(engine: Engine, done: list[Step]) -> None:
    done.extend(engine.step())
