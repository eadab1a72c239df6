"""The addresses of the server."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from maskkv.server.canvas_events import CanvasView
from maskkv.server.errors import ApiError, ErrorReply
from maskkv.server.exchange import Exchange
from maskkv.server.metrics import CONTENT_TYPE
from maskkv.server.replies import Reply, encode
from maskkv.server.requests import ChatRequest, CompletionRequest
from maskkv.server.service import service
from maskkv.server.streaming import EventStream, unless_left
from maskkv.server.translate import check_model

router = APIRouter(
    responses={
        "4XX": {"model": ErrorReply, "description": "The request was refused."},
        "5XX": {"model": ErrorReply, "description": "The request failed."},
    }
)

_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The answer: whole, or as events with `stream`.", "content": {"text/event-stream": {}}}
}


@router.post("/v1/chat/completions", response_model=None, responses=_STREAMED)
async def chat(asked: ChatRequest, request: Request) -> Response:
    """Answer the last turn of a conversation."""
    return await _answer(asked, request, is_chat=True)


@router.post("/v1/completions", response_model=None, responses=_STREAMED)
async def complete(asked: CompletionRequest, request: Request) -> Response:
    """Continue a text."""
    return await _answer(asked, request, is_chat=False)


@router.get("/v1/models", response_model=None)
async def models(request: Request) -> Response:
    """List the one model that is served."""
    return _json({"object": "list", "data": [_model(service(request).model_name)]})


@router.get("/v1/models/{name:path}", response_model=None)
async def model(name: str, request: Request) -> Response:
    """Describe the model."""
    served = service(request).model_name
    check_model(name, served)
    return _json(_model(served))


@router.get("/health", response_model=None)
async def health(request: Request) -> Response:
    """Tell whether requests are being answered."""
    if not service(request).runner.alive:
        raise ApiError(503, "the model's thread does not run", "not_running")
    return _json({"status": "ok", "model": service(request).model_name})


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Return the counters for Prometheus."""
    return Response(service(request).metrics.text(), headers={"content-type": CONTENT_TYPE})


async def _answer(asked: ChatRequest | CompletionRequest, request: Request, *, is_chat: bool) -> Response:
    shared = service(request)
    request.state.renamed = asked.renamed
    exchange = await shared.begin(asked)
    request.state.exchange = exchange
    reply = Reply(is_chat, shared.model_name, exchange.job.id, counted=asked.wants_usage())
    if asked.stream:
        view = CanvasView(shared.llm.text, exchange.job.request) if asked.shows_canvas() else None
        return EventStream(exchange, reply, view)
    try:
        text = await unless_left(request, _text(exchange))
    finally:
        exchange.close()
    return _json(reply.whole(text, exchange.answer.finish_reason, exchange.usage(), exchange.outcome()))


async def _text(exchange: Exchange) -> str:
    return "".join([text async for _, text in exchange.steps()])


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "maskkv"}


def _json(fields: dict[str, Any]) -> Response:
    return Response(encode(fields), media_type="application/json")
