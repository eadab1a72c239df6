"""Key/value pairs of unequal number per head, packed without padding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkv.ops.attention import HALF
from maskkv.ops.fused import similarity
from maskkv.ops.segments import Bucket, BucketedAttention, PackedAttention, Read, Rows

Same = TypeVar("Same")
"""One and the same class of pairs."""


@runtime_checkable
class SegmentedKV(Protocol):
    """Hold one segment per sequence and KV head: the kept prompt pairs, then a writable tail for the live rows."""

    def join(self: Same, others: Sequence[Same]) -> Same:
        """Lay the segments of several sequences end to end; each part becomes a view of the whole."""
        ...

    def leave(self) -> None:
        """Copy the pairs if they are a view of a larger whole."""
        ...

    @property
    def nbytes(self) -> int:
        """Return the bytes of all that is held, tails included."""
        ...

    def tail_values(self) -> Float[Tensor, "live kv_heads head_dim"]:
        """Return the values of the live rows."""
        ...

    def write_keys(self, keys: Float[Tensor, "fresh kv_heads head_dim"], rows: Int[Tensor, " fresh"] | None) -> None:
        """Replace the keys of some live rows (None: of all)."""
        ...

    def write_values(self, values: Float[Tensor, "live kv_heads head_dim"]) -> None:
        """Replace the values of every live row."""
        ...

    def similarity(self, values: Float[Tensor, "live kv_heads head_dim"]) -> Float[Tensor, " live"]:
        """Return the cosine of each live row's values with new ones, over all KV heads."""
        ...

    def attend(self, queries: Float[Tensor, "rows heads head_dim"], rows: Rows) -> Float[Tensor, "rows heads head_dim"]:
        """Attend from each sequence's rows (`rows` says how many it has) to each head's own segment."""
        ...


class RaggedKV:
    """Hold one segment per sequence and KV head: the kept prompt pairs, then a writable tail for the live rows.

    Segments of a sequence lie side by side, segment i in rows `offsets[i]:offsets[i + 1]` of `keys` and `values`
    (`offsets` is the `cu_seqlens` of variable-length attention). Keys are rotated at their original positions, so
    their order does not matter. Live rows count through all sequences.
    """

    def __init__(
        self,
        keys: Float[Tensor, "pairs head_dim"],
        values: Float[Tensor, "pairs head_dim"],
        lengths: Sequence[int],
        live: Sequence[int],
    ) -> None:
        self.keys = keys
        self.values = values
        self.lengths = tuple(lengths)
        self.live = tuple(live)
        self._bucketed: dict[tuple[int, ...], BucketedAttention] = {}
        self._packed: dict[tuple[int, ...], PackedAttention] = {}

    @classmethod
    def pack(
        cls,
        keys: Float[Tensor, "prompt_and_tail kv_heads head_dim"],
        values: Float[Tensor, "prompt_and_tail kv_heads head_dim"],
        keep: Bool[Tensor, "kv_heads prompt"],
    ) -> RaggedKV:
        """Copy one sequence's kept pairs and tail (every pair past those that `keep` speaks of), and no other."""
        tail, kv_heads = len(keys) - keep.shape[1], len(keep)
        stays = torch.cat((keep, keep.new_ones((kv_heads, tail))), dim=1)
        heads, positions = stays.nonzero().unbind(1)
        chosen = positions * kv_heads + heads
        kept_keys, kept_values = (each.flatten(0, 1).index_select(0, chosen) for each in (keys, values))
        return cls(kept_keys, kept_values, stays.sum(1).tolist(), [tail])

    def join(self, others: Sequence[RaggedKV]) -> RaggedKV:
        """Lay the segments of several sequences end to end; each part becomes a view of the whole."""
        if not others:
            return self
        parts = [self, *others]
        keys, values = torch.cat([part.keys for part in parts]), torch.cat([part.values for part in parts])
        ends = list(accumulate(len(part.keys) for part in parts))
        for part, start, stop in zip(parts, [0, *ends], ends, strict=False):
            part.keys, part.values = keys[start:stop], values[start:stop]
        lengths = [length for part in parts for length in part.lengths]
        return RaggedKV(keys, values, lengths, [live for part in parts for live in part.live])

    def leave(self) -> None:
        """Copy the pairs if they are a view of a larger whole."""
        if self.keys.untyped_storage().nbytes() > self.keys.nbytes:
            self.keys, self.values = self.keys.clone(), self.values.clone()

    @property
    def offsets(self) -> list[int]:
        """Return where each segment starts, and the number of pairs last."""
        return [0, *accumulate(self.lengths)]

    @property
    def nbytes(self) -> int:
        """Return the bytes of all pairs held, tails included."""
        return self.keys.nbytes + self.values.nbytes

    @cached_property
    def _tail(self) -> Int[Tensor, "live kv_heads"]:
        """Return where the pairs of the live rows lie."""
        ends = torch.tensor(self.offsets[1:]).view(len(self.live), -1)
        live = torch.tensor(self.live)
        rows = torch.arange(sum(self.live)) - live.cumsum(0).repeat_interleave(live)
        places = ends.repeat_interleave(live, dim=0) + rows[:, None]
        return places.to(self.keys.device, non_blocking=True)

    def tail_values(self) -> Float[Tensor, "live kv_heads head_dim"]:
        """Gather the values of the live rows."""
        return self.values[self._tail]

    def similarity(self, values: Float[Tensor, "live kv_heads head_dim"]) -> Float[Tensor, " live"]:
        """Return the cosine of each live row's values with new ones, over all KV heads."""
        return similarity(self.values, self._tail, values)

    def write_keys(self, keys: Float[Tensor, "fresh kv_heads head_dim"], rows: Int[Tensor, " fresh"] | None) -> None:
        """Replace the keys of some live rows (None: of all)."""
        places = self._tail if rows is None else self._tail.index_select(0, rows)
        self.keys.index_copy_(0, places.flatten(), keys.flatten(0, 1))

    def write_values(self, values: Float[Tensor, "live kv_heads head_dim"]) -> None:
        """Replace the values of every live row."""
        self.values.index_copy_(0, self._tail.flatten(), values.flatten(0, 1))

    def attend(self, queries: Float[Tensor, "rows heads head_dim"], rows: Rows) -> Float[Tensor, "rows heads head_dim"]:
        """Attend from each sequence's rows (`rows` says how many it has) to each head's own segment."""
        if len(queries) == 0:
            return queries
        if queries.is_cuda and queries.dtype in HALF:
            if rows.counts not in self._packed:
                kv_heads = len(self.lengths) // len(self.live)
                folding = rows.folding(queries.shape[1], kv_heads, queries.device)
                self._packed[rows.counts] = PackedAttention(self.lengths, folding)
            return self._packed[rows.counts](queries, self.keys, self.values)
        if rows.counts not in self._bucketed:
            self._bucketed[rows.counts] = BucketedAttention(self.lengths, rows.counts, self.live, queries.device)
        return self._bucketed[rows.counts](queries, self._take)

    def _take(self, bucket: Bucket) -> Read:
        return bucket.take(self.keys), bucket.take(self.values), bucket.mask()
