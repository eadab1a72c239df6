"""What a `tokenizer.json` may ask for: its library takes all, and some of that never ends, panics or aborts."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from maskkv.errors import CheckpointError, MaskKVError
from maskkv.models.fields import Raw
from maskkv.printable import brief

MOST_ADDED = 10_000
"""Added tokens; the largest published tokenizers have some thousands."""

_MOST_GROWTH = 2000
"""How many characters may be made of one; the published steps make 1,296 of one at most."""

_GROWTH = {"BertNormalizer": 3, "ByteLevel": 2, "Lowercase": 2, "NFC": 3, "NFD": 4, "NFKC": 18, "NFKD": 18}
_GROWTH |= {"Precompiled": 18}
"""How many characters, or bytes, a step makes of one at most: Unicode's longest decomposition has 18."""


@contextmanager
def failures(kind: type[MaskKVError], said: str, but: type[Exception] = MaskKVError) -> Iterator[None]:
    """Turn what the tokenizer's library raises into an error of ours, its panics (no `Exception`) included.

    `but` goes through.
    """
    try:
        yield
    except (MaskKVError, but):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise kind(f"{said}: {brief(error)}") from None


def check(raw: Raw) -> None:
    """Refuse what takes no end of time or memory, or is known to end the process.

    Raises:
        CheckpointError: the tokenizer asks for such a thing, or its model needs a token that it does not have.
    """
    for name in ("normalizer", "pre_tokenizer", "decoder"):
        growth = 1
        for step in _steps(raw.get(name)):
            growth *= _growth(step)
            if growth > _MOST_GROWTH:
                raise CheckpointError(f"its {name} may make more than {_MOST_GROWTH} characters of one")
    for step in _steps(raw.get("post_processor")):
        _check_template(step)
    added = raw.get("added_tokens")
    if isinstance(added, list) and len(added) > MOST_ADDED:
        raise CheckpointError(f"it has {len(added)} added tokens; supported: at most {MOST_ADDED}")
    _check_model(raw.get("model"))


def _steps(part: object) -> Iterator[Raw]:
    """Yield the steps of a part of the tokenizer, those of its sequences one by one."""
    if part is None:
        return
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise CheckpointError("one of its parts has no type")
    yield part
    if part["type"] == "Sequence":
        for inner in part.values():
            for step in inner if isinstance(inner, list) else ():
                yield from _steps(step)


def _growth(step: Raw) -> int:
    match step:
        case {"type": "Replace", "content": str(content), "pattern": {"String": str(pattern)}} if pattern:
            return max(1, -(-len(content) // len(pattern)))
        case {"type": "Replace", "content": str(content)}:
            return len(content) + 1  # A pattern may match nothing, between any two characters.
        case {"type": "Prepend", "prepend": str(prepended)}:
            return len(prepended) + 1
        case {"type": "Precompiled", "precompiled_charsmap": charsmap}:
            _check_charsmap(charsmap)
        case {"type": "FixedLength", "length": length} if length == 0:
            raise CheckpointError("its pre_tokenizer cuts text into pieces of length 0")
    return _GROWTH.get(str(step["type"]), 1)


def _check_charsmap(charsmap: object) -> None:
    """Refuse a map whose table is said to be longer than it is: memory is taken for what it says."""
    try:
        content = base64.b64decode(str(charsmap), validate=True)
    except ValueError:
        content = b""
    if not 0 < int.from_bytes(content[:4], "little") <= len(content) - 4:
        raise CheckpointError("its normalizer's precompiled_charsmap is damaged")


def _check_template(step: Raw) -> None:
    """Refuse a post-processor that refers to what it does not hold."""
    if step["type"] != "TemplateProcessing":
        return
    single, known = step.get("single"), step.get("special_tokens")
    whole = {name for name, token in known.items() if _is_whole(token)} if isinstance(known, dict) else set()
    for piece in single if isinstance(single, list) else ():
        match piece:
            case {"SpecialToken": {"id": str(name)}} if name in whole:
                continue
            case {"Sequence": {"id": "A"}}:
                continue
        raise CheckpointError(f"its post_processor refers to {brief(piece)}, which there is not")


def _is_whole(token: object) -> bool:
    """Say whether a special token of a post-processor has a text for each of its ids."""
    match token:
        case {"ids": list(ids), "tokens": list(texts)}:
            return len(ids) == len(texts)
    return False


def _check_model(model: object) -> None:
    given = model if isinstance(model, dict) else {}
    kind, vocabulary, unknown = given.get("type"), given.get("vocab"), given.get("unk_token")
    if kind == "Unigram":
        if given.get("unk_id") is None and not given.get("byte_fallback"):
            raise CheckpointError("its model has no unk_id: it knows no token for unknown characters")
    # The oldest files do not name this kind.
    elif kind in ("BPE", "WordLevel", "WordPiece") or (kind is None and "merges" in given):
        needed = kind in ("WordLevel", "WordPiece") or unknown is not None
        if needed and not (isinstance(vocabulary, dict) and isinstance(unknown, str) and unknown in vocabulary):
            raise CheckpointError(f"its unk_token {brief(repr(unknown))} is not in its vocabulary")
        _check_merges(given)
    else:
        raise CheckpointError("its model is none of BPE, Unigram, WordLevel and WordPiece")


def _check_merges(model: Mapping[str, object]) -> None:
    """Refuse merges of pieces that lack the prefix of pieces."""
    prefix, merges = model.get("continuing_subword_prefix"), model.get("merges")
    if prefix and isinstance(prefix, str) and isinstance(merges, list):
        for merge in merges:
            pair = merge.split(" ") if isinstance(merge, str) else merge
            if not isinstance(pair, list) or len(pair) != 2 or not str(pair[1]).startswith(prefix):
                raise CheckpointError(f"its merge {brief(repr(merge))} lacks the prefix {brief(repr(prefix))}")
