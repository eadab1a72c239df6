"""Refuse an argument that cannot be used, in one line that says what would be right."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass

from maskkv.errors import InputError

_MOST_PARTS = 64
KV_DTYPES = ("auto", "int8", "fp8")
"""What kept pairs may be stored in; `auto` is the model's own dtype."""
QUANTIZED = ("int8", "int4")
"""What the weights of the layers may be stored in, if not as they are."""
MOST = 2**63 - 1
"""The largest whole number that anything is told, as far as a tensor of them goes."""
_LONGEST = 80


@dataclass(frozen=True)
class Range:
    """Bound a number from below and, unless `high` is None, from above; `above` leaves out the lower end."""

    low: int
    high: int | None = None
    above: bool = False


def quoted(value: object) -> str:
    """Return a value as a message quotes it: its `repr`, cut if it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes out no number of more than some thousand digits.
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def whole(value: object) -> int | None:
    """Return a whole number of any library's as Python's own; None for anything else, truth values included."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def check_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise InputError unless a value is a whole number in a range."""
    fits = isinstance(value, int) and not isinstance(value, bool) and least <= value <= (MOST if most is None else most)
    if not fits:
        huge = most is None and isinstance(value, int) and value > MOST
        limit = f"of at least {least}" if most is None and not huge else f"from {least} to {most or MOST}"
        raise InputError(f"{name} must be a whole number {limit}, not {quoted(value)}")


def check_real(name: str, value: object, low: float, high: float = math.inf, *, above: bool = False) -> None:
    """Raise InputError unless a value is a finite number in a range, without its lower end if `above`."""
    fits = is_finite(value) and low <= value <= high and not (above and value == low)  # type: ignore[operator]
    if not fits:
        least = f"above {low:g}" if above else f"of at least {low:g}"
        limit = least if high == math.inf else f"{least} and at most {high:g}"
        raise InputError(f"{name} must be a number {limit}, not {quoted(value)}")


def is_finite(value: object) -> bool:
    """Tell whether a value is a number that a float can hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def check_one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    """Raise InputError unless a value is one of some words."""
    if not isinstance(value, str) or value not in known:
        raise InputError(f"{name} must be one of {', '.join(known)}, not {quoted(value)}")


def check_kv_dtype(kv_dtype: str) -> str:
    """Return what kept pairs are to be stored in; InputError if it is not one of `KV_DTYPES`."""
    if kv_dtype not in KV_DTYPES:
        raise InputError(f"kv_dtype {quoted(kv_dtype)}: expected one of {', '.join(KV_DTYPES)}")
    return kv_dtype


def check_quantize(quantize: str | None) -> str | None:
    """Return what weights are to be stored in; InputError if it is neither None nor one of `QUANTIZED`."""
    if quantize is not None and quantize not in QUANTIZED:
        raise InputError(f"quantize {quoted(quantize)}: expected one of {', '.join(QUANTIZED)}")
    return quantize


def check_rope_scale(rope_scale: float) -> float:
    """Return a factor on RoPE's theta; InputError if it is not a finite number of at least 1."""
    if not is_finite(rope_scale) or rope_scale < 1:
        raise InputError(f"rope_scale {quoted(rope_scale)}: expected a factor of at least 1")
    return rope_scale


def check_parts(parts: int, *, compiled: bool) -> int:
    """Return how many devices a model is split over; InputError if that is no such number, or it is to be compiled."""
    check_whole("tensor_parallel", parts, 1, _MOST_PARTS)
    if compiled and parts > 1:
        raise InputError("compile is for a model on one device: leave it out with tensor_parallel")
    return parts
