"""One response on its way to the client: which text is certain, where it ends, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from maskkv.engine import Step
from maskkv.server.orders import Order
from maskkv.text import Stream, Text


class Answer:
    """Turn steps into text that, once given, stays as it is.

    The text ends before the first end token, before the first stop string, or after `limit` tokens; then
    `finish_reason` is set. `completion_tokens` counts the tokens up to there, the end token not included.
    """

    def __init__(self, text: Text, order: Order, mask_id: int, eos_ids: Sequence[int]) -> None:
        self.finish_reason: Literal["stop", "length"] | None = None
        self.completion_tokens = 0
        self._decoder = text
        self._order = order
        self._ends = frozenset(eos_ids)
        self._mask_id = mask_id
        self._response = [mask_id] * order.generation.gen_length
        self._stream = Stream(text, mask_id, eos_ids)
        self._text = ""
        self._given = 0

    def push(self, step: Step) -> str:
        """Take in a step and return the text that became certain by it."""
        for position, token in zip(step.positions, step.tokens, strict=True):
            self._response[position] = token
        said = self._response[: self._order.limit]
        self._text += self._stream.push(said)
        settled = next((i for i, token in enumerate(said) if token in self._ends or token == self._mask_id), len(said))
        cut = self._first_stop()
        if cut is not None:
            self.finish_reason = "stop"
            self.completion_tokens = self._tokens_until(cut[1], said[:settled])
            return self._give(cut[0])
        self.completion_tokens = settled
        if settled == len(said):
            self.finish_reason = "length"
        elif said[settled] in self._ends:
            self.finish_reason = "stop"
        return self._give(len(self._text) - (self._held_back() if self.finish_reason is None else 0))

    def _first_stop(self) -> tuple[int, int] | None:
        """Return where the earliest stop string begins and ends; nothing that was given can be part of one."""
        found = [(self._text.find(stop, self._given), len(stop)) for stop in self._order.stops]
        return min(((start, start + length) for start, length in found if start >= 0), default=None)

    def _held_back(self) -> int:
        """Count the last characters that may be the beginning of a stop string."""
        beginnings = (stop[:size] for stop in self._order.stops for size in range(1, len(stop)))
        return max((len(each) for each in beginnings if self._text.endswith(each)), default=0)

    def _tokens_until(self, end: int, settled: Sequence[int]) -> int:
        before = self.completion_tokens
        counts = range(before + 1, len(settled) + 1)
        return next((count for count in counts if len(self._decoder.decode(settled[:count])) >= end), len(settled))

    def _give(self, end: int) -> str:
        fresh = self._text[self._given : end]
        self._given = max(self._given, end)
        return fresh
