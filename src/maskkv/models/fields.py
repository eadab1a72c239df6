"""Typed reads of a checkpoint's JSON files: every value is asked for, nothing is assumed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

from maskkv.errors import CheckpointError

Raw = Mapping[str, object]
_ABSENT = object()
MOST_LAYERS = 1000


def read_json(path: Path) -> dict[str, object] | None:
    """Return the object in a JSON file, or None where there is no such file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a JSON {type(value).__name__}; supported: an object")
    return value


def count(raw: Raw, name: str) -> int:
    """Return a whole number of at least one."""
    value = raw.get(name, _ABSENT)
    if not _is_int(value) or value < 1:
        raise CheckpointError(_wrong(name, value, "a whole number >= 1"))
    return value


def layers(raw: Raw, name: str) -> int:
    """Return a number of layers; none that only a broken or hostile file has, since each one is set up."""
    if count(raw, name) > MOST_LAYERS:
        raise CheckpointError(_wrong(name, raw[name], f"a whole number <= {MOST_LAYERS}"))
    return count(raw, name)


def real(raw: Raw, name: str) -> float:
    """Return a finite number above zero."""
    value = raw.get(name, _ABSENT)
    if not (isinstance(value, float) or _is_int(value)) or not math.isfinite(value) or value <= 0:
        raise CheckpointError(_wrong(name, value, "a finite number > 0"))
    return float(value)


def flag(raw: Raw, name: str) -> bool:
    """Return true or false."""
    value = raw.get(name, _ABSENT)
    if not isinstance(value, bool):
        raise CheckpointError(_wrong(name, value, "true or false"))
    return value


def tokens(raw: Raw, name: str, vocab_size: int) -> tuple[int, ...]:
    """Return one token id, or a list of several, inside the vocabulary."""
    value = raw.get(name, _ABSENT)
    ids = tuple(value) if isinstance(value, list) and value else (value,)
    inside = tuple(item for item in ids if _is_int(item) and 0 <= item < vocab_size)
    if len(inside) != len(ids):
        raise CheckpointError(_wrong(name, value, f"a token id in 0..{vocab_size - 1}"))
    return inside


def token(raw: Raw, name: str, vocab_size: int) -> int:
    """Return one token id inside the vocabulary."""
    found = tokens(raw, name, vocab_size)
    if len(found) != 1:
        raise CheckpointError(_wrong(name, raw[name], "one token id"))
    return found[0]


def given(raw: Raw, name: str) -> bool:
    """Say whether the field is there with a value other than null."""
    return raw.get(name) is not None


def require_switches(raw: Raw, needed: Raw, tolerated: Raw) -> None:
    """Refuse a config whose switches ask for something this package does not compute.

    Fields of `needed` must be there with that value, because the published code assumes another one where they
    are absent; fields of `tolerated` may also be absent or null.
    """
    for name, supported in (*needed.items(), *tolerated.items()):
        value = raw.get(name, _ABSENT)
        if name in tolerated and (value is _ABSENT or value is None):
            continue
        if type(value) is not type(supported) or value != supported:
            raise CheckpointError(_wrong(name, value, _shown(supported)))


def require_null(raw: Raw, names: tuple[str, ...]) -> None:
    """Refuse a config that gives a value to a field whose effect is not computed here."""
    for name in names:
        if given(raw, name):
            raise CheckpointError(_wrong(name, raw[name], "null or no such field"))


def require_heads(hidden_size: int, num_heads: int, num_kv_heads: int, names: tuple[str, str, str]) -> None:
    """Refuse head counts that do not divide what they must divide."""
    hidden, heads, kv_heads = names
    if hidden_size % num_heads or (hidden_size // num_heads) % 2:
        raise CheckpointError(
            f"config.json: {hidden} {hidden_size} does not split into {num_heads} heads of even size ({heads})"
        )
    if num_heads % num_kv_heads:
        raise CheckpointError(
            f"config.json: {heads} {num_heads} is not a multiple of {kv_heads} {num_kv_heads}: no even groups"
        )


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: object) -> str:
    text = "nothing" if value is _ABSENT else "null" if value is None else repr(value)
    text = {"True": "true", "False": "false"}.get(text, text)
    return text if len(text) <= 80 else text[:77] + "..."


def _wrong(name: str, found: object, supported: str) -> str:
    return f"config.json: {name} is {_shown(found)}; supported: {supported}"
