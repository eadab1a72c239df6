"""What is checked before a request reaches a route: its host, its key, and the type and size of its body."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maskkv.server.errors import ApiError
from maskkv.server.settings import ServerSettings

_OPEN = ("/", "/health", "/openapi.json")
_OPEN_FOLDER = "/static/"
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(?P<name>\[.*\]|[^:]*)(:[0-9]*)?")


class Guard:
    """Refuse a foreign host name, a missing or wrong key, and a body that is not JSON, too long or too slow.

    The whole body is read here, before anything is done with it.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, keys: Sequence[bytes]) -> None:
        """Stand before an application; `keys` are digests of those that it takes, and none means all are welcome."""
        self._app = app
        self._settings = settings
        self._keys = tuple(keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            self._check_key(scope["path"], headers)
            if scope["method"] in ("POST", "PUT", "PATCH"):
                receive = await self._with_body(headers, receive)
        except ApiError as problem:
            await problem.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        """Refuse the requests of a web page whose name was pointed at this machine (DNS rebinding)."""
        if self._keys:
            return
        host, own = _HOST.fullmatch(headers.get("host", "").lower()), self._settings.host.lower()
        if host is None or host["name"] not in (*_LOCAL_NAMES, own, f"[{own}]"):
            raise ApiError(421, "without an API key this server answers to localhost only", "wrong_host")

    def _check_key(self, path: str, headers: Headers) -> None:
        if not self._keys or path in _OPEN or path.startswith(_OPEN_FOLDER):
            return
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not _among(_digest(key.strip().encode("latin-1")), self._keys):
            message = "no API key, or a wrong one: expected the header `Authorization: Bearer KEY`"
            raise ApiError(401, message, "invalid_api_key", headers={"www-authenticate": "Bearer"})

    async def _with_body(self, headers: Headers, receive: Receive) -> Receive:
        """Read the body and return a `receive` that hands it to the route."""
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise ApiError(415, "expected a body with the header `Content-Type: application/json`", "not_json")
        most = self._settings.max_body_bytes
        declared = headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > most:
            raise _too_large(most)
        try:
            async with asyncio.timeout(self._settings.body_timeout):
                body = await _read(receive, most)
        except TimeoutError:
            raise ApiError(
                408, "the body took too long to arrive", "slow_body", headers={"connection": "close"}
            ) from None
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        return replay


async def _read(receive: Receive, most: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiError(499, "the client hung up", "client_closed_request")
        body += message.get("body", b"")
        if len(body) > most:
            raise _too_large(most)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(most: int) -> ApiError:
    message = f"the body is too large: expected at most {most:,} bytes"
    return ApiError(413, message, "body_too_large", headers={"connection": "close"})


def digests(keys: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return what a guard knows of keys."""
    return tuple(_digest(key) for key in keys)


def _digest(key: bytes) -> bytes:
    """Hash a key, so that all have one length and comparing them takes one time."""
    return hashlib.sha256(key).digest()


def _among(digest: bytes, keys: Sequence[bytes]) -> bool:
    """Compare with every key, in a time that does not depend on which one it is."""
    return sum(hmac.compare_digest(digest, key) for key in keys) > 0
