"""Layer importance measured once per model (Eq. 8), so that eviction can start in the very first pass."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from maskkv import files
from maskkv.errors import ProfileError
from maskkv.printable import brief

T = TypeVar("T")

_MOST = 2.0
"""Importance is one minus a cosine."""


@dataclass(frozen=True)
class LayerProfile:
    """Record each layer's importance over `n` calibration prompts of the model with this fingerprint."""

    model: str
    fingerprint: str
    n: int
    prompt_length: int
    importance: tuple[float, ...]
    spread: tuple[float, ...]
    """Standard deviation over the prompts, per layer."""

    def check(self, fingerprint: str, num_layers: int) -> None:
        """Raise ProfileError unless the profile was measured on this very model."""
        if len(self.importance) != num_layers:
            raise ProfileError(
                f"the layer profile has {len(self.importance)} layers and the model {num_layers}: "
                "make one with `maskkv calibrate`"
            )
        if self.fingerprint != fingerprint:
            raise ProfileError(
                f"the layer profile was measured on another model ({brief(self.model)}, fingerprint "
                f"{brief(self.fingerprint[:12])}; this one has {fingerprint[:12]}): "
                "make one with `maskkv calibrate`"
            )

    def to_json(self) -> str:
        """Return the profile as a JSON document."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> LayerProfile:
        """Read a profile's file; one that cannot be read, or holds something else, raises ProfileError."""
        try:
            text = files.read_text(path)
        except (OSError, ValueError) as error:
            raise ProfileError(f"cannot read the layer profile {path}: {error}") from None
        return cls.from_json(text)

    @classmethod
    def from_json(cls, text: str) -> LayerProfile:
        """Read a profile; a malformed one raises ProfileError."""
        try:
            raw = json.loads(text)
            profile = cls(
                model=_typed(raw, "model", str),
                fingerprint=_typed(raw, "fingerprint", str),
                n=_typed(raw, "n", int),
                prompt_length=_typed(raw, "prompt_length", int),
                importance=_numbers(raw, "importance"),
                spread=_numbers(raw, "spread"),
            )
        except RecursionError:
            raise ProfileError("not a layer profile (nested too deeply): make one with `maskkv calibrate`") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ProfileError(f"not a layer profile ({error}): make one with `maskkv calibrate`") from None
        if len(profile.importance) != len(profile.spread) or not profile.importance:
            raise ProfileError("not a layer profile (importance and spread differ in length or are empty)")
        return profile


def _typed(raw: dict[str, object], key: str, kind: type[T]) -> T:
    value = raw[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{key} is not of type {kind.__name__}")
    return value


def _numbers(raw: dict[str, object], key: str) -> tuple[float, ...]:
    values = _typed(raw, key, list)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if not numbers or not all(0 <= value <= _MOST for value in values):
        raise ValueError(f"{key} must be numbers from 0 to {_MOST:g}")
    return tuple(float(value) for value in values)
