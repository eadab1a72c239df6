"""What a tokenizer does with words: enough to tell a prompt that is far too long without encoding it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers

_KEEPS_WORDS = {
    "Sequence", "NFC", "Lowercase", "ByteLevel", "Split", "Whitespace", "WhitespaceSplit", "Punctuation", "Digits",
}  # fmt: skip
"""Normalizers and pre-tokenizers that leave out blanks at most, unless they are told to remove what they find."""


def words_per_token(tokenizer: Tokenizer) -> int | None:
    """Return how many words, with blanks between them, one token stands for at most.

    None if that is not certain: the tokenizer might give words of a text no token at all.
    """
    made: dict[str, Any] = json.loads(tokenizer.to_str())
    parts = [*_parts(made["normalizer"]), *_parts(made["pre_tokenizer"])]
    kinds = {part["type"] for part in parts}
    if not kinds <= _KEEPS_WORDS or any(part.get("behavior") == "Removed" for part in parts):
        return None
    in_bytes = "ByteLevel" in kinds
    if in_bytes != ("ByteLevel" in {part["type"] for part in _parts(made["decoder"])}):
        return None
    vocabulary = tokenizer.get_vocab()
    # What has no spelling becomes the unknown token, or vanishes where there is none.
    if made["model"].get("unk_token") is None and not (
        in_bytes and vocabulary.keys() >= set(pre_tokenizers.ByteLevel.alphabet())
    ):
        return None
    pieces = tokenizer.decode_batch([[number] for number in vocabulary.values()], skip_special_tokens=False)
    return max((len(piece.split()) for piece in pieces), default=0) or None


def _parts(component: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """Yield a component of a tokenizer and those that it is made of."""
    if component is not None:
        yield component
        for name in ("normalizers", "pretokenizers", "decoders"):
            for each in component.get(name, ()):
                yield from _parts(each)
