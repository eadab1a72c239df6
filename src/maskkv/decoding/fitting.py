"""Settings of a response against the model that is to make it: what its blocks allow."""

from __future__ import annotations

from dataclasses import replace

from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.generation import Generation
from maskkv.models.config import ModelConfig

_BIDIRECTIONAL = (
    *("prompt_interval", "response_interval", "transfer_ratio", "one_pass", "min_confidence", "value_drift"),
    *("cfg_scale", "shares", "alg"),
)
"""Settings that mean nothing where rows never read later blocks: nothing is refreshed, and pairs do not drift."""


def for_model(generation: Generation, policy: Policy, config: ModelConfig) -> Generation:
    """Return the settings as this model can follow them, under a policy that it can have.

    A block-causal model was trained for blocks of one length, which the default `block_length` stands for, and makes
    whole ones: the length is rounded up.

    Raises:
        InputError: A setting or the policy is for models of the other kind, or the blocks have another length.
    """
    block = config.causal_block
    if block is None:
        if generation.edit_threshold is not None:
            raise InputError(
                f"edit_threshold={generation.edit_threshold} is for block-causal models, and {config.family} is "
                "bidirectional: leave it out"
            )
        if policy.evicted == "device":
            raise InputError(
                f"evicted=device is for block-causal models, and {config.family} is bidirectional: its pairs do not "
                "stay right; evicted=host lets them come back"
            )
        return generation
    for name in _BIDIRECTIONAL:
        value = getattr(generation, name)
        if value != getattr(Generation, name):
            raise InputError(
                f"{name}={value!r} is for bidirectional models, and {config.family} is block-causal: leave it out"
            )
    if generation.block_length not in (block, Generation.block_length):
        raise InputError(
            f"block_length={generation.block_length}: this model's blocks have {block} tokens: leave it out, with a "
            f"gen_length that is a multiple of {Generation.block_length}, or give {block}, with a multiple of that"
        )
    return replace(generation, block_length=block, gen_length=-(-generation.gen_length // block) * block)
