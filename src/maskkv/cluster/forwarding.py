"""Pass a request on to a replica, to another one if that dies, and tell the client if neither can be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol, runtime_checkable

from starlette.types import Message, Receive, Scope, Send

from maskkv.cluster.calling import Asked, Head
from maskkv.server.errors import ApiError
from maskkv.server.replies import DONE, event

TRIES = 3
"""How many replicas a request is sent to at most."""
_RETRY_AFTER = {"retry-after": "5"}
_OTHERS = (b"x-request-id",)
"""Headers of a replica's answer that Ray Serve's proxy sets."""


class ReplicaLost(Exception):  # noqa: N818 - it happens, and is no mistake
    """Raise this when the replica that had a request is gone."""


class NoReplica(Exception):  # noqa: N818
    """Raise this when no replica took a request in time."""


@runtime_checkable
class Asking(Protocol):
    """Send requests to replicas."""

    def ask(self, asked: Asked) -> AsyncGenerator[Head | bytes, None]:
        """Yield the answer of one of them; closing it has the replica drop the request.

        Raises:
            ReplicaLost: The replica died before the answer was complete.
            NoReplica: There is none.
        """


class Forwarder:
    """Answer HTTP requests whose body was read and checked, by passing them on.

    An answer is the same whichever replica gives it, so one of which nothing was sent can be asked for again. `lost`
    counts the replicas that died with a request, by what became of it: `repeated`, `broken_off` or `refused`.
    """

    def __init__(self, replicas: Asking) -> None:
        self._replicas = replicas
        self._open: set[asyncio.Task[None]] = set()
        self._closed = False
        self._ended = False
        self.lost = dict.fromkeys(("repeated", "broken_off", "refused"), 0)

    @property
    def open(self) -> int:
        """Return how many requests are being answered."""
        return len(self._open)

    def close(self) -> None:
        """Accept no more requests."""
        self._closed = True

    def end(self) -> None:
        """End all requests, and accept no more."""
        self._closed = self._ended = True
        for task in self._open:
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or raise the ApiError that says why it cannot be answered."""
        if self._closed:
            raise _shutting_down()
        message = await receive()
        asked = Asked.of(scope, message.get("body", b""))
        answer = _Answer(scope, send)
        task = asyncio.ensure_future(self._pass_on(asked, answer))
        self._open.add(task)
        try:
            await task
        except asyncio.CancelledError:
            if not self._ended:
                raise  # the client hung up
            await answer.break_off(_shutting_down())
        finally:
            self._open.discard(task)

    async def _pass_on(self, asked: Asked, answer: _Answer) -> None:
        for left in reversed(range(TRIES)):
            try:
                async with aclosing(self._replicas.ask(asked)) as pieces:
                    async for piece in pieces:
                        await answer.take(piece)
                await answer.finish()
            except ReplicaLost:
                if not answer.begun and left:
                    self.lost["repeated"] += 1
                    answer.forget()
                    continue
                self.lost["broken_off" if answer.begun else "refused"] += 1
                await answer.break_off(_lost())
            except NoReplica:
                await answer.break_off(_none())
            return


class _Answer:
    """Send an answer: a stream as it comes, anything else once it is complete."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._head: Head | None = None
        self._held = bytearray()
        self.begun = False
        """Whether the client has got something, so that the answer can no longer be another one."""

    async def take(self, piece: Head | bytes) -> None:
        """Send a piece, or keep it until all are there."""
        if isinstance(piece, Head):
            self._head = piece
        elif self._head is not None and self._head.streams:
            await self._begin()
            await self._body(piece, more=True)
        else:
            self._held += piece

    def forget(self) -> None:
        """Drop what was kept of an answer that will not be complete."""
        self._head = None
        self._held.clear()

    async def finish(self) -> None:
        """Send what was kept, and the end."""
        await self._begin()
        await self._body(bytes(self._held), more=False)

    async def break_off(self, problem: ApiError) -> None:
        """Tell the client what is wrong: by an error, or at the end of a stream that has begun by an event."""
        if not self.begun:
            raise problem
        await self._body(event(problem.body()) + DONE, more=False)

    async def _begin(self) -> None:
        if self.begun:
            return
        if self._head is None:
            raise ApiError(500, "the server failed", "internal_error")
        self.begun = True
        self._scope["state"]["passed_on"] = True
        headers = [pair for pair in self._head.headers if pair[0] not in _OTHERS]
        await self._send({"type": "http.response.start", "status": self._head.status, "headers": headers})

    async def _body(self, body: bytes, *, more: bool) -> None:
        message: Message = {"type": "http.response.body", "body": body, "more_body": more}
        await self._send(message)


def _lost() -> ApiError:
    message = "the replica that answered is gone; the request can be sent again"
    return ApiError(503, message, "replica_lost", headers=_RETRY_AFTER)


def _none() -> ApiError:
    return ApiError(
        503, "no replica is there to answer; send the request again later", "no_replica", headers=_RETRY_AFTER
    )


def _shutting_down() -> ApiError:
    return ApiError(503, "the server is shutting down", "shutting_down", headers={"connection": "close"})
