"""What the page needs beside answers: what there is to choose, an example to try, and what is kept of a prompt."""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from maskkv import mini, policies
from maskkv.server.errors import ErrorReply, invalid
from maskkv.server.looking import Look, LookStream
from maskkv.server.requests import ChatRequest
from maskkv.server.service import service

router = APIRouter(prefix="/api", responses={"4XX": {"model": ErrorReply}, "5XX": {"model": ErrorReply}})

BUNDLED = "maskkv-mini"
"""What the bundled dLLM is called where no other model was given."""
_SHORTEST, _LONGEST = 64, 4096


@router.get("/about", response_model=None)
async def about(request: Request) -> Response:
    """Return what is served and what may be chosen."""
    shared = service(request)
    settings = shared.settings
    return _json(
        {
            "model": shared.model_name,
            "bundled": shared.model_name == BUNDLED,
            "policies": [{"name": name, "evicts": policies.named(name).can_evict} for name in policies.names()],
            "policy": settings.policy,
            "budget": settings.budget,
            "max_prompt_length": settings.max_prompt_length,
            "max_gen_length": settings.max_gen_length,
            "examples": list(mini.TASKS),
        }
    )


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
        return _json(await begun.report())
    finally:
        begun.close()


def _json(fields: dict[str, Any]) -> Response:
    # Escaped to ASCII: a document may hold half a surrogate pair.
    return Response(json.dumps(fields), media_type="application/json")
