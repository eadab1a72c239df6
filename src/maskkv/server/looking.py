"""A look at what is kept of a request's prompt: made by the model's thread between steps, and told as it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from maskkv import lens, policies
from maskkv.server.errors import ApiError, invalid
from maskkv.server.jobs import Deadline
from maskkv.server.model_task import ModelTask
from maskkv.server.replies import DONE, event
from maskkv.server.requests import ChatRequest
from maskkv.server.service import Service
from maskkv.server.streaming import LAST_WORDS_S
from maskkv.server.translate import EngineRequest, check_model, translate, turns, workload
from maskkv.text.tokenizer import Token

Fields = dict[str, Any]
_WHAT = "looking"


@dataclass(frozen=True)
class Look:
    """Follow one look; call `close` when done with it, whatever happened."""

    shared: Service
    task: ModelTask[lens.Progress | lens.Found]
    deadline: Deadline

    @classmethod
    async def begin(cls, asked: ChatRequest, shared: Service) -> Look:
        """Read a request, and queue the look at its prompt.

        Raises:
            ApiError: There is nothing to look at, or not now.
        """
        deadline = Deadline.after(shared.settings.timeout)
        check_model(asked.model, shared.model_name)
        shared.runner.check_room()
        wanted, tokens = await shared.read(partial(_read, asked, shared), deadline, _WHAT)
        work = lens.look(shared.llm, tokens, wanted.generation, wanted.policy, wanted.budget)
        # The un-evicted answer is part of it; pairs that wait in host memory come with the other.
        needed = [workload(wanted, shared.llm.kv_dtype, policies.named("full"))]
        if wanted.policy.recall is not None:
            needed.append(workload(wanted, shared.llm.kv_dtype))
        return cls(shared, shared.runner.lend(work, *needed), deadline)

    async def events(self) -> AsyncGenerator[Fields, None]:
        """Yield how far it came, as `progress`, and fields of the report as soon as they are found, as `report`.

        Raises:
            ApiError: It failed, or time is up.
        """
        async for piece in self.task.pieces(self.deadline, _WHAT):
            if isinstance(piece, lens.Progress):
                yield {"progress": asdict(piece)}
            else:
                packed = partial(lens.packed_fields, piece.fields)
                yield {"report": await self.shared.read(packed, self.deadline, _WHAT)}

    async def report(self) -> Fields:
        """Wait for the whole report.

        Raises:
            ApiError: It failed, or time is up.
        """
        whole: Fields = {}
        async for each in self.events():
            whole |= each.get("report", {})
        return whole

    def close(self) -> None:
        """Let the model's thread drop what is left to do."""
        self.task.cancel()


class LookStream(StreamingResponse):
    """Send a look as events, and end it when it is done, or when the reader hangs up or stalls."""

    def __init__(self, look: Look) -> None:
        super().__init__(_sent(look), media_type="text/event-stream")
        self._look = look

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all events; a reader that takes nothing more is cut off soon after the deadline."""
        try:
            async with asyncio.timeout_at(self._look.deadline.at + LAST_WORDS_S):
                await super().__call__(scope, receive, send)
        finally:
            self._look.close()


async def _sent(look: Look) -> AsyncGenerator[bytes, None]:
    try:
        async for each in look.events():
            yield event(each, ascii=True)
    except ApiError as problem:
        yield event(problem.body())
    yield DONE


def _read(asked: ChatRequest, shared: Service) -> tuple[EngineRequest, list[Token]]:
    wanted = translate(asked, shared.llm, shared.settings)
    if not wanted.policy.can_evict:
        raise invalid(
            f"policy {wanted.policy.name} evicts nothing: there is something to see with one that does", "policy"
        )
    return wanted, shared.llm.text.chat_tokens(turns(asked))
