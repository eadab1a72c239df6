"""Needle in a haystack: one fact at every depth of prompts of every length.

Real checkpoints read the published needle as DuoAttention (arXiv 2410.10819) puts it: the prompt ends in the middle of
the answer's sentence, so that no chat template goes around it. A model that knows only the
bundled model's words gets facts of those words, and is scored by exact match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from string import punctuation

from maskkv import mini
from maskkv.api import LanguageModel
from maskkv.errors import InputError
from maskkv.eval import haystack
from maskkv.eval.benchmark import Chosen, Example
from maskkv.mini.needles import needle

NEEDLE = "Remember, the best thing to do in San Francisco is eat a sandwich and sit in Dolores Park on a sunny day."
QUESTION = "What is the best thing to do in San Francisco?"
CUE = "The best thing to do in San Francisco is"
EXPECTED = "eat a sandwich and sit in Dolores Park on a sunny day."
BUFFER = 200
"""Tokens of a prompt's length that are left for everything but haystack and needle."""
GEN_LENGTH = 32
DEPTHS = tuple(round(100 * step / 9) for step in range(10))
LENGTHS = 13
LONGEST = 4096
OWN_LENGTHS = tuple(range(128, 1025, 128))
N = 1
OWN_N = 20


@dataclass(frozen=True)
class PublishedNeedle:
    """Hide the published needle at a depth (percent) of prompts of `length` tokens.

    The haystack is generated from the example's number, or `text`, which is the same for every number.
    """

    length: int
    depth: int
    numbers: Sequence[int]
    text: str | None = field(default=None, repr=False)
    benchmark: str = "niah"
    name: str = "niah"
    metric: str = "words found"

    @property
    def settings(self) -> dict[str, object]:
        """Return length, depth and the haystack's hash."""
        source = None if self.text is None else haystack.digest(self.text)
        return {"length": self.length, "depth": self.depth, "needle": "published", "haystack": source}

    def example(self, llm: LanguageModel, number: int) -> Example:
        """Make a prompt: length − 200 − needle tokens of haystack, the needle at its token int(count · depth / 100)."""
        hidden = llm.text.encode_rendered(f"\n\n{NEEDLE}\n\n")
        count = self.length - BUFFER - len(hidden)
        if count < 1:
            least = BUFFER + len(hidden) + 1
            raise InputError(f"length {self.length} is too short for the needle: expected at least {least} tokens")
        text = self.text or haystack.generated(count, Random(f"haystack/{number}"))
        context = haystack.tokens(llm, text, count)
        place = int(count * self.depth / 100)
        story = llm.text.decode(context[:place] + hidden + context[place:])
        prompt = (
            f"This is a very long story book: <book> {story} </book>.\n"
            f"Based on the content of the book, answer the question.\nQuestion: {QUESTION}\nAnswer: {CUE}"
        )
        return Example(llm.prompt_ids(prompt, raw=True), GEN_LENGTH, words_found)


@dataclass(frozen=True)
class OwnNeedle:
    """Hide a fact of the bundled model's words at a depth (percent) of prompts of at most `length` tokens."""

    length: int
    depth: int
    numbers: Sequence[int]
    benchmark: str = "niah"
    name: str = "niah"
    metric: str = "exact match"

    @property
    def settings(self) -> dict[str, object]:
        """Return length and depth."""
        return {"length": self.length, "depth": self.depth, "needle": "own"}

    def example(self, llm: LanguageModel, number: int) -> Example:
        """Make the prompt with this seed."""
        try:
            made = needle(self.length, self.depth, number)
        except ValueError as error:
            raise InputError(str(error)) from None
        return Example(llm.prompt_ids(made.content), made.gen_length, partial(mini.score, made))


def tasks(llm: LanguageModel, chosen: Chosen) -> list[PublishedNeedle] | list[OwnNeedle]:
    """List all lengths and depths (percent) of the needle that the model can read.

    Raises:
        InputError: A depth is not from 0 to 100, or the haystack cannot be used.
    """
    for depth in chosen.depths:
        if not 0 <= depth <= 100:
            raise InputError(f"depth {depth}: expected a percentage from 0 to 100")
    if chosen.haystack and (chosen.n or 1) > 1:
        raise InputError(f"-n {chosen.n}: the haystack makes one prompt per length and depth, leave -n out")
    depths = chosen.depths or DEPTHS
    if not chosen.haystack and not _reads_english(llm):
        numbers = chosen.seeds(OWN_N)
        return [OwnNeedle(length, depth, numbers) for length in chosen.lengths or OWN_LENGTHS for depth in depths]
    text = haystack.read(chosen.haystack) if chosen.haystack else None
    numbers = chosen.seeds(N)
    return [
        PublishedNeedle(length, depth, numbers, text) for length in chosen.lengths or _lengths(llm) for depth in depths
    ]


def words_found(text: str) -> float:
    """Return the share of the expected words that a text has, whatever their case and punctuation."""
    expected = _words(EXPECTED)
    return len(expected & _words(text)) / len(expected)


def _words(text: str) -> set[str]:
    return {word.strip(punctuation) for word in text.lower().split()}


def _reads_english(llm: LanguageModel) -> bool:
    """Tell whether the tokenizer can spell the needle; a closed vocabulary cannot."""
    try:
        llm.text.encode(NEEDLE)
    except InputError:
        return False
    return True


def _lengths(llm: LanguageModel) -> list[int]:
    """Return evenly spaced lengths up to what the model was trained on, at most 4,096."""
    longest = min(LONGEST, llm.model.config.trained_length)
    return [longest * step // LENGTHS for step in range(1, LENGTHS + 1)]
