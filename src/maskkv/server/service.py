"""What the routes of one server share, and how a request is followed from its order to its text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from starlette.requests import Request

from maskkv.api import LanguageModel
from maskkv.server.answer import Answer
from maskkv.server.denoising import outcome
from maskkv.server.jobs import Deadline, Job, Kept, Progress
from maskkv.server.metrics import Metrics
from maskkv.server.orders import check_model, order
from maskkv.server.reading import Readers
from maskkv.server.replies import usage
from maskkv.server.requests import ChatRequest, CompletionRequest
from maskkv.server.runner import Runner
from maskkv.server.settings import ServerSettings

Result = TypeVar("Result")


@dataclass(frozen=True)
class Service:
    """Hold a model, its thread, and the settings of the server."""

    llm: LanguageModel
    model_name: str
    settings: ServerSettings
    metrics: Metrics
    runner: Runner
    readers: Readers

    async def begin(self, asked: ChatRequest | CompletionRequest) -> Exchange:
        """Put a request into the queue.

        Raises:
            ApiError: It cannot be answered, or not now.
        """
        deadline = Deadline.after(self.settings.timeout)
        check_model(asked.model, self.model_name)
        self.runner.check_room()
        # Rendering and encoding a long prompt takes a while: other requests go on meanwhile.
        translated = await self.read(partial(order, asked, self.llm, self.settings), deadline)
        job = Job(translated, deadline)
        self.runner.submit(job)
        config = self.llm.model.config
        return Exchange(job, Answer(self.llm.text, translated, config.mask_id, config.eos_ids), self.metrics)

    async def read(self, work: Callable[[], Result], deadline: Deadline, what: str = "the answer") -> Result:
        """Do what comes before the model's part of a request, beside the event loop.

        Raises:
            ApiError: Too many wait for that, time is up, or the server is ending.
        """
        try:
            async with deadline.kept(what):
                return await self.readers.do(work)
        except asyncio.CancelledError:
            self.runner.check_room()  # A server that ends says so to those whose prompts it was still reading.
            raise


@dataclass
class Exchange:
    """Follow one request; whoever made it must `close` it."""

    job: Job
    answer: Answer
    metrics: Metrics
    _last: Progress | None = field(default=None, init=False)
    _kept: Kept | None = field(default=None, init=False)

    async def steps(self) -> AsyncGenerator[tuple[Progress, str], None]:
        """Yield each step with the text that became certain by it, until the answer is complete.

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
        self.metrics.prompt_tokens.inc(len(self.job.order.prompt))
        self.metrics.completion_tokens.inc(self.answer.completion_tokens)

    def usage(self) -> dict[str, Any]:
        """Count the tokens of prompt and answer."""
        return usage(len(self.job.order.prompt), self.answer.completion_tokens)

    def outcome(self) -> dict[str, Any]:
        """Say what a complete answer took."""
        assert self._last is not None
        return outcome(self.job.order, self._last, self._kept)

    def close(self) -> None:
        """Let the model go on without this request."""
        self.job.cancel()

    def record(self) -> dict[str, Any]:
        """Say what may be logged."""
        return {
            "job": self.job.id,
            "prompt_tokens": len(self.job.order.prompt),
            "completion_tokens": self.answer.completion_tokens,
            "steps": 0 if self._last is None else self._last.step.index + 1,
            "finish_reason": self.answer.finish_reason,
        }


def service(request: Request) -> Service:
    """Return what the routes share."""
    shared: Service = request.app.state.service
    return shared
