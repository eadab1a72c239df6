"""One prompt inspected: what a policy keeps of it, and its answer beside those of the full cache and of none."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from maskkv import policies
from maskkv.api import LanguageModel
from maskkv.budget import Budget, check_budget
from maskkv.decoding.engine import Step
from maskkv.eviction.policy import Policy
from maskkv.generation import Generation
from maskkv.lens.budget_sweep import BudgetSweep, sweep
from maskkv.lens.film import Film, filming
from maskkv.lens.reads import Reads, readable, reading
from maskkv.plan import Workload, check_fits
from maskkv.result import Result, finish
from maskkv.text.tokenizer import Token


@dataclass(frozen=True)
class Run:
    """Report an answer and what it cost; `said` is its text token by token, up to the end token.

    `pairs` counts the prompt pairs held at the end, over all segments. `latency_s` is the time of its own steps.
    """

    policy: str
    budget: int | None
    text: str
    said: list[str]
    steps: int
    latency_s: float
    tokens_per_s: float
    cache_bytes: int
    pairs: int
    peak_memory_bytes: int


@dataclass(frozen=True)
class Inspection:
    """Hold all that the lens shows.

    `kept` are the positions kept at the end of the answer, `sweep` those of the first vote; they agree unless the
    answer took more than `prompt_interval` steps, or pairs came back. `film` tells the steps in between where evicted
    pairs may come back, and is None where they are dropped. `reads` is None where the rows of an answer are never all
    in one pass (see `reads.readable`). `full` and `none` are the answers with an un-evicted cache and without any.
    `differing` lists the response positions at which the answers differ, with and without eviction.
    """

    tokens: list[Token]
    evictable: int
    policy: str
    budget: int | None
    prompt_interval: int
    sweep: BudgetSweep
    kept: list[list[list[int]]]
    evicted: Run
    reads: Reads | None
    film: Film | None
    full: Run
    differing: list[int]
    none: Run


@dataclass(frozen=True)
class Progress:
    """Say what a look at a prompt is doing, and how many of the tokens that this decides are decided."""

    phase: str
    done: int
    of: int


@dataclass(frozen=True)
class Found:
    """Hold fields of the `Inspection` to come, by name."""

    fields: dict[str, Any]


def inspect(
    llm: LanguageModel, tokens: Sequence[Token], generation: Generation, policy: Policy, budget: Budget
) -> Inspection:
    """Find out what a policy keeps of a prompt at many budgets, and answer it with and without eviction.

    Raises:
        InputError: The policy evicts nothing, or the prompt, budget or generation is unusable.
    """
    return finish(look(llm, tokens, generation, policy, budget))


def look(
    llm: LanguageModel, tokens: Sequence[Token], generation: Generation, policy: Policy, budget: Budget
) -> Generator[Progress | Found, None, Inspection]:
    """Inspect a prompt a step of the model at a time, and yield what is found as soon as it is; see `inspect`.

    What is kept comes first, after one pass; the answers with the full cache and without one come last.
    """
    ids = [token.id for token in tokens]
    work = Workload(len(ids), generation, policy, check_budget(budget), llm.kv_dtype)
    check_fits(llm.model, work)
    yield Progress("reading the prompt", 0, 1)
    evictable = len(ids) - llm.model.config.logit_shift
    fields: dict[str, Any] = {}

    def found(**more: Any) -> Found:
        fields.update(more)
        return Found(more)

    yield found(
        tokens=list(tokens),
        evictable=evictable,
        policy=policy.name,
        budget=work.pairs,
        prompt_interval=generation.prompt_interval,
        sweep=sweep(llm, ids, generation, policy, work.pairs),
    )
    evicted, run = yield from _answer(llm, ids, generation, policy, work.pairs)
    yield found(kept=evicted.kept, evicted=run)
    recalls = policy.recall is not None and policy.evicts(work.pairs, evictable)
    # Each in a run of its own: they take longer.
    reads = reading(llm, ids, generation, policy, work.pairs) if readable(llm, generation) else None
    yield found(reads=None if reads is None else (yield from _told("watching what is read", reads, generation)))
    film = filming(llm, ids, generation, policy, work.pairs) if recalls else None
    yield found(film=None if film is None else (yield from _told("filming", film, generation)))
    full, run = yield from _answer(llm, ids, generation, policies.named("full"), None)
    answers = zip_longest(llm.said(evicted.tokens), llm.said(full.tokens))
    yield found(full=run, differing=[place for place, (one, other) in enumerate(answers) if one != other])
    # Last: each of its steps reads the whole prompt.
    _, run = yield from _answer(llm, ids, generation, policies.named("none"), None)
    yield found(none=run)
    return Inspection(**fields)


def _answer(
    llm: LanguageModel, ids: Sequence[int], generation: Generation, policy: Policy, budget: int | None
) -> Generator[Progress, None, tuple[Result, Run]]:
    steps = _Timed(llm.stream_ids(ids, generation, policy=policy, budget=budget))
    phase = "answering without a cache" if policy.name == "none" else f"answering under {policy.name}"
    result = yield from _told(phase, steps.run(), generation)
    said = llm.said(result.tokens)
    return result, Run(
        policy=result.policy,
        budget=result.budget,
        text=result.text,
        said=[llm.text.decode([token]) for token in said],
        steps=result.steps,
        latency_s=steps.seconds,
        tokens_per_s=len(said) / steps.seconds,
        cache_bytes=result.cache_bytes,
        pairs=sum(len(own) for layer in result.kept for own in layer),
        peak_memory_bytes=result.peak_memory_bytes,
    )


def _told(phase: str, steps: Generator[Step, None, Any], generation: Generation) -> Generator[Progress, None, Any]:
    """Tell of each step how far it came, and return what the steps return."""
    of = generation.gen_length
    yield Progress(phase, 0, of)
    while True:
        try:
            step = next(steps)
        except StopIteration as stop:
            return stop.value
        yield Progress(phase, of - step.masks_left, of)


class _Timed:
    """Run steps, and add up the seconds that they take: others may use the model between two of them."""

    def __init__(self, steps: Generator[Step, None, Result]) -> None:
        self.seconds = 0.0
        self._steps = steps

    def run(self) -> Generator[Step, None, Result]:
        while True:
            start = time.perf_counter()
            try:
                step = next(self._steps)
            except StopIteration as stop:
                result: Result = stop.value
                return result
            finally:
                self.seconds += time.perf_counter() - start
            yield step
