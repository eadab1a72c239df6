"""Around every request: an id, a log line, counters, headers, and status 500 when something breaks."""

from __future__ import annotations

import logging
import time
import uuid
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maskkv.renamed import SETTINGS
from maskkv.server import logs
from maskkv.server.errors import ApiError
from maskkv.server.metrics import Metrics

_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    # The page brings its own script and style, and talks to its own server only.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


class AccessLog:
    """Give each request an id, log it and count it; an exception that nothing else answers becomes status 500.

    What another process answered and this one only passes on (`passed_on`) has been counted and logged there.

    HEAD is answered as GET is: uvicorn, which knows what was asked, leaves the body out.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and log how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        number, start, status = uuid.uuid4().hex, time.perf_counter(), 0
        fields: dict[str, Any] = {"id": number, "method": scope["method"]}
        scope.setdefault("state", {})
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if not scope["state"].get("passed_on"):
                    MutableHeaders(scope=message).update({**_HEADERS, "x-request-id": number})
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception as error:
            level = logging.WARNING if isinstance(error, TimeoutError) else logging.ERROR
            logs.say("request broke off", level, **fields, **logs.failure(type(error), error.__traceback__))
            if status == 0:
                await ApiError(500, "the server failed", "internal_error").response()(scope, receive, send_on)
        finally:
            self._account(scope, fields, status, time.perf_counter() - start)

    def _account(self, scope: Scope, fields: dict[str, Any], status: int, seconds: float) -> None:
        if scope["state"].get("passed_on"):
            return
        # The route's pattern, not what the client wrote: that may be anything.
        route = getattr(scope.get("route"), "path", "other")
        exchange = scope["state"].get("exchange")
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        for name in scope["state"].get("renamed", ()):
            logs.say("renamed field", logging.WARNING, **fields, old=name, new=SETTINGS[name])
        told = {} if exchange is None else exchange.record()
        logs.say("request", **fields, route=route, status=status, seconds=round(seconds, 4), **told)
