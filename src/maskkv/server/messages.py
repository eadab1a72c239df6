"""One turn of a conversation as clients send it, and what all parts of a request have in common."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Tag, field_validator, model_validator
from pydantic_core import PydanticCustomError

from maskkv.server.errors import AS_LIST, AS_TEXT

_UNSUPPORTED_IN_MESSAGES: dict[str, tuple[object, ...]] = {
    "refusal": (), "annotations": ([],), "audio": (), "tool_calls": ([],), "function_call": (), "tool_call_id": (),
    "reasoning": ("",), "reasoning_content": ("",), "provider_specific_fields": ({},),
}  # fmt: skip
"""Fields of a turn that are refused, those of other servers included, with the values that say nothing."""

_HARMLESS_IN_PARTS = ("prompt_cache_breakpoint",)


def refusal(message: str, param: str = "") -> PydanticCustomError:
    """Return the error that says that something is not supported; `param` names the field inside this one."""
    return PydanticCustomError("unsupported", message, {"param": param})


def without(fields: object, unsupported: dict[str, tuple[object, ...]], harmless: tuple[str, ...] = ()) -> object:
    """Return the fields without those that ask for nothing or have no effect.

    Raises:
        PydanticCustomError: An unsupported field asks for something.
    """
    if not isinstance(fields, dict):
        return fields
    for name, neutral in unsupported.items():
        value = fields.get(name)
        # By type too: 0 is not False.
        if value is not None and not any(type(value) is type(each) and value == each for each in neutral):
            raise refusal(f"{name} is not supported; leave it out", name)
    return {name: value for name, value in fields.items() if name not in unsupported and name not in harmless}


def _form(value: object) -> str | None:
    return AS_TEXT if isinstance(value, str) else AS_LIST if isinstance(value, list) else None


Item = TypeVar("Item")
TextOr = Annotated[
    Annotated[str, Tag(AS_TEXT)] | Annotated[list[Item], Tag(AS_LIST)],
    Discriminator(_form, custom_error_type="form", custom_error_message="expected a text or a list"),
]
"""A text or a list; what is wrong inside a list is said of its item."""


class Strict(BaseModel):
    """Take no unknown field, no text for a number, and no number that is not finite."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Said(Strict):
    """Accept any field that is null: clients send back a turn with the empty fields that some server gave it."""

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
        return without(fields, {}, _HARMLESS_IN_PARTS)


class ChatMessage(_Said):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: TextOr[TextPart]
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, fields: Any) -> Any:
        return without(fields, _UNSUPPORTED_IN_MESSAGES)

    @field_validator("role", mode="before")
    @classmethod
    def _no_tools(cls, role: Any) -> Any:
        if role in ("tool", "function"):
            raise refusal(f"messages of the role {role} are not supported")
        return role

    @field_validator("content", mode="before")
    @classmethod
    def _only_text(cls, content: Any) -> Any:
        for part in content if isinstance(content, list) else []:
            if isinstance(part, dict) and part.get("type") in ("image_url", "input_audio", "file", "refusal"):
                raise refusal(f"parts of the type {part['type']} are not supported; the model reads text")
        return content

    def text(self) -> str:
        """Return the text, that of all parts joined."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
