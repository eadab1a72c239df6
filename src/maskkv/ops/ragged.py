"""Key/value pairs of unequal number per head, packed without padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.ops.attention import HALF
from maskkv.ops.fused import scatter, similarity
from maskkv.ops.segments import Bucket, BucketedAttention, Buckets, Read, Rows, attend_packed
from maskkv.ops.selection import Selection

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

    def refill(
        self,
        keys: Float[Tensor, "vectors head_dim"],
        values: Float[Tensor, "vectors head_dim"],
        chosen: Selection,
    ) -> None:
        """Take one sequence's pairs anew, as many as before in all, in the same memory."""
        ...

    def relay(self, lengths: Sequence[int]) -> None:
        """Split the pairs of each sequence among its heads in another way."""
        ...

    @property
    def lengths(self) -> tuple[int, ...]:
        """Return the lengths of the segments."""
        ...

    @property
    def relays_in_place(self) -> bool:
        """Tell whether a pass that was captured stays right once lengths change: it reads them on the device."""
        ...

    def prepare(self, rows: Rows, heads: int) -> None:
        """Work out all that `attend` and the writing of tails look up."""
        ...

    def write_keys(self, keys: Float[Tensor, "fresh kv_heads head_dim"], rows: Int[Tensor, " fresh"] | None) -> None:
        """Replace the keys of some live rows (None: of all)."""
        ...

    def write_values(self, values: Float[Tensor, "live kv_heads head_dim"]) -> None:
        """Replace the values of every live row."""
        ...

    def live_keys(self) -> Float[Tensor, "live kv_heads head_dim"]:
        """Return the keys of every live row."""
        ...

    def exchange(
        self,
        places: Int[Tensor, " changed"],
        keys: Float[Tensor, "changed head_dim"],
        values: Float[Tensor, "changed head_dim"],
    ) -> None:
        """Put other pairs in the place of some of one sequence's kept ones, which are counted head after head."""
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
        self._buckets: Buckets = {}
        kv_heads = len(lengths) // len(live)
        own = [self.lengths[start : start + kv_heads] for start in range(0, len(lengths), kv_heads)]
        self._most = max(map(sum, own))
        """Pairs of the sequence that has most: no segment has more, however they are split among its heads."""

    @classmethod
    def pack(
        cls,
        keys: Float[Tensor, "vectors head_dim"],
        values: Float[Tensor, "vectors head_dim"],
        chosen: Selection,
    ) -> RaggedKV:
        """Copy one sequence's pairs, and no other."""
        places, live = chosen.by_head(), len(chosen.tail)
        lengths = [count + live for count in chosen.counts]
        return cls(keys.index_select(0, places), values.index_select(0, places), lengths, [live])

    def refill(
        self,
        keys: Float[Tensor, "vectors head_dim"],
        values: Float[Tensor, "vectors head_dim"],
        chosen: Selection,
    ) -> None:
        """Take one sequence's pairs anew, as many as before in all, in the same memory."""
        places = chosen.by_head()
        torch.index_select(keys, 0, places, out=self.keys)
        torch.index_select(values, 0, places, out=self.values)
        self.relay([count + len(chosen.tail) for count in chosen.counts])

    def relay(self, lengths: Sequence[int]) -> None:
        """Split the pairs of each sequence among its heads in another way."""
        self.lengths = tuple(lengths)
        self._bucketed.clear()
        self._buckets.clear()
        self.__dict__.pop("_kept_rows", None)
        if "_tail" in self.__dict__:
            self._tail.copy_(self._tail_places(), non_blocking=True)
        if "_ends" in self.__dict__:
            self._ends.copy_(torch.tensor(self.offsets, dtype=torch.int32), non_blocking=True)

    @property
    def relays_in_place(self) -> bool:
        """Tell whether a pass that was captured stays right once lengths change: it reads them on the device."""
        return self.keys.is_cuda and self.keys.dtype in HALF

    def prepare(self, rows: Rows, heads: int) -> None:
        """Work out all that `attend` and the writing of tails look up."""
        assert len(self._tail) == sum(self.live)
        self._reader(rows, heads)

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
        return self._tail_places().to(self.keys.device, non_blocking=True)

    @cached_property
    def _ends(self) -> Int[Tensor, " segments_and_end"]:
        """Return where segments start and end, as the variable-length kernel asks for it."""
        return torch.tensor(self.offsets, dtype=torch.int32).to(self.keys.device, non_blocking=True)

    @cached_property
    def _kept_rows(self) -> Int[Tensor, " kept"]:
        """Return where the kept pairs of one sequence lie, before each head's live rows."""
        own = torch.arange(len(self.keys)).split(list(self.lengths))
        return torch.cat([rows[: len(rows) - self.live[0]] for rows in own]).to(self.keys.device, non_blocking=True)

    def _tail_places(self) -> Int[Tensor, "live kv_heads"]:
        ends = torch.tensor(self.offsets[1:]).view(len(self.live), -1)
        live = torch.tensor(self.live)
        rows = torch.arange(sum(self.live)) - live.cumsum(0).repeat_interleave(live)
        return ends.repeat_interleave(live, dim=0) + rows[:, None]

    def similarity(self, values: Float[Tensor, "live kv_heads head_dim"]) -> Float[Tensor, " live"]:
        """Return the cosine of each live row's values with new ones, over all KV heads."""
        return similarity(self.values, self._tail, values)

    def write_keys(self, keys: Float[Tensor, "fresh kv_heads head_dim"], rows: Int[Tensor, " fresh"] | None) -> None:
        """Replace the keys of some live rows (None: of all)."""
        scatter(self.keys, self._tail, keys, rows)

    def write_values(self, values: Float[Tensor, "live kv_heads head_dim"]) -> None:
        """Replace the values of every live row."""
        scatter(self.values, self._tail, values)

    def live_keys(self) -> Float[Tensor, "live kv_heads head_dim"]:
        """Return the keys of every live row."""
        return self.keys[self._tail]

    def exchange(
        self,
        places: Int[Tensor, " changed"],
        keys: Float[Tensor, "changed head_dim"],
        values: Float[Tensor, "changed head_dim"],
    ) -> None:
        """Put other pairs in the place of some of one sequence's kept ones, which are counted head after head."""
        rows = self._kept_rows[places]
        self.keys.index_copy_(0, rows, keys)
        self.values.index_copy_(0, rows, values)

    def attend(self, queries: Float[Tensor, "rows heads head_dim"], rows: Rows) -> Float[Tensor, "rows heads head_dim"]:
        """Attend from each sequence's rows (`rows` says how many it has) to each head's own segment."""
        if len(queries) == 0:
            return queries
        return self._reader(rows, queries.shape[1])(queries)

    def _reader(self, rows: Rows, heads: int) -> Callable[[Tensor], Tensor]:
        """Return how these rows read: in one call of the variable-length kernel where it can be used, or in buckets."""
        device = self.keys.device
        if self.relays_in_place:
            folding = rows.folding(heads, len(self.lengths) // len(self.live), device)
            packed = (self.keys, self.values, folding, self._ends, self._most)
            return lambda queries: attend_packed(queries, *packed)
        if rows.counts not in self._bucketed:
            self._bucketed[rows.counts] = BucketedAttention(self.lengths, rows.counts, self.live, device, self._buckets)
        return lambda queries: self._bucketed[rows.counts](queries, self._take)

    def _take(self, bucket: Bucket) -> Read:
        return bucket.take(self.keys), bucket.take(self.values), bucket.mask
