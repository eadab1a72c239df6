"""What clients may ask for: OpenAI's fields that a diffusion model can honour, and maskkv's own beside them.

Every field of OpenAI's that would change the answer and is not supported is refused by its name, unless its value asks
for nothing; fields without an effect on the answer are accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PrivateAttr, create_model, field_validator, model_validator
from pydantic_core import PydanticCustomError

from maskkv.budget import Budget, check_budget
from maskkv.errors import InputError
from maskkv.generation import Allowed, allowed_values
from maskkv.renamed import SETTINGS
from maskkv.server.messages import ChatMessage, Strict, TextOr, refusal, without

_UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "n": (1,), "best_of": (1,), "echo": (False,), "suffix": ("",), "logprobs": (False,), "top_logprobs": (0,),
    "logit_bias": ({},), "presence_penalty": (0, 0.0), "frequency_penalty": (0, 0.0),
    "tools": ([],), "tool_choice": ("none", "auto"), "functions": ([],), "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},), "modalities": (["text"],), "audio": (), "prediction": (),
    "reasoning_effort": ("none",), "verbosity": ("medium",), "web_search_options": (),
    "store": (False,), "service_tier": ("auto", "default"), "moderation": (),
}  # fmt: skip
"""OpenAI's fields that are refused, with the values that ask for nothing; null always does."""

_HARMLESS = (
    "user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options",
    "parallel_tool_calls",
)  # fmt: skip

_MOST = 2**31 - 1
"""The largest number of anything that is counted."""
_AT_MOST = {"cfg_scale": 100, "alg_temp": 100}
"""Bounds so that no request can make logits overflow: requests that run together would fail with it."""
_LONGEST_STOP = 256


class StreamOptions(Strict):
    """Choose what a stream carries beside the text."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


def _field(name: str, allowed: Allowed) -> tuple[Any, Any]:
    """Return type and bounds that a field of `Generation` has in a request, where it may be null."""
    if allowed.range is None:
        return allowed.kind | None, Field(default=None)
    low, above = allowed.range.low, allowed.range.above
    ends = (allowed.range.high, _AT_MOST.get(name), _MOST if allowed.kind is int else None)
    most = min((end for end in ends if end is not None), default=None)
    return allowed.kind | None, Field(default=None, gt=low if above else None, ge=None if above else low, le=most)


if TYPE_CHECKING:
    _GenerationFields = Strict
else:
    _GenerationFields = create_model(
        "_GenerationFields",
        __base__=Strict,
        # A request says `max_tokens`.
        **{name: _field(name, allowed) for name, allowed in allowed_values().items() if name != "gen_length"},
    )


class AnswerRequest(_GenerationFields):
    """What chats and completions have in common: OpenAI's fields and those of `Generation`.

    Fields that are null or left out take the model's defaults. Where OpenAI's API gives a field other values than
    `Generation` does, it is declared here once more.
    """

    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=_MOST, description="64 if left out.")
    temperature: float | None = Field(default=None, ge=0, le=2, description="0, the default, takes likeliest tokens.")
    top_p: float | None = Field(default=None, ge=0, le=1, description="Below 1: Dream's sampler; 0: likeliest tokens.")
    top_k: int | None = Field(default=None, ge=-1, le=_MOST, description="0 and -1: all tokens.")
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63, description="Drawn if left out, and reported.")
    stop: TextOr[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    policy: str | None = Field(default=None, description="A name that `maskkv policies` lists.")
    budget: Budget = Field(
        default=None, description='Pairs per KV head and layer; "5%": that part of the prompt, rounded up; null: all.'
    )
    evicted: Literal["drop", "host", "device"] | None = Field(
        default=None,
        description="What becomes of evicted pairs: drop frees them; host has them wait in host memory, from which "
        "those that the response's rows want come back; device is for block-causal models, whose blocks choose anew.",
    )
    diffusing: bool | None = Field(default=None, description="Stream the whole canvas, step by step.")
    stream_mode: Literal["text", "denoise"] | None = Field(default=None, description="denoise: the same as diffusing.")

    _renamed: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="before")
    @classmethod
    def _supported(cls, fields: Any) -> Any:
        return without(fields, _UNSUPPORTED, _HARMLESS)

    @model_validator(mode="wrap")
    @classmethod
    def _by_old_names(cls, fields: Any, validate: Callable[[Any], AnswerRequest]) -> AnswerRequest:
        names = fields if isinstance(fields, dict) else {}
        renamed = {old: new for old, new in SETTINGS.items() if old in names}
        for old, new in renamed.items():
            if new in names:
                raise PydanticCustomError("renamed", f"{old} and {new} are the same field: give {new}")
        current = {renamed.get(name, name): value for name, value in names.items()}
        request = validate(current if renamed else fields)
        request._renamed = tuple(renamed)
        return request

    @field_validator("budget", mode="before")
    @classmethod
    def _pairs_or_part(cls, budget: object) -> Budget:
        try:
            return check_budget(budget)
        except InputError as error:
            raise PydanticCustomError("budget", "{reason}", {"reason": str(error).removeprefix("budget ")}) from None

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, stop: str | list[str] | None) -> str | list[str] | None:
        stops = [stop] if isinstance(stop, str) else stop or []
        if len(stops) > 4 or not all(1 <= len(each) <= _LONGEST_STOP for each in stops):
            raise PydanticCustomError("stops", f"expected at most 4 strings of 1 to {_LONGEST_STOP} characters")
        return stop

    @field_validator("seed")
    @classmethod
    def _counted_from_zero(cls, seed: int | None) -> int | None:
        return None if seed is None else seed % 2**63

    @field_validator("top_k")
    @classmethod
    def _all_or_some(cls, top_k: int | None) -> int | None:
        return None if top_k in (-1, 0) else top_k

    @model_validator(mode="after")
    def _likeliest(self) -> AnswerRequest:
        # Of a nucleus without any probability the likeliest token is left, whatever the sampler.
        if self.top_p == 0:
            self.temperature, self.top_p = 0.0, None
        return self

    @model_validator(mode="after")
    def _streams(self) -> AnswerRequest:
        if not self.stream and (self.stream_options is not None or self.shows_canvas()):
            given = "stream_options" if self.stream_options is not None else "diffusing"
            raise PydanticCustomError("stream", "{given} needs stream: true", {"given": given})
        return self

    @property
    def renamed(self) -> tuple[str, ...]:
        """Return the fields that were given under the name that they had before."""
        return self._renamed

    def stops(self) -> tuple[str, ...]:
        """Return the strings at which the text ends."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def shows_canvas(self) -> bool:
        """Tell whether the client wants to see the canvas fill up."""
        return bool(self.diffusing) or self.stream_mode == "denoise"

    def wants_usage(self) -> bool:
        """Tell whether a stream ends with its usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class ChatRequest(AnswerRequest):
    """Ask for the next turn of a conversation."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=_MOST, description="Newer for `max_tokens`.")

    @model_validator(mode="after")
    def _one_length(self) -> ChatRequest:
        both = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(both) > 1:
            raise PydanticCustomError("length", "max_tokens and max_completion_tokens differ; give one of them")
        return self


class CompletionRequest(AnswerRequest):
    """Ask for the continuation of a text, or of token ids, as it stands."""

    prompt: TextOr[int]

    @field_validator("prompt", mode="before")
    @classmethod
    def _one_prompt(cls, prompt: Any) -> Any:
        if isinstance(prompt, list) and any(isinstance(each, str | list) for each in prompt):
            if len(prompt) > 1:
                raise refusal("several prompts in one request are not supported; send one request for each")
            return prompt[0]
        return prompt
