"""Where the reading of a prompt begins whose first pairs are held, and what it leaves for the next turn."""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

from maskkv.cache import Resumed
from maskkv.decoding.sequence import RunningSequence


def resume(sequence: RunningSequence, row: int | None = None) -> None:
    """Read the prompt from the block on that this row is in; None: from where its prefix ends."""
    if row is None:
        row = 0 if sequence.prefix is None else sequence.prefix.common(_finished(sequence), _scale(sequence))
    sequence.reused = row - row % (sequence.config.causal_block or 1)


def resumed(sequence: RunningSequence) -> Resumed | None:
    """Return what stands for the rows that do not run while the prompt is read; None without a prefix."""
    if sequence.prefix is None:
        return None
    rows = _finished(sequence)
    # What a response's rows compute from what is left of its prompt is of no use to others.
    most = sequence.extent.end if sequence.caches[0].exact else len(rows)
    return sequence.prefix.resumed(rows, _scale(sequence), start=sequence.reused, most=most)


def hand_over(sequence: RunningSequence) -> None:
    """Leave a finished block's pairs in the prefix, before the next block takes their place."""
    if sequence.prefix is not None and sequence.window.closed:
        tokens = sequence.canvas.tokens[: sequence.window.rows.stop]
        sequence.prefix.append(tokens, _scale(sequence), sequence.caches[0])


def _finished(sequence: RunningSequence) -> Int[Tensor, " rows"]:
    """Return the tokens of the blocks before the live one."""
    return sequence.canvas.tokens[: sequence.window.start]


def _scale(sequence: RunningSequence) -> float:
    return sequence.settings.rope_scale
