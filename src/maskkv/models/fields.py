"""Typed reads of a checkpoint's JSON files: every value is asked for, nothing is assumed."""

from __future__ import annotations

import json
import sys
from collections.abc import Container, Mapping
from pathlib import Path
from typing import TypeGuard

from maskkv import files
from maskkv.errors import CheckpointError
from maskkv.printable import brief

Raw = Mapping[str, object]
_ABSENT = object()
MOST_LAYERS = 1000
MOST_EXPERTS = 1000
LONGEST_BLOCK = 2**16
MOST_ROWS = 2**24
"""Of a tensor: many times what any published model has, and few enough that no product of two is too large."""

_MOST_POSITIONS = 2**31 - 1
_MOST_ENDS = 100
_ROPE = ("rope_parameters", "rope_scaling")
"""Where `transformers` writes what RoPE needs: since 5, and before."""

_MOST_LEVELS = 100


def read_json(path: Path) -> dict[str, object] | None:
    """Return the object in a JSON file, or None where there is no such file."""
    try:
        value = json.loads(files.read_text(path))
        _require_flat(value)
    except FileNotFoundError:
        return None
    except RecursionError:
        raise CheckpointError(f"{path} cannot be read as JSON: it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {brief(error)}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a JSON {type(value).__name__}; supported: an object")
    return value


def _require_flat(value: object) -> None:
    """Refuse what is nested so deeply that others who walk through it run out of stack."""
    level = [value]
    for _ in range(_MOST_LEVELS):
        lists = [list(each.values()) if isinstance(each, dict) else each for each in level]
        level = [each for one in lists if isinstance(one, list) for each in one]
    if any(isinstance(each, dict | list) for each in level):
        raise RecursionError


def count(raw: Raw, name: str, most: int = MOST_ROWS, least: int = 1) -> int:
    """Return a whole number within limits."""
    value = raw.get(name, _ABSENT)
    if not _is_int(value) or value < least:
        raise CheckpointError(_wrong(name, value, f"a whole number >= {least}"))
    if value > most:
        raise CheckpointError(_wrong(name, value, f"a whole number <= {most}"))
    return value


def even(raw: Raw, name: str) -> int:
    """Return an even number of at least two."""
    value = count(raw, name)
    if value % 2:
        raise CheckpointError(_wrong(name, value, "an even number, since halves of it are rotated"))
    return value


def positions(raw: Raw, name: str) -> int:
    """Return a number of positions, of which nothing is as large as they are many."""
    return count(raw, name, _MOST_POSITIONS)


def layers(raw: Raw, name: str) -> int:
    """Return a number of layers; none that only a broken or hostile file has, since each one is set up."""
    return count(raw, name, MOST_LAYERS)


def real(raw: Raw, name: str) -> float:
    """Return a finite number above zero."""
    value = raw.get(name, _ABSENT)
    # The comparison is exact and takes whole numbers of any size; NaN fails it.
    if not (isinstance(value, float) or _is_int(value)) or not 0 < value <= sys.float_info.max:
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
    if len(ids) > _MOST_ENDS:
        raise CheckpointError(f"config.json: {name} lists {len(ids)} token ids; supported: at most {_MOST_ENDS}")
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


def mask(raw: Raw, vocab_size: int, named: str) -> int:
    """Return the mask token's id, of which configs as they are published leave it to the tokenizer what it is.

    Where that did not tell either, what is missing is said with the token's name there.
    """
    if not given(raw, "mask_token_id"):
        raise CheckpointError(
            f"config.json: there is no mask_token_id, and no tokenizer with {named} beside it; supported: either"
        )
    return token(raw, "mask_token_id", vocab_size)


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


def rotary_dim(raw: Raw, head_dim: int) -> int | None:
    """Return how many numbers of each head are rotated, None if all: a part of them that the config must name."""
    part = _of_rope(raw, "partial_rotary_factor")
    rotated = int(head_dim * part)
    if part > 1 or rotated < 2 or rotated % 2:
        supported = f"a part of head size {head_dim} that is an even number, up to 1"
        raise CheckpointError(_wrong("partial_rotary_factor", part, supported))
    return None if rotated == head_dim else rotated


def choice_of_layers(raw: Raw, name: str, num_layers: int) -> tuple[int, ...]:
    """Return the layers, at least one, that a list with a 1 or a 0 for each layer says 1 of."""
    value = raw.get(name, _ABSENT)
    known = isinstance(value, list) and all(_is_int(each) and each in (0, 1) for each in value)
    if not isinstance(value, list) or not known or len(value) != num_layers or not any(value):
        supported = f"a list of {num_layers} that are 0 or 1, one for each layer, not all 0"
        raise CheckpointError(_wrong(name, value, supported))
    return tuple(layer for layer, each in enumerate(value) if each)


def rope_theta(raw: Raw, *, partial: bool = False) -> float:
    """Return RoPE's base, and refuse a config that asks for any other than the plain rotation.

    A `partial` family may rotate a part of each head and reads `rotary_dim` itself.
    """
    if not partial:
        require_one(raw, "partial_rotary_factor")
    elsewhere = {"rope_theta", "partial_rotary_factor"} if partial else {"rope_theta"}
    for name in _ROPE:
        inner = raw.get(name)
        if inner is not None and not (isinstance(inner, dict) and _is_plain_rope(inner, elsewhere)):
            raise CheckpointError(_wrong(name, inner, "null, or rope_type 'default' with no more than a rope_theta"))
    return _of_rope(raw, "rope_theta")


def _of_rope(raw: Raw, field: str) -> float:
    """Return a number of RoPE: it stands beside the other fields, or where `transformers` 5 writes it, or in both."""
    found = {field: real(raw, field)} if given(raw, field) else {}
    for name in _ROPE:
        inner, place = raw.get(name), f"{name}.{field}"
        if isinstance(inner, dict) and given(inner, field):
            found[place] = real({place: inner[field]}, place)
    if len(set(found.values())) > 1:
        both = " and ".join(f"{name} is {value!r}" for name, value in found.items())
        raise CheckpointError(f"config.json: {both}; supported: one value")
    return next(iter(found.values())) if found else real(raw, field)


def _is_plain_rope(parameters: Raw, elsewhere: Container[str]) -> bool:
    """Say whether RoPE's parameters ask for nothing, but for those read elsewhere: fields may be null."""
    nothing = {"rope_type": "default", "type": "default", "partial_rotary_factor": 1}
    asked = {name: value for name, value in parameters.items() if value is not None and name not in elsewhere}
    return all(
        not isinstance(value, bool) and name in nothing and value == nothing[name] for name, value in asked.items()
    )


def require_one(raw: Raw, name: str) -> None:
    """Refuse a config that multiplies by another factor than 1."""
    if given(raw, name) and real(raw, name) != 1:
        raise CheckpointError(_wrong(name, raw[name], "1 or no such field"))


def require_full_attention(raw: Raw) -> None:
    """Refuse a config with layers that do not look at everything."""
    kinds = raw.get("layer_types")
    if kinds is not None and not (isinstance(kinds, list) and all(kind == "full_attention" for kind in kinds)):
        raise CheckpointError(_wrong("layer_types", kinds, "'full_attention' for every layer"))


def require_heads(hidden_size: int, num_heads: int, num_kv_heads: int, names: tuple[str, str, str]) -> None:
    """Refuse head counts that do not divide what they must divide."""
    hidden, heads, kv_heads = names
    if hidden_size % num_heads or (hidden_size // num_heads) % 2:
        raise CheckpointError(
            f"config.json: {hidden} {hidden_size} does not split into {num_heads} heads of even size ({heads})"
        )
    require_groups(num_heads, num_kv_heads, (heads, kv_heads))


def require_groups(num_heads: int, num_kv_heads: int, names: tuple[str, str]) -> None:
    """Refuse query heads that do not divide evenly among the KV heads."""
    heads, kv_heads = names
    if num_heads % num_kv_heads:
        raise CheckpointError(
            f"config.json: {heads} {num_heads} is not a multiple of {kv_heads} {num_kv_heads}: no even groups"
        )


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: object) -> str:
    text = "nothing" if value is _ABSENT else "null" if value is None else repr(value)
    return brief({"True": "true", "False": "false"}.get(text, text), 80)


def _wrong(name: str, found: object, supported: str) -> str:
    return f"config.json: {name} is {_shown(found)}; supported: {supported}"
