"""One HTTP request as plain data, and its answer by an ASGI application in this process, piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Scope

_LEAVING_S = 5
"""Seconds that an application has to end an answer that nobody waits for."""
_OWN_HEADERS = (b"authorization", b"host")

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Asked:
    """Hold an HTTP request: what a front passes on to a replica."""

    method: str
    path: str
    query: bytes
    headers: Headers
    body: bytes

    @classmethod
    def of(cls, scope: Scope, body: bytes) -> Asked:
        """Take a request whose host and key were checked; neither is passed on."""
        headers = tuple((name, value) for name, value in scope["headers"] if name not in _OWN_HEADERS)
        return cls(scope["method"], scope["path"], scope["query_string"], headers, body)

    def scope(self) -> Scope:
        """Return the request as an ASGI scope, asked on this machine."""
        return {
            "type": "http",
            # Where an application hears of a reader that left: from `receive`, as uvicorn has it.
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": self.query,
            "root_path": "",
            "headers": [(b"host", b"localhost"), *self.headers],
            "client": None,
            "server": None,
        }


@dataclass(frozen=True)
class Head:
    """Hold the beginning of an HTTP answer; pieces of its body follow."""

    status: int
    headers: Headers

    @property
    def streams(self) -> bool:
        """Tell whether the body is a stream of events."""
        return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in self.headers)


async def answered(app: ASGIApp, asked: Asked) -> AsyncGenerator[Head | bytes, None]:
    """Yield the head of the answer, then its body; a caller that closes this has hung up on the application."""
    left = asyncio.Event()
    sent: asyncio.Queue[Message | None] = asyncio.Queue()
    unread: list[Message] = [{"type": "http.request", "body": asked.body, "more_body": False}]

    async def receive() -> Message:
        if unread:
            return unread.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def run() -> None:
        try:
            await app(asked.scope(), receive, sent.put)
        finally:
            sent.put_nowait(None)

    running = asyncio.ensure_future(run())
    try:
        while (message := await sent.get()) is not None:
            if message["type"] == "http.response.start":
                yield Head(message["status"], tuple((bytes(name), bytes(value)) for name, value in message["headers"]))
            elif message.get("body"):
                yield bytes(message["body"])
        await running
    finally:
        left.set()
        await asyncio.wait({running}, timeout=_LEAVING_S)
        running.cancel()
