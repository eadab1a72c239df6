"""Examples in, answers out: the one place where a benchmark meets the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from maskkv.api import LanguageModel
from maskkv.decoding.engine import Engine
from maskkv.decoding.sequence import RunningSequence
from maskkv.eval.benchmark import Example, Task
from maskkv.eviction.policy import Policy
from maskkv.generation import Generation
from maskkv.loading import Loading


@dataclass(frozen=True)
class Variant:
    """Say under which policy and budget an example is answered."""

    policy: Policy
    budget: int | None

    @property
    def names(self) -> tuple[str, str, int | None]:
        """Return the policy's `repr` and name, and the budget: what records say."""
        return repr(self.policy), self.policy.name, self.budget

    @property
    def key(self) -> tuple[str, int | None]:
        """Return what tells this variant from others."""
        return repr(self.policy), self.budget


@dataclass(frozen=True)
class Unit:
    """Name a piece of work: some examples of a task, all under the same variants."""

    task: Task
    numbers: tuple[int, ...]
    variants: tuple[Variant, ...]

    @property
    def size(self) -> int:
        """Return how many answers it takes."""
        return len(self.numbers) * len(self.variants)


@dataclass(frozen=True)
class Terms:
    """Say how units are answered where the model has yet to be loaded: its weights have this `fingerprint`."""

    loading: Loading
    fingerprint: str
    schedule: Generation
    isolated: bool


@dataclass(frozen=True)
class ScoredAnswer:
    """Report one answer, its score and what it cost; `tokens` counts up to the end token.

    `latency_s` and `peak_memory_bytes` are None where the variants of an example shared the prompt's pass: such a time
    belongs to no variant. `prompt_passes` counts the steps that read the prompt; None in lines from
    before it was counted.
    """

    policy: str
    policy_name: str
    budget: int | None
    text: str
    score: float
    tokens: int
    steps: int
    cache_bytes: int
    full_cache_bytes: int
    latency_s: float | None = None
    peak_memory_bytes: int | None = None
    prompt_passes: int | None = None
    recalled: int = 0
    host_bytes: int = 0


@dataclass(frozen=True)
class UnscoredAnswer:
    """Report one answer that another program scores, and what it cost.

    `tokens` counts those that were certain when it ended. `latency_s` is None where other sequences ran side by side.
    """

    text: str
    prompt_length: int
    gen_length: int
    tokens: int
    steps: int
    cache_bytes: int
    full_cache_bytes: int
    latency_s: float | None = None


@dataclass(frozen=True)
class Answered:
    """Hold the answers to one example, in the variants' order."""

    task: Task
    number: int
    prompt_length: int
    gen_length: int
    answers: tuple[ScoredAnswer, ...]


def fitted(schedule: Generation, example: Example) -> Generation:
    """Return the schedule for an example, with room for its answer in whole blocks."""
    blocks = -(-example.gen_length // schedule.block_length)
    return replace(schedule, gen_length=blocks * schedule.block_length)


def answer(llm: LanguageModel, unit: Unit, schedule: Generation, isolated: bool) -> list[Answered]:
    """Answer a unit's examples under all its variants, together or (`isolated`) one at a time."""
    examples = {number: unit.task.example(llm, number) for number in unit.numbers}
    run = _alone if isolated else _together
    answers = run(llm, examples, unit.variants, schedule)
    return [
        Answered(
            task=unit.task,
            number=number,
            prompt_length=len(example.prompt),
            gen_length=fitted(schedule, example).gen_length,
            answers=tuple(answers[number, index] for index in range(len(unit.variants))),
        )
        for number, example in examples.items()
    ]


Found = dict[tuple[int, int], ScoredAnswer]
"""Answers by the example's number and the variant's place."""


def _together(
    llm: LanguageModel, examples: dict[int, Example], variants: Sequence[Variant], schedule: Generation
) -> Found:
    """Step all sequences side by side: those of one example share the first pass over its prompt."""
    engine = Engine(llm.model, llm.profile)
    running = {}
    for (number, index), variant in _pairs(examples, variants):
        example = examples[number]
        made = fitted(schedule, example)
        running[llm.add_to(engine, example.prompt, made, variant.policy, variant.budget)] = (number, index)
    found = {}
    while running:
        for step in engine.step():
            if step.finished:
                number, index = running.pop(step.sequence)
                found[number, index] = _reported(llm, engine[step.sequence], examples[number])
                engine.remove(step.sequence)
    return found


def _alone(
    llm: LanguageModel, examples: dict[int, Example], variants: Sequence[Variant], schedule: Generation
) -> Found:
    found = {}
    for (number, index), variant in _pairs(examples, variants):
        example = examples[number]
        result = llm.generate_ids(
            example.prompt, fitted(schedule, example), policy=variant.policy, budget=variant.budget
        )
        found[number, index] = ScoredAnswer(
            *variant.names,
            text=result.text,
            score=example.score(result.text),
            tokens=len(llm.said(result.tokens)),
            steps=result.steps,
            cache_bytes=result.cache_bytes,
            full_cache_bytes=result.full_cache_bytes,
            latency_s=result.latency_s,
            peak_memory_bytes=result.peak_memory_bytes,
            prompt_passes=result.prompt_passes,
            recalled=result.recalled,
            host_bytes=result.host_bytes,
        )
    return found


def _pairs(examples: dict[int, Example], variants: Sequence[Variant]) -> Iterator[tuple[tuple[int, int], Variant]]:
    for number in examples:
        for index, variant in enumerate(variants):
            yield (number, index), variant


def _reported(llm: LanguageModel, sequence: RunningSequence, example: Example) -> ScoredAnswer:
    tokens = sequence.response()
    text = llm.text.decode_response(tokens, llm.model.config.eos_ids)
    return ScoredAnswer(
        *Variant(sequence.settings.policy, sequence.settings.budget).names,
        text=text,
        score=example.score(text),
        tokens=len(llm.said(tokens)),
        steps=sequence.index,
        cache_bytes=sequence.cache_bytes,
        full_cache_bytes=sequence.full_cache_bytes(llm.model.dtype.itemsize),
        prompt_passes=sequence.prompt_passes,
        recalled=sequence.recalled,
        host_bytes=sequence.host_bytes,
    )
