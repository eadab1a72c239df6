"""From what a client asked for to what the engine is told: ids, `Generation`, policy and budget."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, fields

from maskkv import policies
from maskkv.api import LanguageModel
from maskkv.budget import Budget, pairs_of
from maskkv.checks import quoted
from maskkv.decoding.canvas import check_prompt
from maskkv.errors import CheckpointError, InputError
from maskkv.eviction.policy import Policy
from maskkv.generation import Generation
from maskkv.plan import Workload
from maskkv.server.errors import ApiError, invalid
from maskkv.server.requests import AnswerRequest, ChatRequest, CompletionRequest
from maskkv.server.settings import ServerSettings


@dataclass(frozen=True)
class Order:
    """Describe one response to be made; its text is cut after `limit` tokens and before any of `stops`."""

    prompt: tuple[int, ...]
    generation: Generation
    policy: Policy
    budget: int | None
    limit: int
    stops: tuple[str, ...]
    untrained: int = 0
    """Tokens of prompt and response beyond those that the model was trained for: its positions are stretched."""


def order(request: ChatRequest | CompletionRequest, llm: LanguageModel, settings: ServerSettings) -> Order:
    """Translate a request.

    Raises:
        ApiError: It asks for what this model, or this server, does not give.
    """
    # What costs nothing to check comes before the prompt is encoded.
    policy = _policy(request, settings)
    limit, generation = _generation(request, settings)
    prompt = _prompt(request, llm, settings.max_prompt_length)
    return Order(
        prompt=tuple(prompt),
        generation=generation,
        policy=policy,
        budget=pairs_of(_budget(request, policy, settings), len(prompt)),
        limit=limit,
        stops=request.stops(),
        untrained=max(0, len(prompt) + generation.gen_length - llm.model.config.trained_length),
    )


def _prompt(request: ChatRequest | CompletionRequest, llm: LanguageModel, most: int) -> list[int]:
    """Return the ids of a prompt of at most so many tokens; what is certain to have more is not encoded."""
    field = "messages" if isinstance(request, ChatRequest) else "prompt"
    text = llm.text
    try:
        if isinstance(request, ChatRequest):
            rendered = text.render(turns(request))
            _check_length(text.least_rendered(rendered), most, field, "at least ")
            prompt = text.encode_rendered(rendered)
        elif isinstance(request.prompt, str):
            _check_length(text.least_tokens(request.prompt), most, field, "at least ")
            prompt = text.encode(request.prompt)
        else:
            check_prompt(request.prompt, llm.model.config.vocab_size)
            prompt = request.prompt
    except InputError as error:
        raise invalid(str(error), field) from None
    except CheckpointError as error:  # There is no chat template: another address serves this model.
        raise invalid(f"{error}; /v1/completions takes one", code="no_chat_template") from None
    _check_length(len(prompt), most, field)
    return prompt


def _check_length(tokens: int, most: int, field: str, about: str = "") -> None:
    if tokens > most:
        message = f"the prompt has {about}{tokens:,} tokens: expected at most {most:,}"
        raise invalid(message, field, "context_length_exceeded")


def turns(request: ChatRequest) -> list[dict[str, str]]:
    """Return a conversation as chat templates know it, with the older name of one role."""
    roles = {"developer": "system"}
    return [{"role": roles.get(each.role, each.role), "content": each.text()} for each in request.messages]


def workload(order: Order, kv_dtype: str, policy: Policy | None = None) -> Workload:
    """Return what an order is to a plan, under its own policy or (un-budgeted) another."""
    budget = order.budget if policy is None else None
    return Workload(len(order.prompt), order.generation, policy or order.policy, budget, kv_dtype)


def _policy(request: AnswerRequest, settings: ServerSettings) -> Policy:
    name = settings.policy if request.policy is None else request.policy
    # Only what maskkv ships: a name from the network never becomes an import.
    if name not in policies.names():
        raise invalid(f"unknown policy {quoted(name)}: expected one of {', '.join(policies.names())}", "policy")
    return policies.named(name)


def _budget(request: AnswerRequest, policy: Policy, settings: ServerSettings) -> Budget:
    if "budget" in request.model_fields_set:
        return request.budget
    return settings.budget if policy.can_evict else None


def _generation(request: AnswerRequest, settings: ServerSettings) -> tuple[int, Generation]:
    """Return how many tokens are wanted, and the generation of as many, rounded up to whole blocks."""
    asked = {field.name: getattr(request, field.name, None) for field in fields(Generation)}
    given = {name: value for name, value in asked.items() if value is not None}
    limit = request.max_tokens or getattr(request, "max_completion_tokens", None) or Generation.gen_length
    block = request.block_length or Generation.block_length
    length = -(-limit // block) * block
    if length > settings.max_gen_length:
        raise invalid(f"the response would have {length:,} tokens: expected at most {settings.max_gen_length:,}")
    top_p = given.pop("top_p", 1.0)
    if top_p < 1:
        given = {"alg": "maskgit_plus", "top_p": top_p} | given
    try:
        generation = Generation(**{"seed": secrets.randbelow(2**31), **given, "gen_length": length})
    except InputError as error:
        raise invalid(str(error)) from None
    return limit, generation


def check_model(asked: str | None, served: str) -> None:
    """Refuse a request for another model."""
    if asked is not None and asked != served:
        raise ApiError(
            404, f"there is no model {quoted(asked)}: this server has {served!r}", "model_not_found", param="model"
        )
