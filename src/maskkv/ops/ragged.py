"""Key/value pairs of unequal number per head, packed without padding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkv.ops.segments import Bucket, BucketedAttention, PackedAttention, Read

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

    def attend(
        self, queries: Float[Tensor, "rows heads head_dim"], counts: Sequence[int]
    ) -> Float[Tensor, "rows heads head_dim"]:
        """Attend from each sequence's rows (`counts` says how many it has) to each head's own segment."""
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
        tail = len(keys) - keep.shape[1]
        stays = torch.cat((keep, keep.new_ones((len(keep), tail))), dim=1)
        return cls(keys.transpose(0, 1)[stays], values.transpose(0, 1)[stays], stays.sum(1).tolist(), [tail])

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
    def _tail(self) -> Int[Tensor, "kv_heads live"]:
        """Return where the pairs of the live rows lie."""
        device = self.keys.device
        ends = torch.tensor(self.offsets[1:], device=device).view(len(self.live), -1)
        live = torch.tensor(self.live, device=device)
        rows = torch.arange(sum(self.live), device=device) - live.cumsum(0).repeat_interleave(live)
        return ends.T.repeat_interleave(live, dim=1) + rows

    def tail_values(self) -> Float[Tensor, "live kv_heads head_dim"]:
        """Gather the values of the live rows."""
        return self.values[self._tail.T]

    def write_keys(self, keys: Float[Tensor, "fresh kv_heads head_dim"], rows: Int[Tensor, " fresh"] | None) -> None:
        """Replace the keys of some live rows (None: of all)."""
        self.keys[self._tail.T if rows is None else self._tail.T[rows]] = keys

    def write_values(self, values: Float[Tensor, "live kv_heads head_dim"]) -> None:
        """Replace the values of every live row."""
        self.values[self._tail.T] = values

    def attend(
        self, queries: Float[Tensor, "rows heads head_dim"], counts: Sequence[int]
    ) -> Float[Tensor, "rows heads head_dim"]:
        """Attend from each sequence's rows (`counts` says how many it has) to each head's own segment."""
        if len(queries) == 0:
            return queries
        key = tuple(counts)
        if queries.is_cuda and queries.dtype in (torch.float16, torch.bfloat16):
            if key not in self._packed:
                self._packed[key] = PackedAttention(self.lengths, key, queries.shape[1], queries.device)
            return self._packed[key](queries, self.keys, self.values)
        if key not in self._bucketed:
            self._bucketed[key] = BucketedAttention(self.lengths, key, self.live, queries.device)
        return self._bucketed[key](queries, self._take)

    def _take(self, bucket: Bucket) -> Read:
        return bucket.take(self.keys), bucket.take(self.values), bucket.mask()
