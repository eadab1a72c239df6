"""What all routes share: the model and its thread, the settings, and how a request gets into the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from starlette.requests import Request

from maskkv.api import LanguageModel
from maskkv.server.answer_text import AnswerText
from maskkv.server.exchange import Exchange
from maskkv.server.jobs import Deadline, Job
from maskkv.server.metrics import Metrics
from maskkv.server.reading import Readers
from maskkv.server.requests import ChatRequest, CompletionRequest
from maskkv.server.runner import Runner
from maskkv.server.settings import ServerSettings
from maskkv.server.translate import check_model, translate

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
        """Translate a request, put it into the queue, and return the exchange that follows it.

        Raises:
            ApiError: It cannot be answered, or not now.
        """
        deadline = Deadline.after(self.settings.timeout)
        check_model(asked.model, self.model_name)
        self.runner.check_room()
        request = await self.read(partial(translate, asked, self.llm, self.settings), deadline)
        job = Job(request, deadline)
        self.runner.submit(job)
        config = self.llm.model.config
        return Exchange(job, AnswerText(self.llm.text, request, config.mask_id, config.eos_ids), self.metrics)

    async def read(self, work: Callable[[], Result], deadline: Deadline, what: str = "the answer") -> Result:
        """Run slow work that needs no model, such as encoding a long prompt, while other requests go on.

        Raises:
            ApiError: Too many prompts wait already, time is up (`what` took too long), or the server is ending.
        """
        try:
            async with deadline.kept(what):
                return await self.readers.do(work)
        except asyncio.CancelledError:
            self.runner.check_room()  # A server that ends says so to those whose prompts it was still reading.
            raise


def service(request: Request) -> Service:
    """Return the service of the application that a request came to."""
    shared: Service = request.app.state.service
    return shared
