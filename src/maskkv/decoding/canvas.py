"""The tokens of one sequence: the prompt, then the response that condenses out of masks."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from maskkv.checks import quoted, whole
from maskkv.errors import InputError


@dataclass(frozen=True)
class Change:
    """Hold what response positions were before a step: their tokens, and which were masked."""

    positions: Int[Tensor, " n"]
    tokens: Int[Tensor, " n"]
    masked: Bool[Tensor, " n"]


class Canvas:
    """Hold prompt and response tokens, and which response positions are still masked, in host memory.

    `masked` alone says what is undecided, so a prompt may contain the mask token like any other. Both are on the host
    because what a step does next depends on them: asking a device would make the host wait for it.
    """

    def __init__(self, prompt: Sequence[int], gen_length: int, mask_id: int) -> None:
        self.prompt_length = len(prompt)
        response = [mask_id] * gen_length
        self.tokens: Int[Tensor, " prompt_and_response"] = torch.tensor([*prompt, *response])
        self.masked: Bool[Tensor, " gen_length"] = torch.ones(gen_length, dtype=torch.bool)

    @property
    def response(self) -> Int[Tensor, " gen_length"]:
        """Return the response tokens, the mask token where undecided."""
        return self.tokens[self.prompt_length :]

    def before(self, changes: Sequence[Change]) -> Canvas:
        """Return a copy as it was before these changes, the latest ones."""
        earlier = copy(self)
        earlier.tokens, earlier.masked = self.tokens.clone(), self.masked.clone()
        for change in reversed(changes):
            earlier.tokens[self.prompt_length + change.positions] = change.tokens
            earlier.masked[change.positions] = change.masked
        return earlier

    def commit(self, positions: Int[Tensor, " n"], tokens: Int[Tensor, " n"]) -> Change:
        """Decide response positions, or decide them anew; return what was there."""
        change = Change(positions, self.response[positions], self.masked[positions])
        self.tokens[self.prompt_length + positions] = tokens
        self.masked[positions] = False
        return change


@dataclass(frozen=True)
class Taken:
    """Note of a step what it takes to go back before it, and to take it again."""

    change: Change
    live_start: int
    stored: bool
    """Whether it left final pairs in the cache, and committed nothing."""
    moved_on: bool
    """Whether its block was finished with it, and the next one's rows became live."""


def check_prompt(prompt: Sequence[int], vocab_size: int) -> list[int]:
    """Return a prompt's ids as a list: of a list, a tuple, a range, a tensor or an array.

    Raises:
        InputError: It is no sequence of ids of the vocabulary, or an empty one.
    """
    given: Any = prompt
    if hasattr(given, "tolist") and not isinstance(given, memoryview):
        given = given.tolist()
    if isinstance(given, str | bytes | bytearray | memoryview) or not isinstance(given, Sequence):
        text = "; a text goes to `generate`" if isinstance(given, str) else ""
        raise InputError(f"the prompt is {quoted(given)}: expected a list of token ids{text}")
    if len(given) == 0:
        raise InputError("the prompt is empty: expected at least one token")
    ids = [token if type(token) is int else _id(token, place) for place, token in enumerate(given)]
    outside = next((token for token in ids if not 0 <= token < vocab_size), None)
    if outside is not None:
        raise InputError(f"token id {quoted(outside)} is outside the vocabulary (0 to {vocab_size - 1})")
    return ids


def _id(token: object, place: int) -> int:
    number = whole(token)
    if number is None:
        raise InputError(f"the prompt has {quoted(token)} at position {place}: expected a token id, a whole number")
    return number
