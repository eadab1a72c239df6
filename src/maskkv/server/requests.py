"""What clients may ask for: OpenAI's fields that a diffusion model can honour, and maskkv's own beside them.

Every field of OpenAI's that would change the answer and is not supported is refused by its name, unless its value asks
for nothing; fields without an effect on the answer are accepted.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator
from pydantic_core import PydanticCustomError

from maskkv.budget import Budget, check_budget
from maskkv.errors import InputError
from maskkv.generation import Algorithm, Remasking
from maskkv.server.errors import AS_LIST, AS_TEXT

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

_UNSUPPORTED_IN_MESSAGES: dict[str, tuple[object, ...]] = {
    "refusal": (), "annotations": ([],), "audio": (), "tool_calls": ([],), "function_call": (), "tool_call_id": (),
    "reasoning": ("",), "reasoning_content": ("",), "provider_specific_fields": ({},),
}  # fmt: skip
"""Fields of a turn that are refused, those of other servers included, with the values that say nothing."""

_HARMLESS_IN_PARTS = ("prompt_cache_breakpoint",)


def _refusal(message: str, param: str = "") -> PydanticCustomError:
    return PydanticCustomError("unsupported", message, {"param": param})


def _without(fields: object, unsupported: dict[str, tuple[object, ...]], harmless: tuple[str, ...] = ()) -> object:
    """Leave out the fields that ask for nothing; refuse those that ask for something unsupported."""
    if not isinstance(fields, dict):
        return fields
    for name, neutral in unsupported.items():
        value = fields.get(name)
        # By type too: 0 is not False.
        if value is not None and not any(type(value) is type(each) and value == each for each in neutral):
            raise _refusal(f"{name} is not supported; leave it out", name)
    return {name: value for name, value in fields.items() if name not in unsupported and name not in harmless}


def _form(value: object) -> str | None:
    return AS_TEXT if isinstance(value, str) else AS_LIST if isinstance(value, list) else None


Item = TypeVar("Item")
TextOr = Annotated[
    Annotated[str, Tag(AS_TEXT)] | Annotated[list[Item], Tag(AS_LIST)],
    Discriminator(_form, custom_error_type="form", custom_error_message="expected a text or a list"),
]
"""A text or a list; what is wrong inside a list is said of its item."""

_MOST = 2**31 - 1
"""The largest number of anything that is counted."""
_LONGEST_STOP = 256


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Said(_Strict):
    """Take null, under any name, for nothing: clients send back a turn with the empty fields that some server gave."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": {"type": "null"}})

    @model_validator(mode="before")
    @classmethod
    def _nothing(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if value is not None or name in cls.model_fields}


class TextPart(_Said):
    """A part of a message that is text; there are no other parts."""

    type: Literal["text"]
    text: str

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, fields: Any) -> Any:
        return _without(fields, {}, _HARMLESS_IN_PARTS)


class ChatMessage(_Said):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: TextOr[TextPart]
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, fields: Any) -> Any:
        return _without(fields, _UNSUPPORTED_IN_MESSAGES)

    @field_validator("role", mode="before")
    @classmethod
    def _no_tools(cls, role: Any) -> Any:
        if role in ("tool", "function"):
            raise _refusal(f"messages of the role {role} are not supported")
        return role

    @field_validator("content", mode="before")
    @classmethod
    def _only_text(cls, content: Any) -> Any:
        for part in content if isinstance(content, list) else []:
            if isinstance(part, dict) and part.get("type") in ("image_url", "input_audio", "file", "refusal"):
                raise _refusal(f"parts of the type {part['type']} are not supported; the model reads text")
        return content

    def text(self) -> str:
        """Return what was said."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(_Strict):
    """Choose what a stream carries beside the text."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class AnswerRequest(_Strict):
    """What chats and completions have in common. Fields that are null or left out take the model's defaults."""

    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=_MOST, description="64 if left out.")
    temperature: float | None = Field(default=None, ge=0, le=2, description="0, the default, takes likeliest tokens.")
    top_p: float | None = Field(default=None, ge=0, le=1, description="Below 1: Dream's sampler; 0: likeliest tokens.")
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63, description="Drawn if left out, and reported.")
    stop: TextOr[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    policy: str | None = Field(default=None, description="A name that `maskkv policies` lists.")
    budget: Budget = Field(
        default=None, description='Pairs per KV head and layer; "5%": that part of the prompt, rounded up; null: all.'
    )
    diffusing: bool | None = Field(default=None, description="Stream the whole canvas, step by step.")
    stream_mode: Literal["text", "denoise"] | None = Field(default=None, description="denoise: the same as diffusing.")

    steps: int | None = Field(default=None, ge=1, le=_MOST)
    block_length: int | None = Field(default=None, ge=1, le=_MOST)
    remasking: Remasking | None = None
    prompt_interval: int | None = Field(default=None, ge=1, le=_MOST)
    response_interval: int | None = Field(default=None, ge=1, le=_MOST)
    transfer_ratio: float | None = Field(default=None, ge=0, le=1)
    one_pass: bool | None = None
    min_confidence: float | None = Field(default=None, ge=0, le=1)
    value_drift: float | None = Field(default=None, gt=0)
    threshold: float | None = Field(default=None, ge=0, le=1)
    factor: float | None = Field(default=None, gt=0)
    stop_at_eos: bool | None = None
    # Bounded, so that no request can make logits overflow: requests that run together would fail with it.
    cfg_scale: float | None = Field(default=None, ge=0, le=100)
    logits_eos_inf: bool | None = None
    confidence_eos_eot_inf: bool | None = None
    alg: Algorithm | None = None
    alg_temp: float | None = Field(default=None, ge=0, le=100)
    eps: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1, le=_MOST, description="0 and -1: all tokens.")

    @model_validator(mode="before")
    @classmethod
    def _supported(cls, fields: Any) -> Any:
        return _without(fields, _UNSUPPORTED, _HARMLESS)

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
                raise _refusal("several prompts in one request are not supported; send one request for each")
            return prompt[0]
        return prompt
