"""Prompts longer than those a model was trained for."""

from __future__ import annotations

from maskkv.checks import check_rope_scale
from maskkv.models.config import ModelConfig
from maskkv.ops.rope import ntk_scale


def stretch(config: ModelConfig, length: int, asked: float | None = None) -> float:
    """Return the factor on RoPE's theta: the one asked for, or (None) what so many tokens, prompt and response, need.

    Raises:
        InputError: What is asked for is no factor of at least 1.
    """
    if asked is not None:
        return check_rope_scale(asked)
    return ntk_scale(config.rotated, config.rope_theta, config.trained_length, length)


def notice(config: ModelConfig, length: int, rope_scale: float | None = None) -> str | None:
    """Say that so many tokens, prompt and response, are more than the model was trained for; None if they are not.

    `rope_scale` is what a user stretches positions by; None: what the length needs.
    """
    if length <= config.trained_length:
        return None
    factor = stretch(config, length, rope_scale)
    how = f"positions are stretched (RoPE's theta × {factor:g})" if factor > 1 else "the last positions are new to it"
    return (
        f"{length:,} tokens of prompt and response are more than the {config.trained_length:,} that the model was "
        f"trained for: {how}, and answers may be worse than its best"
    )
