"""What the page needs beside answers: what there is to choose, an example to try, and what is kept of a prompt."""

from __future__ import annotations

import json
from functools import cache, partial
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from maskkv import mini, policies
from maskkv.generation import Generation
from maskkv.server.errors import ErrorReply, invalid
from maskkv.server.looking import Look, LookStream
from maskkv.server.requests import ChatRequest
from maskkv.server.service import Service, service
from maskkv.server.streaming import unless_left

router = APIRouter(prefix="/api", responses={"4XX": {"model": ErrorReply}, "5XX": {"model": ErrorReply}})

BUNDLED = "maskkv-mini"
"""What the bundled dLLM is called where no other model was given."""
_SHORTEST, _LONGEST = 64, 4096
FIRST = {"task": "single-key", "length": 512, "seed": 0, "budget": 32}
"""The example that the page begins with, the first of its kind; all of them are answered on so many pairs per head."""
_SETTINGS = ("steps", "temperature", "threshold", "seed")
_BIDIRECTIONAL = ("block_length", "prompt_interval", "response_interval", "transfer_ratio")
"""Settings of the panel; the second lot means nothing to block-causal models, or has one value there."""


@router.get("/about", response_model=None)
async def about(request: Request) -> Response:
    """Return what is served and what may be chosen."""
    return _json(described(service(request)))


def described(shared: Service) -> dict[str, Any]:
    """Return what the page says of the model and offers for it."""
    settings, config = shared.settings, shared.llm.model.config
    one_way = config.causal_block is not None
    return {
        "model": shared.model_name,
        "bundled": shared.model_name == BUNDLED,
        "vocab_size": config.vocab_size,
        "trained_length": config.trained_length,
        "ends": [shared.llm.text.piece(token) for token in config.eos_ids],
        "policies": [_policy(name) for name in policies.names()],
        "policy": settings.policy,
        "budget": settings.budget,
        "evicted": settings.evicted,
        "evicted_choices": ["drop", "host", "device"] if one_way else ["drop", "host"],
        "settings": {name: _setting(name) for name in (_SETTINGS if one_way else _SETTINGS + _BIDIRECTIONAL)},
        "max_prompt_length": settings.max_prompt_length,
        "max_gen_length": settings.max_gen_length,
        "max_body_bytes": settings.max_body_bytes,
        "examples": list(mini.TASKS),
        "first_example": FIRST,
    }


@router.get("/example", response_model=None)
async def example(
    request: Request,
    task: str = "multi-key",
    length: Annotated[int, Query(ge=_SHORTEST, le=_LONGEST)] = 512,
    seed: Annotated[int, Query(ge=0, lt=10**9)] = 0,
) -> Response:
    """Generate a document with a question that the bundled dLLM can read."""
    if task not in mini.TASKS:
        raise invalid(f"unknown task {task!r}: expected one of {', '.join(mini.TASKS)}", "task")
    try:
        made = await service(request).readers.do(partial(mini.sample, task, length, seed))
    except ValueError as error:
        raise invalid(str(error), "length") from None
    return _json(
        {
            "task": made.task,
            "document": made.document,
            "question": "" if made.question_inside else made.question,
            "answer": made.answer,
            "gen_length": made.gen_length,
        }
    )


@router.post("/lens", response_model=None)
async def look(asked: ChatRequest, request: Request) -> Response:
    """Return what the policy keeps of the prompt at every budget, and the answers with and without eviction.

    It takes what `/v1/chat/completions` takes. With `stream` all comes as events, as soon as it is found.
    """
    request.state.renamed = asked.renamed
    begun = await Look.begin(asked, service(request))
    if asked.stream:
        return LookStream(begun)
    try:
        return _json(await unless_left(request, begun.report()))
    finally:
        begun.close()


def _policy(name: str) -> dict[str, Any]:
    return {"name": name, "evicts": policies.named(name).can_evict, "about": policies.about(name)}


def _setting(name: str) -> dict[str, Any]:
    """Return a field's type and bounds, as JSON schema has them, and what stands in where it is left out."""
    number = _schema()["properties"][name]["anyOf"][0]
    # A seed that is left out is drawn.
    return {**number, "default": None if name == "seed" else getattr(Generation, name)}


@cache
def _schema() -> dict[str, Any]:
    return ChatRequest.model_json_schema()


def _json(fields: dict[str, Any]) -> Response:
    # Escaped to ASCII: a document may hold half a surrogate pair.
    return Response(json.dumps(fields), media_type="application/json")
