"""Key/value pairs of unequal number per head, packed without padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.ops.attention import HALF
from maskkv.ops.fused import products, scatter, similarity
from maskkv.ops.segments import Bucket, BucketedAttention, Buckets, Read, Rows, attend_packed
from maskkv.ops.selection import Selection
from maskkv.ops.tails import Tail, grow, segment_ends


class RaggedKV:
    """Hold one segment per sequence and KV head: the kept prompt pairs, then a writable tail for the live rows.

    Segments of a sequence lie side by side, segment i in slots `starts[i]:starts[i] + lengths[i]` of `keys` and
    `values`. Keys are rotated at their original positions, so their order does not matter. Live rows count through all
    sequences. What follows a segment's kept pairs, and the free slots behind it, is in its sequence's `Tail`.
    """

    def __init__(
        self,
        keys: Float[Tensor, "slots head_dim"],
        values: Float[Tensor, "slots head_dim"],
        lengths: Sequence[int],
        tails: Sequence[Tail],
    ) -> None:
        self.keys = keys
        self.values = values
        self.lengths = tuple(lengths)
        self.tails = tuple(tails)
        self._grows = grow(tails)
        self._bucketed: dict[tuple[int, ...], BucketedAttention] = {}
        self._buckets: Buckets = {}
        own = (self._slots[start : start + self._kv_heads] for start in range(0, len(lengths), self._kv_heads))
        self._most = max(map(sum, own))
        """Slots of the sequence that has most: no segment has more pairs, however they are split among its heads."""

    @classmethod
    def pack(
        cls,
        keys: Float[Tensor, "vectors head_dim"],
        values: Float[Tensor, "vectors head_dim"],
        chosen: Selection,
        room: int = 0,
    ) -> RaggedKV:
        """Copy one sequence's pairs, and no other; behind each segment there are `room` free slots."""
        live = len(chosen.tail)
        lengths = [count + live for count in chosen.counts]
        places = chosen.by_head(room)
        return cls(keys.index_select(0, places), values.index_select(0, places), lengths, [Tail(live, room=room)])

    def refill(
        self,
        keys: Float[Tensor, "vectors head_dim"],
        values: Float[Tensor, "vectors head_dim"],
        chosen: Selection,
    ) -> None:
        """Take one sequence's pairs anew, as many as before in all, in the same memory."""
        assert not self._grows, "what has grown is packed anew"
        places = chosen.by_head()
        torch.index_select(keys, 0, places, out=self.keys)
        torch.index_select(values, 0, places, out=self.values)
        self.relay([count + len(chosen.tail) for count in chosen.counts])

    def follow(self, parts: Sequence[RaggedKV]) -> None:
        """Take over how the parts, joined here, split their pairs among their heads, and how far they have grown."""
        lengths = [length for part in parts for length in part.lengths]
        self.relay(lengths, [tail for part in parts for tail in part.tails])

    def advance(self) -> None:
        """Leave the live rows' pairs of one sequence as they are; the next slots are for other live rows."""
        (tail,) = self.tails
        self.relay([length + tail.live for length in self.lengths], [tail.advanced()])

    def relay(self, lengths: Sequence[int], tails: Sequence[Tail] | None = None) -> None:
        """Split the slots among the segments, and these into pairs, in another way; None: with the tails there are."""
        self.lengths = tuple(lengths)
        self.tails = self.tails if tails is None else tuple(tails)
        self._bucketed.clear()
        self._buckets.clear()
        self.__dict__.pop("_kept_rows", None)
        if "_tail" in self.__dict__:
            self._tail.copy_(self._tail_places(), non_blocking=True)
        if "_ends" in self.__dict__:
            self._ends.copy_(self._segment_ends(), non_blocking=True)

    @property
    def relays_in_place(self) -> bool:
        """Tell whether a pass that was captured stays right once lengths change: it reads them on the device."""
        return self.keys.is_cuda and self.keys.dtype in HALF

    def prepare(self, rows: Rows, heads: int) -> None:
        """Work out all that `attend` and the writing of tails look up."""
        assert len(self._tail) == sum(tail.live for tail in self.tails)
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
        return RaggedKV(keys, values, lengths, [tail for part in parts for tail in part.tails])

    def leave(self) -> None:
        """Copy the pairs if they are a view of a larger whole."""
        if self.keys.untyped_storage().nbytes() > self.keys.nbytes:
            self.keys, self.values = self.keys.clone(), self.values.clone()

    @property
    def _kv_heads(self) -> int:
        return len(self.lengths) // len(self.tails)

    @property
    def _slots(self) -> list[int]:
        """Return how many pairs each segment has room for."""
        free = [tail.room for tail in self.tails for _ in range(self._kv_heads)]
        return [length + room for length, room in zip(self.lengths, free, strict=True)]

    @property
    def starts(self) -> list[int]:
        """Return where each segment starts, and the number of slots last."""
        return [0, *accumulate(self._slots)]

    @property
    def nbytes(self) -> int:
        """Return the bytes of all slots, tails and free ones included."""
        return self.keys.nbytes + self.values.nbytes

    @cached_property
    def _tail(self) -> Int[Tensor, "live kv_heads"]:
        """Return where the pairs of the live rows lie."""
        return self._tail_places().to(self.keys.device, non_blocking=True)

    @cached_property
    def _ends(self) -> Int[Tensor, " ends"]:
        """Return where segments start and end, as the variable-length kernel asks for it."""
        return self._segment_ends().to(self.keys.device, non_blocking=True)

    @cached_property
    def _kept_rows(self) -> Int[Tensor, " kept"]:
        """Return where the kept pairs of one sequence lie, before each head's own."""
        beside = self.tails[0].own
        own = zip(self.starts, self.lengths, strict=False)
        kept = [torch.arange(start, start + length - beside) for start, length in own]
        return torch.cat(kept).to(self.keys.device, non_blocking=True)

    def _segment_ends(self) -> Int[Tensor, " ends"]:
        return segment_ends(self.lengths, self._slots, gaps=self._grows)

    def _tail_places(self, behind: int = 0) -> Int[Tensor, "live kv_heads"]:
        """Return where the pairs of the live rows lie, and of so many rows before them."""
        stops = [start + length for start, length in zip(self.starts, self.lengths, strict=False)]
        ends = torch.tensor(stops).view(len(self.tails), -1)
        live = torch.tensor([tail.live + behind for tail in self.tails])
        rows = torch.arange(int(live.sum())) - live.cumsum(0).repeat_interleave(live)
        return ends.repeat_interleave(live, dim=0) + rows[:, None]

    def similarity(self, values: Float[Tensor, "live kv_heads head_dim"]) -> Float[Tensor, " live"]:
        """Return the cosine of each live row's values with new ones, over all KV heads."""
        return similarity(self.values, self._tail, values)

    def products(self, values: Float[Tensor, "live kv_heads head_dim"]) -> Float[Tensor, "3 live"]:
        """Return of each live row what adds up over KV heads to a cosine: old · new, old · old, new · new, in fp32."""
        return products(self.values[self._tail], values)

    def write_keys(self, keys: Float[Tensor, "fresh kv_heads head_dim"], rows: Int[Tensor, " fresh"] | None) -> None:
        """Replace the keys of some live rows (None: of all)."""
        scatter(self.keys, self._tail, keys, rows)

    def write_values(self, values: Float[Tensor, "live kv_heads head_dim"]) -> None:
        """Replace the values of every live row."""
        scatter(self.values, self._tail, values)

    def kept_keys(self) -> Float[Tensor, "kept head_dim"]:
        """Return the keys of one sequence's kept pairs, head after head."""
        return self.keys[self._kept_rows]

    def own_keys(self) -> Float[Tensor, "own kv_heads head_dim"]:
        """Return the keys of one sequence's finished blocks and live rows."""
        return self.keys[self._own_places()]

    def own_values(self) -> Float[Tensor, "own kv_heads head_dim"]:
        """Return the values of one sequence's finished blocks and live rows."""
        return self.values[self._own_places()]

    def _own_places(self) -> Int[Tensor, "own kv_heads"]:
        done = self.tails[0].done
        return self._tail_places(done).to(self.keys.device, non_blocking=True) if done else self._tail

    def live_pairs(self) -> tuple[Float[Tensor, "live kv_heads head_dim"], Float[Tensor, "live kv_heads head_dim"]]:
        """Return the keys and values of one sequence's live rows."""
        return self.keys[self._tail], self.values[self._tail]

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
            folding = rows.folding(heads, self._kv_heads, device)
            packed = (self.keys, self.values, folding, self._ends, self._most)
            return lambda queries: attend_packed(queries, *packed, gaps=self._grows)
        if rows.counts not in self._bucketed:
            self._bucketed[rows.counts] = BucketedAttention(
                self.lengths, rows.counts, [tail.live for tail in self.tails], device, self._buckets, self.starts
            )
        return lambda queries: self._bucketed[rows.counts](queries, self._take)

    def _take(self, bucket: Bucket) -> Read:
        return bucket.take(self.keys), bucket.take(self.values), bucket.mask
