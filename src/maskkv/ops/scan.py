"""How much some rows want each of many pairs that they do not hold, beside those that they do."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maskkv.ops.attention import fold_groups, on_chip

TILE_ELEMENTS = 1 << 20
"""Scores alive at a time, twice: 4 MiB in fp32, which a processor's cache holds about."""

_LEAST = -80.0
"""Logarithms of weights below this are raised to it: no fp32 sum tells, and what fp32 holds only just is slow."""


def scan(
    queries: Float[Tensor, "rows heads head_dim"],
    keys: Float[Tensor, "kv_heads pairs head_dim"],
    beside: Float[Tensor, "live kv_heads head_dim"],
    *,
    tally: str = "max",
    voters: Bool[Tensor, " rows"] | None = None,
) -> Float[Tensor, "kv_heads pairs"]:
    """Return scores, in fp32, that rank pairs by the weight they get: the largest of any row (`max`), or the sum.

    A row's weights are its softmax over these pairs and those `beside` them; the query heads that share a KV head are
    rows of it. With `voters` the other rows do not count.
    """
    folded = fold_groups(queries, len(keys))
    # Whoever shares with infinitely much else gives nothing.
    deaf = None if voters is None else torch.where(voters, 0.0, torch.inf).repeat(folded.shape[1] // len(voters))
    if on_chip(queries):
        from maskkv.ops import kernels

        count = kernels.column_peak if tally == "max" else kernels.column_mass
        log_sum = kernels.log_sum_exp(folded, keys.transpose(0, 1))
        log_sum = _joined(log_sum, kernels.log_sum_exp(folded, beside), deaf)
        return count(folded, keys.transpose(0, 1), log_sum)
    folded = folded.float() * folded.shape[-1] ** -0.5
    scores = torch.empty(keys.shape[:2], dtype=torch.float32, device=keys.device)
    # Head by head once all of them are more than a tile.
    together = len(keys) if keys.shape[:2].numel() * folded.shape[1] <= TILE_ELEMENTS else 1
    for heads in (slice(first, first + together) for first in range(0, len(keys), together)):
        _count(folded[heads], keys[heads], beside[:, heads].transpose(0, 1), deaf, tally, scores[heads])
    return scores


def _count(
    rows: Float[Tensor, "heads rows head_dim"],
    keys: Float[Tensor, "heads pairs head_dim"],
    beside: Float[Tensor, "heads live head_dim"],
    deaf: Float[Tensor, " rows"] | None,
    tally: str,
    out: Float[Tensor, "heads pairs"],
) -> None:
    """Write the scores of some heads; in tiles of keys if they are many, each of which is then computed twice."""
    size = max(1, TILE_ELEMENTS // (len(rows) * rows.shape[1]))
    tiles = [slice(start, start + size) for start in range(0, keys.shape[1], size)]
    own = [rows @ keys[:, tile].float().transpose(1, 2) for tile in tiles[:1]]
    log_sum = _log_sum(rows @ beside.float().transpose(1, 2))
    for index, tile in enumerate(tiles):
        scores = own[0] if index == 0 else rows @ keys[:, tile].float().transpose(1, 2)
        log_sum = torch.logaddexp(log_sum, _log_sum(scores))
    if deaf is not None:
        log_sum = log_sum + deaf
    for index, tile in enumerate(tiles):
        scores = own[0] if index == 0 else rows @ keys[:, tile].float().transpose(1, 2)
        weights = scores.sub_(log_sum[..., None])
        out[:, tile] = weights.amax(1) if tally == "max" else weights.clamp_(min=_LEAST).exp_().sum(1)


def _joined(one: Tensor, other: Tensor, deaf: Tensor | None) -> Tensor:
    both = torch.logaddexp(one, other)
    return both if deaf is None else both + deaf


def _log_sum(scores: Float[Tensor, "heads rows tile"]) -> Float[Tensor, "heads rows"]:
    most = scores.amax(-1)
    return (scores - most[..., None]).clamp_(min=_LEAST).exp_().sum(-1).log_().add_(most)
