"""RULER (arXiv 2404.06654): the six of its tasks that need no data, generated at any length.

A prompt has as much of its task's text as fits into `length` tokens. The tasks are RULER's, the wording is ours, so
that scores compare policies and not leaderboards; lm-evaluation-harness has RULER's own prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from maskkv.api import LanguageModel
from maskkv.errors import InputError
from maskkv.eval.benchmark import Example
from maskkv.eval.ruler_texts import Prompt, common_words, frequent_words, needles, variables

LENGTH = 4096
N = 100
Write = Callable[[int, Random], Prompt]
"""Write a prompt of so many units (sentences, list entries): more units, more tokens."""


@dataclass(frozen=True)
class Kind:
    """Say how a task's prompts are written, and how long its answers get."""

    write: Write
    gen_length: int


KINDS = {
    "niah_single_1": Kind(partial(needles, key="words", value="number", noise="sentences"), 128),
    "niah_multikey_2": Kind(partial(needles, key="words", value="number", noise="needles"), 128),
    "niah_multikey_3": Kind(partial(needles, key="uuid", value="uuid", noise="needles"), 128),
    "vt": Kind(variables, 32),
    "cwe": Kind(common_words, 120),
    "fwe": Kind(frequent_words, 56),
}


@dataclass(frozen=True)
class RulerTask:
    """Prompts of one kind, of at most `length` tokens of the model's tokenizer."""

    name: str
    length: int
    numbers: Sequence[int]
    benchmark: str = "ruler"
    metric: str = "references found"

    @property
    def settings(self) -> dict[str, object]:
        """Return the length."""
        return {"length": self.length}

    def example(self, llm: LanguageModel, number: int) -> Example:
        """Write the longest prompt with this seed that fits."""
        kind = KINDS[self.name]

        def written(units: int) -> Prompt:
            return kind.write(units, Random(f"{self.name}/{number}"))

        def fits(units: int) -> bool:
            return len(llm.prompt_ids(written(units).text)) <= self.length

        if not fits(1):
            least = len(llm.prompt_ids(written(1).text))
            raise InputError(f"length {self.length} is too short for {self.name}: expected at least {least} tokens")
        made = written(_most(fits))
        return Example(llm.prompt_ids(made.text), kind.gen_length, partial(references_found, made.references))


def tasks(lengths: Sequence[int] | None, first_seed: int, n: int | None) -> list[RulerTask]:
    """List every kind at every length."""
    numbers = range(first_seed, first_seed + (n or N))
    return [RulerTask(name, length, numbers) for length in lengths or [LENGTH] for name in KINDS]


def references_found(references: Sequence[str], text: str) -> float:
    """Return the share of the references that a text contains, whatever their case."""
    return sum(reference.lower() in text.lower() for reference in references) / len(references)


def _most(fits: Callable[[int], bool]) -> int:
    """Return the largest number that fits, where 1 does and what fits less of a thing fits too."""
    high = 2
    while fits(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
