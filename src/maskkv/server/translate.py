"""A client's request becomes the engine's: prompt ids, `Generation`, policy and budget."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, fields

from maskkv import mixing, policies
from maskkv.api import LanguageModel
from maskkv.budget import Budget, pairs_of
from maskkv.checks import quoted
from maskkv.decoding.canvas import check_prompt
from maskkv.decoding.fitting import for_model
from maskkv.errors import CheckpointError, InputError
from maskkv.eviction.policy import Policy
from maskkv.generation import Generation
from maskkv.models.config import ModelConfig
from maskkv.plan import Workload
from maskkv.server.errors import ApiError, invalid
from maskkv.server.requests import AnswerRequest, ChatRequest, CompletionRequest
from maskkv.server.settings import ServerSettings


@dataclass(frozen=True)
class EngineRequest:
    """Hold what the engine needs for one response; the text is cut after `limit` tokens and before any of `stops`."""

    prompt: tuple[int, ...]
    generation: Generation
    policy: Policy
    budget: int | None
    limit: int
    stops: tuple[str, ...]
    untrained: int = 0
    """Tokens by which prompt and response are longer than the model was trained for; its positions are stretched."""


def translate(asked: ChatRequest | CompletionRequest, llm: LanguageModel, settings: ServerSettings) -> EngineRequest:
    """Translate a request; the server's own policy, budget and `evicted` stand in where it names none.

    Raises:
        ApiError: This model, or this server, cannot do what is asked.
    """
    # What costs nothing to check comes before the prompt is encoded.
    policy = _policy(asked, settings)
    limit, generation = _generation(asked, settings, policy, llm.model.config)
    prompt = _prompt(asked, llm, settings.max_prompt_length)
    return EngineRequest(
        prompt=tuple(prompt),
        generation=generation,
        policy=policy,
        budget=pairs_of(_budget(asked, policy, settings), len(prompt)),
        limit=limit,
        stops=asked.stops(),
        untrained=max(0, len(prompt) + generation.gen_length - llm.model.config.trained_length),
    )


def _prompt(asked: ChatRequest | CompletionRequest, llm: LanguageModel, most: int) -> list[int]:
    """Return the ids of a prompt of at most `most` tokens; one that is too long by its words alone is not encoded."""
    field = "messages" if isinstance(asked, ChatRequest) else "prompt"
    text = llm.text
    try:
        if isinstance(asked, ChatRequest):
            rendered = text.render(turns(asked))
            _check_length(text.least_rendered(rendered), most, field, "at least ")
            prompt = text.encode_rendered(rendered)
        elif isinstance(asked.prompt, str):
            _check_length(text.least_tokens(asked.prompt), most, field, "at least ")
            prompt = text.encode(asked.prompt)
        else:
            check_prompt(asked.prompt, llm.model.config.vocab_size)
            prompt = asked.prompt
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


def turns(asked: ChatRequest) -> list[dict[str, str]]:
    """Return a conversation as chat templates know it: the role `developer` is `system` there."""
    roles = {"developer": "system"}
    return [{"role": roles.get(each.role, each.role), "content": each.text()} for each in asked.messages]


def workload(request: EngineRequest, kv_dtype: str, policy: Policy | None = None) -> Workload:
    """Return what a plan needs to know of a request, under its own policy or (without a budget) another."""
    budget = request.budget if policy is None else None
    return Workload(len(request.prompt), request.generation, policy or request.policy, budget, kv_dtype)


def _policy(asked: AnswerRequest, settings: ServerSettings) -> Policy:
    name = settings.policy if asked.policy is None else asked.policy
    # Only what maskkv ships: a name from the network never becomes an import.
    if name not in policies.names():
        spelt = " (without changes; evicted is a field of its own)" if "(" in name else ""
        raise invalid(f"unknown policy {quoted(name)}: expected one of {', '.join(policies.names())}{spelt}", "policy")
    return _evicting(policies.named(name), asked, settings)


def _evicting(policy: Policy, asked: AnswerRequest, settings: ServerSettings) -> Policy:
    """Return the policy with what is to become of evicted pairs, by the request or else by the server."""
    if not policy.can_evict:
        if asked.evicted == "host":
            raise invalid(f"policy {policy.name} evicts nothing: no pair of it can wait in host memory", "evicted")
        return policy
    evicted = settings.evicted if asked.evicted is None else asked.evicted
    return policy if evicted == policy.evicted else mixing.mix(policy, evicted=evicted)


def _budget(asked: AnswerRequest, policy: Policy, settings: ServerSettings) -> Budget:
    if "budget" in asked.model_fields_set:
        return asked.budget
    return settings.budget if policy.can_evict else None


def _generation(
    asked: AnswerRequest, settings: ServerSettings, policy: Policy, config: ModelConfig
) -> tuple[int, Generation]:
    """Return how many tokens the text may have, and how the response is made: as many, rounded up to whole blocks."""
    chosen = {field.name: getattr(asked, field.name, None) for field in fields(Generation)}
    given = {name: value for name, value in chosen.items() if value is not None}
    limit = asked.max_tokens or getattr(asked, "max_completion_tokens", None) or Generation.gen_length
    block = given.get("block_length", Generation.block_length)
    length = -(-limit // block) * block
    if length > settings.max_gen_length:
        raise invalid(f"the response would have {length:,} tokens: expected at most {settings.max_gen_length:,}")
    top_p = given.pop("top_p", 1.0)
    if top_p < 1 and config.causal_block is not None:
        raise invalid(f"top_p={top_p} is for bidirectional models, and {config.family} is block-causal", "top_p")
    if top_p < 1:
        given = {"alg": "maskgit_plus", "top_p": top_p} | given
    try:
        generation = Generation(**{"seed": secrets.randbelow(2**31), **given, "gen_length": length})
        generation = for_model(generation, policy, config)
    except InputError as error:
        raise invalid(str(error)) from None
    return limit, generation


def check_model(asked: str | None, served: str) -> None:
    """Refuse a request that names another model than the one served."""
    if asked is not None and asked != served:
        raise ApiError(
            404, f"there is no model {quoted(asked)}: this server has {served!r}", "model_not_found", param="model"
        )
