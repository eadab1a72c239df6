"""One response on its way to the client: which text is certain, where it ends, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from maskkv.decoding.engine import Step
from maskkv.server.translate import EngineRequest
from maskkv.text.stream import Stream, certain, first_stop
from maskkv.text.tokenizer import Text


class AnswerText:
    """Turn steps into text that, once given, stays as it is.

    The text ends before the first end token, before the first stop string, or after `limit` tokens; then
    `finish_reason` is set. `completion_tokens` counts the tokens up to there, those of the stop string too, the end
    token not.
    """

    def __init__(self, text: Text, request: EngineRequest, mask_id: int, eos_ids: Sequence[int]) -> None:
        self.finish_reason: Literal["stop", "length"] | None = None
        self.completion_tokens = 0
        self._stops = request.stops
        self._response = [mask_id] * request.limit
        self._stream = Stream(text, mask_id, eos_ids)
        self._given = 0
        self._held = ""

    def push(self, step: Step) -> str:
        """Take in a step and return the text that became certain by it."""
        for position, token in zip(step.positions, step.tokens, strict=True):
            if position < len(self._response):
                self._response[position] = token
        self._held += self._stream.push(self._response)
        self.completion_tokens = self._stream.settled
        if self._stream.ended:
            self.finish_reason = "stop"
        elif self._stream.settled == len(self._response):
            self.finish_reason = "length"
        complete = self.finish_reason is not None
        stop = first_stop(self._held, self._stops, complete=complete)
        if stop is not None:
            self.finish_reason = "stop"
            self.completion_tokens = self._stream.tokens_until(self._given + stop[1])
            return self._give(stop[0])
        return self._give(len(self._held) if complete else certain(self._held, self._stops))

    def _give(self, length: int) -> str:
        fresh, self._held = self._held[:length], self._held[length:]
        self._given += length
        return fresh
