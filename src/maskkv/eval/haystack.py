"""Long text in which something is hidden: files that the user has, or generated scenery."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from random import Random

from maskkv.api import LanguageModel
from maskkv.errors import InputError
from maskkv.mini import filler

_CHARACTERS = 8
"""More than most tokenizers put into a token of prose, so that few texts must be encoded twice."""


def read(files: Sequence[str]) -> str:
    """Return the text of files, one behind the other.

    Raises:
        InputError: A file cannot be read, is not UTF-8, or all are empty.
    """
    texts = []
    for file in files:
        try:
            texts.append(Path(file).read_text("utf-8-sig"))
        except UnicodeDecodeError:
            raise InputError(f"haystack {file} is not UTF-8 text: save it as UTF-8") from None
        except OSError as error:
            raise InputError(f"cannot read the haystack {file}: {error.strerror}") from None
    text = "\n".join(texts)
    if not text.strip():
        raise InputError(f"the haystack {', '.join(files)} is empty: expected text files")
    return text


def digest(text: str) -> str:
    """Return 16 hex digits that tell a text from others."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def generated(words: int, rng: Random) -> str:
    """Write scenery of about `words` words, the full stops counted, as English prose."""
    return " ".join(prose(sentence) for sentence in filler.sentences(rng, words + filler.SHORTEST))


def prose(sentence: Sequence[str]) -> str:
    """Write a sentence of separate words as people do."""
    return f"{' '.join(sentence[:-1]).capitalize()}{sentence[-1]}"


def tokens(llm: LanguageModel, text: str, count: int) -> list[int]:
    """Return the first `count` tokens of a text, repeated if it is shorter."""
    characters = _CHARACTERS * count
    while True:
        # What looks like a special token in the text is one here, and nothing once the tokens are text again.
        ids = llm.text.encode_rendered(text[:characters])
        if len(ids) >= count:
            return ids[:count]
        if characters >= len(text):
            text = f"{text}\n{text}"
        characters *= 2
