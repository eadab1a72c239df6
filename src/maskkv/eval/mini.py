"""The bundled benchmark: generated documents of the bundled model's words, scored by exact match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from maskkv import mini
from maskkv.api import LanguageModel
from maskkv.errors import InputError
from maskkv.eval.benchmark import Chosen, Example

LENGTH = 1024
"""Most tokens of a prompt, by default."""
N = 200


@dataclass(frozen=True)
class MiniTask:
    """Documents `numbers` (their seeds) of one of the bundled tasks; a prompt has at most `length` tokens."""

    name: str
    length: int
    numbers: Sequence[int]
    benchmark: str = "mini"
    metric: str = "exact match"

    @property
    def settings(self) -> dict[str, object]:
        """Return the length."""
        return {"length": self.length}

    def example(self, llm: LanguageModel, number: int) -> Example:
        """Make the document with this seed."""
        try:
            made = mini.sample(self.name, self.length, number)
        except ValueError as error:
            raise InputError(str(error)) from None
        return Example(llm.prompt_ids(made.content), made.gen_length, partial(mini.score, made))


def tasks(llm: LanguageModel, chosen: Chosen) -> list[MiniTask]:
    """List every bundled task at every length."""
    numbers = chosen.seeds(N)
    return [MiniTask(name, length, numbers) for length in chosen.lengths or [LENGTH] for name in mini.TASKS]
