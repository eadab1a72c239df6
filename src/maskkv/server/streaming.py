"""Server-sent events: an answer while it is made, and what happens when its reader leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from maskkv.server.canvas_events import CanvasView
from maskkv.server.errors import ApiError
from maskkv.server.exchange import Exchange
from maskkv.server.replies import DONE, Reply, event

LAST_WORDS_S = 5
"""Seconds after a request's deadline, or the server's, in which its last events are still sent."""


class EventStream(StreamingResponse):
    """Send an exchange as events, and close it at the end, or when the reader hangs up or stalls."""

    def __init__(self, exchange: Exchange, reply: Reply, view: CanvasView | None) -> None:
        """Send what `view`, if there is one, shows of the canvas with each event."""
        super().__init__(_events(exchange, reply, view), media_type="text/event-stream")
        self._exchange = exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all events; a reader that takes nothing more is cut off soon after the request's deadline."""
        try:
            async with asyncio.timeout_at(self._exchange.job.deadline.at + LAST_WORDS_S):
                await super().__call__(scope, receive, send)
        finally:
            self._exchange.close()


async def _events(exchange: Exchange, reply: Reply, view: CanvasView | None) -> AsyncGenerator[bytes, None]:
    try:
        first = reply.first()
        yield event(first if view is None else {**first, "maskkv": view.start()})
        async for progress, text in exchange.steps():
            if view is not None:
                yield event({**reply.chunk(text), "maskkv": view.step(progress)})
            elif text:
                yield event(reply.chunk(text))
        last = {} if view is None else {"event": "finish"}
        yield event({**reply.chunk("", exchange.answer.finish_reason), "maskkv": {**last, **exchange.outcome()}})
        if reply.counted:
            yield event(reply.usage_chunk(exchange.usage()))
    except ApiError as problem:
        yield event(problem.body())
    yield DONE
