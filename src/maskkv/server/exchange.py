"""One request and its answer: what each step adds to the text, and what the answer took."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from maskkv.server.answer_text import AnswerText
from maskkv.server.canvas_events import outcome
from maskkv.server.jobs import Job, Kept, Progress
from maskkv.server.metrics import Metrics
from maskkv.server.replies import usage


@dataclass
class Exchange:
    """Follow one request to the end of its answer; call `close` when done with it, whatever happened."""

    job: Job
    answer: AnswerText
    metrics: Metrics
    _last: Progress | None = field(default=None, init=False)
    _kept: Kept | None = field(default=None, init=False)

    async def steps(self) -> AsyncGenerator[tuple[Progress, str], None]:
        """Yield each step with the text that it made certain, until the answer is complete.

        Raises:
            ApiError: The model failed, or time is up.
        """
        async for progress in self.job.progress():
            self._last = progress
            self._kept = progress.kept or self._kept
            text = self.answer.push(progress.step)
            yield progress, text
            if self.answer.finish_reason is not None:
                break
        self.metrics.prompt_tokens.inc(len(self.job.request.prompt))
        self.metrics.completion_tokens.inc(self.answer.completion_tokens)

    def usage(self) -> dict[str, Any]:
        """Return OpenAI's `usage` object: the tokens of prompt and answer."""
        return usage(len(self.job.request.prompt), self.answer.completion_tokens)

    def outcome(self) -> dict[str, Any]:
        """Return the `maskkv` field of a complete answer: policy, lengths, steps, kept pairs and bytes."""
        assert self._last is not None
        return outcome(self.job.request, self._last, self._kept)

    def close(self) -> None:
        """Give back the request's place; the model goes on with the others."""
        self.job.cancel()

    def record(self) -> dict[str, Any]:
        """Return what the access log may say of it: numbers, and no word of prompt or answer."""
        return {
            "job": self.job.id,
            "prompt_tokens": len(self.job.request.prompt),
            "completion_tokens": self.answer.completion_tokens,
            "steps": 0 if self._last is None else self._last.step.index + 1,
            "finish_reason": self.answer.finish_reason,
        }
