"""What responses cost under one policy: counted work, counted bytes, and timed steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from maskkv.bench.flops import count_flops
from maskkv.bench.machine import moved_bytes
from maskkv.bench.memory import LiveBytes
from maskkv.bench.timed import kind, timed_steps
from maskkv.cache import Refresh
from maskkv.decoding.engine import Engine, Step
from maskkv.eviction.profile import LayerProfile
from maskkv.generation import Generation
from maskkv.labels import label
from maskkv.mixing import resolve
from maskkv.models.transformer import Transformer
from maskkv.text.tokenizer import before_end


@dataclass(frozen=True)
class Case:
    """Name one side of a comparison: a policy, its budget, and whether a layer profile is given."""

    policy: str
    budget: int | None = None
    profiled: bool = True

    @property
    def label(self) -> str:
        """Return the name of the case's row in a table."""
        return f"{label(self.policy, self.budget)}{'' if self.profiled else ', no profile'}"

    @property
    def cached(self) -> bool:
        """Say whether the policy caches anything."""
        return resolve(self.policy).cached


@dataclass(frozen=True)
class Comparison:
    """Hold what all cases have in common; the prompts have one length and are answered together."""

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
            engine.add(prompt, generation, resolve(case.policy), case.budget, kv_dtype=self.kv_dtype)
        return engine


@dataclass(frozen=True)
class Cost:
    """Record what needs no clock: operations and least bytes moved per kind of step, and sizes."""

    flops: dict[str, int]
    moved: dict[str, int]
    cache_bytes: int
    """Of one sequence."""
    peak_live_bytes: int
    """Most bytes alive in a prompt refresh, including the cache that it replaces but not the weights."""


@dataclass(frozen=True)
class Timing:
    """Record the timed steps of the responses, in order."""

    kinds: tuple[str, ...]
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    """Over all threads of the process; other programs hardly change it."""
    first_commit_s: float = 0.0
    """Until the first token of the first sequence is decided."""
    tokens: int = 0
    """Up to the end token, over all sequences; 0 unless the responses were timed whole."""


def cost(comparison: Comparison, case: Case) -> Cost:
    """Count one step of each kind; of prompt refreshes, one that replaces a cache."""
    generation = comparison.generation
    # Of a block-causal model the prompt is read once, and all later steps are alike.
    if case.cached and comparison.model.config.causal_block is None:
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
    """Time each step of the responses by itself: all of them, or the first `most`."""
    engine = comparison.open(case, comparison.generation)
    taken = timed_steps(engine, comparison.model.device, most)
    seconds = tuple(each.seconds for each in taken)
    before = next((index for index, each in enumerate(taken) if each.commits), len(taken))
    tokens = 0 if most is not None else sum(_said(comparison, engine, each) for each in range(len(comparison.prompts)))
    return Timing(
        tuple(each.kind for each in taken),
        seconds,
        tuple(each.cpu_seconds for each in taken),
        sum(seconds[: before + 1]),
        tokens,
    )


def _said(comparison: Comparison, engine: Engine, number: int) -> int:
    return len(before_end(engine[number].response(), comparison.model.config.eos_ids))


def _advance(engine: Engine, done: list[Step]) -> None:
    done.extend(engine.step())
