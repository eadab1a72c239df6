"""Key/value pairs of unequal number per head, packed without padding."""

from __future__ import annotations

from itertools import accumulate

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkv.ops.attention import fold_groups, unfold_groups


class RaggedKV:
    """Hold one segment per KV head: the kept prompt pairs, then a writable tail for the live rows.

    Segment h lies in rows `offsets[h]:offsets[h + 1]` of `keys` and `values` (`offsets` is the `cu_seqlens` of
    variable-length attention). Keys are rotated at their original positions, so their order does not matter.
    """

    def __init__(
        self,
        keys: Float[Tensor, "prompt_and_tail kv_heads head_dim"],
        values: Float[Tensor, "prompt_and_tail kv_heads head_dim"],
        keep: Bool[Tensor, "kv_heads prompt"],
    ) -> None:
        """Copy the kept pairs and the tail (every pair past those that `keep` speaks of); keep no other."""
        tail = len(keys) - keep.shape[1]
        stays = torch.cat((keep, keep.new_ones((len(keep), tail))), dim=1)
        self.keys: Float[Tensor, "pairs head_dim"] = keys.transpose(0, 1)[stays]
        self.values: Float[Tensor, "pairs head_dim"] = values.transpose(0, 1)[stays]
        self.lengths: list[int] = stays.sum(1).tolist()
        self.offsets = [0, *accumulate(self.lengths)]
        ends = torch.tensor(self.offsets[1:], device=keys.device)
        self.tail: Int[Tensor, "kv_heads tail"] = ends[:, None] - tail + torch.arange(tail, device=keys.device)

    @property
    def nbytes(self) -> int:
        """Return the bytes of all pairs held, tail included."""
        return self.keys.nbytes + self.values.nbytes

    def tail_values(self) -> Float[Tensor, "tail kv_heads head_dim"]:
        """Gather the values of the live rows."""
        return self.values[self.tail].transpose(0, 1)

    def write_keys(self, keys: Float[Tensor, "fresh kv_heads head_dim"], rows: Int[Tensor, " fresh"] | None) -> None:
        """Replace the keys of some live rows (None: of all)."""
        self.keys[self.tail if rows is None else self.tail[:, rows]] = keys.transpose(0, 1)

    def write_values(self, values: Float[Tensor, "tail kv_heads head_dim"]) -> None:
        """Replace the values of every live row."""
        self.values[self.tail] = values.transpose(0, 1)

    def attend(self, queries: Float[Tensor, "rows heads head_dim"]) -> Float[Tensor, "rows heads head_dim"]:
        """Attend from every row to all pairs of each head's own segment."""
        folded = fold_groups(queries, len(self.lengths))
        if len(set(self.lengths)) == 1:
            keys, values = (pairs.view(len(self.lengths), -1, pairs.shape[-1]) for pairs in (self.keys, self.values))
            read = F.scaled_dot_product_attention(folded[None], keys[None], values[None])[0]
        else:
            read = torch.stack([self._attend_segment(head, folded[head]) for head in range(len(folded))])
        return unfold_groups(read, queries.shape[1])

    def _attend_segment(self, head: int, queries: Tensor) -> Float[Tensor, "group_rows head_dim"]:
        start, stop = self.offsets[head], self.offsets[head + 1]
        keys, values = self.keys[start:stop], self.values[start:stop]
        return F.scaled_dot_product_attention(queries[None, None], keys[None, None], values[None, None])[0, 0]
