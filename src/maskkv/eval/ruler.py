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
from maskkv.eval.benchmark import Chosen, Example
from maskkv.eval.ruler_texts import RulerPrompt, common_words, frequent_words, needles, variables

LENGTH = 4096
N = 100
FEW = 8
"""Units of the prompt that tells how much a unit takes."""
MANY = 12
"""Prompts after which the search for the longest that fits halves, whatever they told."""
Write = Callable[[int, Random], RulerPrompt]
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
        made: dict[int, tuple[RulerPrompt, list[int]]] = {}

        def size(units: int) -> int:
            prompt = kind.write(units, Random(f"{self.name}/{number}"))
            made[units] = prompt, llm.prompt_ids(prompt.text)
            return len(made[units][1])

        if (least := size(1)) > self.length:
            raise InputError(f"length {self.length} is too short for {self.name}: expected at least {least} tokens")
        prompt, ids = made[_most(size, least, self.length)]
        return Example(ids, kind.gen_length, partial(references_found, prompt.references))


def tasks(llm: LanguageModel, chosen: Chosen) -> list[RulerTask]:
    """List every kind at every length."""
    numbers = chosen.seeds(N)
    return [RulerTask(name, length, numbers) for length in chosen.lengths or [LENGTH] for name in KINDS]


def references_found(references: Sequence[str], text: str) -> float:
    """Return the share of the references that a text contains, whatever their case."""
    return sum(reference.lower() in text.lower() for reference in references) / len(references)


def _most(size: Callable[[int], int], least: int, limit: int) -> int:
    """Return the largest number of units whose size is at most `limit`: that of 1 is, `least`, and more have more.

    To know a size costs a whole prompt, so few are asked for, and hardly one far above the limit.
    """
    sizes, low, high = {1: least}, 1, None
    while high is None or high - low > 1:
        units = _guess(sizes, low, high, limit)
        sizes[units] = size(units)
        if sizes[units] <= limit:
            low = units
        else:
            high = units
    return low


def _guess(sizes: dict[int, int], low: int, high: int | None, limit: int) -> int:
    """Return where a straight line through two known sizes meets the limit: between `low`, which fits, and `high`."""
    if len(sizes) == 1:
        return FEW
    if len(sizes) > MANY:  # the sizes are on no such line
        return 2 * low if high is None else (low + high) // 2
    other = max(units for units in sizes if units < low) if high is None else high
    per_unit = max((sizes[other] - sizes[low]) / (other - low), 0.1)
    meets = low + int((limit - sizes[low]) / per_unit)
    return max(low + 1, min(meets, 16 * low if high is None else high - 1))
