"""Measure each layer's importance once per model, so that layer budgets are known before the first pass (Eq. 8)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from maskkv import policies
from maskkv.checkpoints import weights
from maskkv.decoding import reference
from maskkv.decoding.canvas import Canvas, check_prompt
from maskkv.errors import InputError
from maskkv.eviction.profile import LayerProfile
from maskkv.generation import Generation
from maskkv.mini import tasks
from maskkv.models.stretch import stretch
from maskkv.models.transformer import Transformer
from maskkv.plan import Workload, check_fits


def calibrate(
    model: Transformer,
    name: str,
    prompts: Sequence[Sequence[int]],
    gen_length: int = 64,
    rope_scale: float | None = None,
) -> LayerProfile:
    """Return the mean and the spread of each layer's importance over some prompts.

    The profile belongs to the model whose fingerprint it holds; `name` is only shown.

    Raises:
        InputError: There are no prompts, one is empty, too long for the memory, or has ids outside the vocabulary.
    """
    if not prompts:
        raise InputError("there are no prompts to calibrate on: expected at least one")
    if model.ranks.count > 1:
        raise InputError("a layer profile is measured on one device: load the model without tensor_parallel")
    measured = [importance(model, prompt, gen_length, rope_scale) for prompt in prompts]
    layers = list(zip(*measured, strict=True))
    return LayerProfile(
        model=name,
        fingerprint=weights.fingerprint(model),
        n=len(measured),
        prompt_length=max(len(prompt) for prompt in prompts),
        importance=tuple(statistics.fmean(layer) for layer in layers),
        spread=tuple(statistics.pstdev(layer) for layer in layers),
    )


def importance(
    model: Transformer, prompt: Sequence[int], gen_length: int, rope_scale: float | None = None
) -> tuple[float, ...]:
    """Return each layer's importance for one prompt, measured in a pass like its first refresh.

    It reads the prompt and `gen_length` masks. RoPE is stretched as their length needs, or by `rope_scale` if given.
    """
    config = model.config
    ids = check_prompt(prompt, config.vocab_size)
    schedule = Generation(gen_length=gen_length, block_length=1)
    check_fits(model, Workload(len(ids), schedule, policies.named("none")))
    tokens = Canvas(ids, gen_length, config.mask_id).tokens
    stretched = stretch(config, len(tokens), rope_scale)
    return reference.importance(model, tokens.tolist(), stretched)


def documents(n: int, length: int) -> list[str]:
    """Make `n` prompts of at most `length` tokens for the bundled model: its tasks in turn, from training seeds.

    Raises:
        InputError: `length` has no room for a task.
    """
    seeds = range(tasks.FIRST_TRAINING_SEED, tasks.FIRST_TRAINING_SEED + n)
    try:
        return [tasks.sample(tasks.TASKS[seed % len(tasks.TASKS)], length, seed).prompt for seed in seeds]
    except ValueError as error:
        raise InputError(str(error)) from None
