"""Views of a layer whose attention is what a test says."""

import torch
from torch import Tensor

from maskkv.eviction.policy import Policy
from maskkv.eviction.view import LayerView
from maskkv.ops.selection import Selection


def attending(
    weights: Tensor, *, kv_heads: int, masked: list[bool], logit_shift: int = 0, block_length: int | None = None
) -> LayerView:
    """Make a view in which row i of query head h reads pair j in proportion to `weights[h, i, j]`."""
    pairs = weights.shape[2]
    # q_i = ln w_i and k_j = √d e_j in d = pairs dimensions: q·k / √d = ln w_ij.
    queries = weights.log().transpose(0, 1)
    keys = (pairs**0.5 * torch.eye(pairs))[:, None].expand(-1, kv_heads, -1)
    return LayerView(
        layer=0,
        num_layers=1,
        keys=keys,
        values=torch.ones_like(keys),
        queries=lambda span: queries[span],
        evictable=pairs - len(masked) - logit_shift,
        masked=torch.tensor(masked),
        block_length=block_length,
    )


def keyed(keys: Tensor, response: int, layer: int = 0) -> LayerView:
    """Make a view of these keys, whose queries nobody asks for."""
    queries = torch.zeros(len(keys), keys.shape[1], keys.shape[2])
    masked = torch.ones(response, dtype=torch.bool)
    return LayerView(layer, 8, keys, keys, lambda span: queries[span], len(keys) - response, masked)


def ranking(scores: Tensor) -> list[list[int]]:
    """List each head's positions from the best to the worst, ties by position."""
    return [sorted(range(len(own)), key=lambda j: (-own[j], j)) for own in scores.tolist()]


def keeping(policy: Policy, view: LayerView, pairs: int) -> Tensor:
    """Mark the pairs that a policy keeps, per KV head."""
    keep = torch.zeros(view.kv_heads, view.evictable, dtype=torch.bool)
    for head, positions in enumerate(policy.choose(view, pairs).positions()):
        keep[head, positions] = True
    return keep


def selected(keep: Tensor, rows: int) -> Selection:
    """Select the marked pairs of each head and all rows behind them, of `rows` rows of heads side by side."""
    heads, prompt = keep.shape
    places = [position * heads + head for head in range(heads) for position in range(prompt) if keep[head, position]]
    tail = torch.arange(prompt * heads, rows * heads).view(-1, heads)
    return Selection(torch.tensor(places, dtype=torch.long), tuple(keep.sum(1).tolist()), tail)
