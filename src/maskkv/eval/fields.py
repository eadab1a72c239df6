"""Dataclasses read from JSON lines, which are not trusted."""

from __future__ import annotations

import math
from typing import TypeVar, get_args, get_type_hints

from maskkv.checks import quoted

Kind = TypeVar("Kind")

_LARGEST = 2**63


def filled(kind: type[Kind], given: object) -> Kind:
    """Make a frozen dataclass of texts, whole numbers, numbers and None from a JSON object.

    Raises:
        TypeError: A field is unknown, missing or of another type, or a number is negative or not finite.
    """
    if not isinstance(given, dict):
        raise TypeError(f"{quoted(given)} is no JSON object")
    hints = get_type_hints(kind)
    for name, value in given.items():
        if name in hints and not _fits(value, get_args(hints[name]) or (hints[name],)):
            raise TypeError(f"{name} is {quoted(value)}")
    return kind(**given)


def whole(name: str, value: object) -> int:
    """Return a field that must be a whole number from 0 on; TypeError for anything else."""
    if not isinstance(value, int) or not _fits(value, (int,)):
        raise TypeError(f"{name} is {quoted(value)}")
    return value


def _fits(value: object, types: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in types
    if isinstance(value, int):
        return (int in types or float in types) and 0 <= value < _LARGEST
    if isinstance(value, float):
        return float in types and math.isfinite(value) and value >= 0
    return type(value) in types
