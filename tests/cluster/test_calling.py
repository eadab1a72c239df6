"""An ASGI application answers requests that are plain data, and hears when nobody waits any more."""

import asyncio

import pytest

from maskkv.cluster.calling import Asked, Head, answered
from maskkv.server.app import create_app
from maskkv.server.settings import ServerSettings

ASKED = Asked("POST", "/a/b", b"c=d", ((b"x", b"y"),), b"body")


def test_the_application_sees_the_request_and_its_answer_comes_in_pieces():
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope, received=await receive())
        await send({"type": "http.response.start", "status": 201, "headers": [(b"a", b"b")]})
        for piece, more in ((b"1", True), (b"", True), (b"2", False)):
            await send({"type": "http.response.body", "body": piece, "more_body": more})

    async def collect():
        return [piece async for piece in answered(app, ASKED)]

    assert asyncio.run(collect()) == [Head(201, ((b"a", b"b"),)), b"1", b"2"]
    assert seen["received"] == {"type": "http.request", "body": b"body", "more_body": False}
    assert (seen["method"], seen["path"], seen["query_string"]) == ("POST", "/a/b", b"c=d")
    assert seen["headers"] == [(b"host", b"localhost"), (b"x", b"y")]


def test_what_the_application_raises_is_raised():
    async def app(scope, receive, send):
        raise KeyError("here")

    async def collect():
        return [piece async for piece in answered(app, ASKED)]

    with pytest.raises(KeyError, match="here"):
        asyncio.run(collect())


def test_closing_tells_the_application_that_its_reader_left():
    heard = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        heard.append((await receive())["type"])

    async def leave():
        pieces = answered(app, ASKED)
        assert (await anext(pieces)).status == 200
        await pieces.aclose()
        assert heard == ["http.disconnect"]

    asyncio.run(leave())


@pytest.mark.parametrize("streamed", [True, False])
def test_a_reader_that_leaves_frees_its_place_at_once(llm, streamed):
    app = create_app(llm, "maskkv-mini", ServerSettings(budget=32))
    runner = app.state.service.runner
    body = b'{"prompt": "the", "max_tokens": 4096, "block_length": 4096, "stop_at_eos": false, "stream": %s}'
    asked = Asked("POST", "/v1/completions", b"", ((b"content-type", b"application/json"),),
                  body % (b"true" if streamed else b"false"))  # fmt: skip

    async def leave():
        pieces = answered(app, asked)
        waiting = asyncio.ensure_future(anext(pieces))
        while not runner._running:
            await asyncio.sleep(0.01)
        if not streamed:
            waiting.cancel()
        await asyncio.wait({waiting})
        await pieces.aclose()
        while not runner.idle:
            await asyncio.sleep(0.01)

    runner.start()
    try:
        asyncio.run(asyncio.wait_for(leave(), 60))
    finally:
        runner.stop()
    metrics = app.state.service.metrics
    assert metrics.ended.labels("cancelled")._value.get() == 1
