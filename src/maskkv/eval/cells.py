"""One measured cell: a task, a policy and a budget over a set of documents."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

from maskkv.api import LanguageModel
from maskkv.engine import Engine
from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.generation import Generation
from maskkv.mini import TASKS, Sample, sample, score

TOGETHER = 16
"""Sequences that denoise side by side; what each generates does not depend on the others."""


@dataclass(frozen=True)
class Cell:
    """Name what is measured: documents `first_seed` … `first_seed + n − 1` of a task under a policy and a budget."""

    task: str
    length: int
    policy: Policy
    budget: int | None
    n: int
    first_seed: int = 0
    generation: Generation = field(default_factory=Generation)
    """The schedule; `gen_length` and `steps` are the task's own."""

    def __post_init__(self) -> None:
        """Check what a user chooses."""
        if self.task not in TASKS:
            raise InputError(f"unknown task {self.task!r}: expected one of {', '.join(TASKS)}")
        if self.n < 1:
            raise InputError(f"n {self.n}: expected at least 1 document")
        if self.first_seed < 0:
            raise InputError(f"seed {self.first_seed}: expected 0 or more")

    def key(self) -> dict[str, object]:
        """Return what tells this cell from any other, ready for JSON."""
        schedule = {
            name: value for name, value in asdict(self.generation).items() if name not in ("gen_length", "steps")
        }
        return {
            "task": self.task,
            "length": self.length,
            "policy": repr(self.policy),
            "budget": self.budget,
            "n": self.n,
            "first_seed": self.first_seed,
            "schedule": schedule,
        }


@dataclass(frozen=True)
class Answer:
    """Report one document's answer."""

    sample: Sample
    text: str
    score: float
    prompt_length: int
    steps: int
    cache_bytes: int
    full_cache_bytes: int


def measure(
    llm: LanguageModel, cell: Cell, on_answer: Callable[[Answer], None] = lambda answer: None
) -> dict[str, object]:
    """Run a cell and return its record; `scores` are in the order of the seeds."""
    samples = [sample(cell.task, cell.length, cell.first_seed + index) for index in range(cell.n)]
    start = time.perf_counter()
    answers = answer_all(llm, samples, cell, on_answer)
    wall = time.perf_counter() - start
    scores = [each.score for each in answers]
    mean = math.fsum(scores) / cell.n
    return {
        **cell.key(),
        "policy_name": cell.policy.name,
        "score": mean,
        "standard_error": math.sqrt(mean * (1 - mean) / cell.n),
        "scores": scores,
        "mean_prompt_length": sum(each.prompt_length for each in answers) / cell.n,
        "mean_steps": sum(each.steps for each in answers) / cell.n,
        "mean_cache_bytes": sum(each.cache_bytes for each in answers) / cell.n,
        "mean_full_cache_bytes": sum(each.full_cache_bytes for each in answers) / cell.n,
        "wall_s": wall,
    }


def answer_all(
    llm: LanguageModel, samples: Sequence[Sample], cell: Cell, on_answer: Callable[[Answer], None]
) -> list[Answer]:
    """Answer every document, a number of them side by side, and return the answers in the documents' order."""
    engine = Engine(llm.model, llm.profile)
    waiting = list(enumerate(samples))[::-1]
    running: dict[int, int] = {}
    answers: dict[int, Answer] = {}
    while waiting or running:
        while waiting and len(running) < TOGETHER:
            index, each = waiting.pop()
            generation = replace(cell.generation, gen_length=each.gen_length, steps=None)
            ids = llm.prompt_ids(each.content)
            running[engine.add(ids, generation, cell.policy, cell.budget, llm.rope_scale)] = index
        for step in engine.step():
            if step.finished:
                index = running.pop(step.sequence)
                answers[index] = _answer(llm, engine, step.sequence, samples[index])
                engine.remove(step.sequence)
                on_answer(answers[index])
    return [answers[index] for index in range(len(samples))]


def _answer(llm: LanguageModel, engine: Engine, number: int, sample: Sample) -> Answer:
    sequence = engine[number]
    text = llm.text.decode(llm.said(sequence.response()))
    return Answer(
        sample=sample,
        text=text,
        score=score(sample, text),
        prompt_length=sequence.extent.prompt_length,
        steps=sequence.index,
        cache_bytes=sequence.cache_bytes,
        full_cache_bytes=sequence.full_cache_bytes(llm.model.dtype.itemsize),
    )
