"""Run responses under several policies, side by side, and write down what they cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from maskkv.bench.flops import count_flops
from maskkv.bench.machine import moved_bytes, synchronize
from maskkv.bench.memory import LiveBytes
from maskkv.cache import Refresh
from maskkv.decoding.engine import Engine, Step
from maskkv.eviction.profile import LayerProfile
from maskkv.generation import Generation
from maskkv.labels import label
from maskkv.models.transformer import Transformer
from maskkv.policies import named
from maskkv.text.tokenizer import before_end


@dataclass(frozen=True)
class Case:
    """Name what is compared: a policy, its budget, and whether the layers' importance is known beforehand."""

    policy: str
    budget: int | None = None
    profiled: bool = True

    @property
    def label(self) -> str:
        """Return the case as a row of the table is called."""
        return f"{label(self.policy, self.budget)}{'' if self.profiled else ', no profile'}"

    @property
    def cached(self) -> bool:
        """Say whether the policy caches anything."""
        return named(self.policy).cached


@dataclass(frozen=True)
class Comparison:
    """Hold what every case has in common; the prompts are of one length and answered together."""

    model: Transformer
    profile: LayerProfile
    prompts: Sequence[Sequence[int]]
    generation: Generation
    kv_dtype: str = "auto"

    @property
    def rows(self) -> int:
        """Return the rows of a pass over everything."""
        return len(self.prompts[0]) + self.generation.gen_length

    def open(self, case: Case, generation: Generation) -> Engine:
        """Return an engine that is about to take the responses' first step."""
        engine = Engine(self.model, self.profile if case.profiled else None)
        for prompt in self.prompts:
            engine.add(prompt, generation, named(case.policy), case.budget, kv_dtype=self.kv_dtype)
        return engine


@dataclass(frozen=True)
class Cost:
    """Record what does not depend on the clock: per kind of step operations and bytes to be moved, and sizes."""

    flops: dict[str, int]
    moved: dict[str, int]
    cache_bytes: int
    """Of one sequence."""
    peak_live_bytes: int
    """Most bytes alive in a prompt refresh, the cache of the one before included and the weights not."""


@dataclass(frozen=True)
class Timing:
    """Record the first steps of the responses."""

    kinds: tuple[str, ...]
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    """Over all threads of the process; what other programs take from the cores is not in it."""
    first_commit_s: float = 0.0
    """Until the first token of the first sequence is decided."""
    tokens: int = 0
    """Up to the end token, over all sequences; 0 unless the responses were timed whole."""


def kind(refresh: Refresh | None) -> str:
    """Name what a step recomputes."""
    return "everything" if refresh is None else refresh.value


def cost(comparison: Comparison, case: Case) -> Cost:
    """Count one step of each kind, the prompt refresh when there is a cache to be replaced."""
    generation = comparison.generation
    if case.cached:
        clock = {"one_pass": False, "min_confidence": None, "value_drift": None}
        generation = replace(generation, prompt_interval=3, response_interval=2, **clock)  # type: ignore[arg-type]
    engine = comparison.open(case, generation)
    flops: dict[str, int] = {}
    with LiveBytes() as live:
        for _ in range(4 if case.cached else 1):
            done: list[Step] = []
            spent = count_flops(partial(_advance, engine, done))
            flops[kind(done[0].refresh)] = spent
    cache_bytes, sequences = engine[0].cache_bytes, len(comparison.prompts)
    moved = {
        name: moved_bytes(
            comparison.model,
            comparison.rows,
            sequences,
            cache_bytes,
            whole=name in ("everything", Refresh.PROMPT.value),
        )
        for name in flops
    }
    return Cost(flops, moved, cache_bytes, live.peak)


def timing(comparison: Comparison, case: Case, most: int | None = None) -> Timing:
    """Time the steps of the responses, each for itself: all of them, or the first `most`."""
    engine = comparison.open(case, comparison.generation)
    kinds: list[str] = []
    seconds: list[float] = []
    cpu_seconds: list[float] = []
    first_commit_s = None
    while most is None or len(kinds) < most:
        wall, cpu = time.perf_counter(), time.process_time()
        steps = engine.step()
        if not steps:
            break
        synchronize(comparison.model.device)
        seconds.append(time.perf_counter() - wall)
        cpu_seconds.append(time.process_time() - cpu)
        kinds.append(kind(steps[0].refresh))
        if first_commit_s is None and steps[0].positions:
            first_commit_s = sum(seconds)
    tokens = (
        0 if most is not None else sum(_said(comparison, engine, number) for number in range(len(comparison.prompts)))
    )
    return Timing(tuple(kinds), tuple(seconds), tuple(cpu_seconds), first_commit_s or sum(seconds), tokens)


def _said(comparison: Comparison, engine: Engine, number: int) -> int:
    return len(before_end(engine[number].response(), comparison.model.config.eos_ids))


def _advance(engine: Engine, done: list[Step]) -> None:
    done.extend(engine.step())
