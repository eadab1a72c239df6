"""OpenAI's response objects: whole answers and the chunks of streams, for chats and for completions."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

Fields = dict[str, Any]


def usage(prompt_tokens: int, completion_tokens: int) -> Fields:
    """Return OpenAI's `usage` object."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def encode(fields: Fields, *, ascii: bool = False) -> bytes:
    """Return fields as JSON in UTF-8; `ascii` escapes all else, where a text may hold half a surrogate pair."""
    return json.dumps(fields, ensure_ascii=ascii, separators=(",", ":")).encode()


def event(fields: Fields, *, ascii: bool = False) -> bytes:
    """Return one server-sent event; see `encode`."""
    return b"data: " + encode(fields, ascii=ascii) + b"\n\n"


DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Reply:
    """Shape the objects of one answer, to a chat or to an older completion; a `counted` stream ends with its usage."""

    chat: bool
    model: str
    id: str
    counted: bool = False
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, finish_reason: str | None, counted: Fields, extension: Fields) -> Fields:
        """Return an answer in one piece."""
        if self.chat:
            choice: Fields = {"message": {"role": "assistant", "content": text, "refusal": None}}
        else:
            choice = {"text": text}
        choices = [{"index": 0, **choice, "logprobs": None, "finish_reason": finish_reason}]
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._head(kind), "choices": choices, "usage": counted, "maskkv": extension}

    def first(self) -> Fields:
        """Return the chunk that opens a stream."""
        chunk = self.chunk("")
        if self.chat:
            chunk["choices"][0]["delta"] = {"role": "assistant", "content": ""}
        return chunk

    def chunk(self, text: str, finish_reason: str | None = None) -> Fields:
        """Return the chunk that adds some text."""
        piece: Fields = {"delta": {"content": text} if text else {}} if self.chat else {"text": text}
        choices = [{"index": 0, **piece, "logprobs": None, "finish_reason": finish_reason}]
        return {**self._head(self._chunk_kind), "choices": choices, **({"usage": None} if self.counted else {})}

    def usage_chunk(self, counted: Fields) -> Fields:
        """Return the chunk that ends a stream with its usage."""
        return {**self._head(self._chunk_kind), "choices": [], "usage": counted}

    @property
    def _chunk_kind(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _head(self, kind: str) -> Fields:
        name = f"chatcmpl-{self.id}" if self.chat else f"cmpl-{self.id}"
        return {"id": name, "object": kind, "created": self.created, "model": self.model}
