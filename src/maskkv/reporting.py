"""What is told of a sequence that has finished."""

from __future__ import annotations

from collections.abc import Mapping

from maskkv import memory
from maskkv.decoding.sequence import RunningSequence
from maskkv.models.transformer import Transformer
from maskkv.result import Result


def reported(
    sequence: RunningSequence,
    model: Transformer,
    text: str,
    said: int,
    latency: float,
    confidences: Mapping[int, float],
) -> Result:
    """Return the Result of a sequence that took `latency` seconds and says `text` in its first `said` tokens.

    `confidences` are those of the committed response positions.
    """
    settings = sequence.settings
    return Result(
        text=text,
        tokens=sequence.response(),
        prompt_length=sequence.canvas.prompt_length,
        steps=sequence.index,
        prompt_passes=sequence.prompt_passes,
        policy=settings.policy.name,
        budget=settings.budget,
        cache_bytes=sequence.cache_bytes,
        full_cache_bytes=sequence.full_cache_bytes(model.dtype.itemsize),
        peak_memory_bytes=memory.peak(model.device),
        latency_s=latency,
        tokens_per_s=said / latency,
        kept=sequence.kept(),
        kv_dtype=settings.kv_dtype,
        confidences=[confidences[place] for place in range(said)],
        evicted=settings.policy.evicted,
        host_bytes=sequence.host_bytes,
        recalled=sequence.recalled,
        reused=sequence.reused,
    )
