"""Server-sent events: an answer while it is made, and what happens when its reader leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from maskkv.server.canvas_events import CanvasView
from maskkv.server.errors import ApiError
from maskkv.server.exchange import Exchange
from maskkv.server.replies import DONE, Reply, event

Whole = TypeVar("Whole")
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


async def unless_left(request: Request, work: Coroutine[Any, Any, Whole]) -> Whole:
    """Return what some work comes to; stop waiting for it when the client has hung up.

    Raises:
        ApiError: The client is gone.
    """
    whole, left = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({whole, left}, return_when=asyncio.FIRST_COMPLETED)
        if not whole.done():
            raise ApiError(499, "the client hung up", "client_closed_request")
        return whole.result()
    finally:
        whole.cancel()
        left.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


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
