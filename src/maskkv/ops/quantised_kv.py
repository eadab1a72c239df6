"""Kept pairs in 8 bits; what is written between refreshes stays exact."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.ops.attention import HALF
from maskkv.ops.fused import products
from maskkv.ops.quantised import Quantised
from maskkv.ops.segments import Bucket, BucketedAttention, Buckets, Read, Rows, attend_packed
from maskkv.ops.selection import Selection
from maskkv.ops.tails import Tail, grow, segment_ends


class QuantisedKV:
    """Hold one segment per sequence and KV head: the kept prompt pairs in 8 bits, and the live rows' pairs exactly.

    `lengths` are those of the kept pairs. The kept ones become numbers again for a kernel call, a bucket at a time, or
    all at once where the variable-length kernel can be used. What is exact lies in `tail`, sequence after sequence.
    """

    def __init__(
        self,
        keys: Quantised,
        values: Quantised,
        tail: Float[Tensor, "2 slots kv_heads head_dim"],
        lengths: Sequence[int],
        tails: Sequence[Tail],
        kind: str,
    ) -> None:
        self._kind = kind
        self.keys = keys
        self.values = values
        self.tail = tail
        self.lengths = tuple(lengths)
        self.tails = tuple(tails)
        self._grows = grow(tails)
        self._bucketed: dict[tuple[int, ...], BucketedAttention] = {}
        self._buckets: Buckets = {}
        self._tails: dict[Bucket, Int[Tensor, "segments live"]] = {}

    @classmethod
    def pack(
        cls,
        keys: Float[Tensor, "vectors head_dim"],
        values: Float[Tensor, "vectors head_dim"],
        chosen: Selection,
        kind: str,
        room: int = 0,
    ) -> QuantisedKV:
        """Quantise one sequence's kept pairs, and copy those of its live rows; behind these are `room` free slots."""
        codes = [Quantised.of(each.index_select(0, chosen.kept), kind) for each in (keys, values)]
        tail = torch.stack([each.index_select(0, chosen.tail.flatten()) for each in (keys, values)])
        tail = F.pad(tail.unflatten(1, chosen.tail.shape), (0, 0, 0, 0, 0, room))
        return cls(codes[0], codes[1], tail, chosen.counts, [Tail(len(chosen.tail), room=room)], kind)

    def refill(
        self,
        keys: Float[Tensor, "vectors head_dim"],
        values: Float[Tensor, "vectors head_dim"],
        chosen: Selection,
    ) -> None:
        """Take one sequence's pairs anew, as many as before in all, in the same memory."""
        assert not self._grows, "what has grown is packed anew"
        other = QuantisedKV.pack(keys, values, chosen, self._kind)
        self.keys.copy_(other.keys)
        self.values.copy_(other.values)
        self.tail.copy_(other.tail)
        self.relay(other.lengths)

    def follow(self, parts: Sequence[QuantisedKV]) -> None:
        """Take over how the parts, joined here, split their pairs among their heads, and how far they have grown."""
        lengths = [length for part in parts for length in part.lengths]
        self.relay(lengths, [tail for part in parts for tail in part.tails])

    def advance(self) -> None:
        """Leave the live rows' pairs of one sequence as they are; the next slots are for other live rows."""
        (tail,) = self.tails
        self.relay(self.lengths, [tail.advanced()])

    def relay(self, lengths: Sequence[int], tails: Sequence[Tail] | None = None) -> None:
        """Split the kept pairs among the segments in another way, and what is exact; None: with the tails there are."""
        self.lengths = tuple(lengths)
        self.tails = self.tails if tails is None else tuple(tails)
        self._bucketed.clear()
        self._buckets.clear()
        self._tails.clear()
        if "_live_rows" in self.__dict__:
            self._live_rows.copy_(self._live_places(), non_blocking=True)
        if "_order" in self.__dict__:
            self._order.copy_(self._ragged_order(), non_blocking=True)
        if "_ends" in self.__dict__:
            self._ends.copy_(self._segment_ends(), non_blocking=True)

    @property
    def relays_in_place(self) -> bool:
        """Tell whether a pass that was captured stays right once lengths change: it reads them on the device."""
        return self.tail.is_cuda and self.tail.dtype in HALF

    def prepare(self, rows: Rows, heads: int) -> None:
        """Work out all that `attend` looks up."""
        if self.relays_in_place:
            rows.folding(heads, self.tail.shape[2], self.tail.device)
            assert len(self._order) >= self._segment_ends()[-1]
            assert len(self._ends) > len(self.lengths)
            assert len(self._live_rows) == sum(tail.live for tail in self.tails)
            return
        for bucket in self._reader(rows).buckets:
            self._own_tails(bucket)

    def join(self, others: Sequence[QuantisedKV]) -> QuantisedKV:
        """Lay the segments of several sequences end to end; each part becomes a view of the whole."""
        if not others:
            return self
        parts = [self, *others]
        keys = Quantised.join([part.keys for part in parts])
        values = Quantised.join([part.values for part in parts])
        tail = torch.cat([part.tail for part in parts], dim=1)
        for part, own in zip(parts, tail.split([part.tail.shape[1] for part in parts], dim=1), strict=True):
            part.tail = own
        lengths = [length for part in parts for length in part.lengths]
        return QuantisedKV(keys, values, tail, lengths, [each for part in parts for each in part.tails], self._kind)

    def leave(self) -> None:
        """Copy the pairs if they are a view of a larger whole."""
        self.keys.leave()
        self.values.leave()
        if self.tail.untyped_storage().nbytes() > self.tail.nbytes:
            self.tail = self.tail.clone()

    @property
    def nbytes(self) -> int:
        """Return the bytes of codes, scales and tails."""
        return self.keys.nbytes + self.values.nbytes + self.tail.nbytes

    def write_keys(self, keys: Float[Tensor, "fresh kv_heads head_dim"], rows: Int[Tensor, " fresh"] | None) -> None:
        """Replace the keys of some live rows (None: of all)."""
        self.tail[0, self._live_rows if rows is None else self._live_rows[rows]] = keys

    def write_values(self, values: Float[Tensor, "live kv_heads head_dim"]) -> None:
        """Replace the values of every live row."""
        self.tail[1, self._live_rows] = values

    def kept_keys(self) -> Float[Tensor, "kept head_dim"]:
        """Return the keys of one sequence's kept pairs, head after head."""
        return self.keys.all(self.tail.dtype)

    def own_keys(self) -> Float[Tensor, "own kv_heads head_dim"]:
        """Return the keys of one sequence's finished blocks and live rows."""
        return self.tail[0, : self.tails[0].own]

    def own_values(self) -> Float[Tensor, "own kv_heads head_dim"]:
        """Return the values of one sequence's finished blocks and live rows."""
        return self.tail[1, : self.tails[0].own]

    def live_pairs(self) -> tuple[Float[Tensor, "live kv_heads head_dim"], Float[Tensor, "live kv_heads head_dim"]]:
        """Return the keys and values of one sequence's live rows."""
        keys, values = self.tail[:, self._live_rows]
        return keys, values

    def exchange(
        self,
        places: Int[Tensor, " changed"],
        keys: Float[Tensor, "changed head_dim"],
        values: Float[Tensor, "changed head_dim"],
    ) -> None:
        """Put other pairs in the place of some of one sequence's kept ones, which are counted head after head."""
        self.keys.put(places, Quantised.of(keys, self._kind))
        self.values.put(places, Quantised.of(values, self._kind))

    def similarity(self, values: Float[Tensor, "live kv_heads head_dim"]) -> Float[Tensor, " live"]:
        """Return the cosine of each live row's values with new ones, over all KV heads."""
        return F.cosine_similarity(self.tail[1, self._live_rows].flatten(1).float(), values.flatten(1).float(), dim=-1)

    def products(self, values: Float[Tensor, "live kv_heads head_dim"]) -> Float[Tensor, "3 live"]:
        """Return of each live row what adds up over KV heads to a cosine: old · new, old · old, new · new, in fp32."""
        return products(self.tail[1, self._live_rows], values)

    def attend(self, queries: Float[Tensor, "rows heads head_dim"], rows: Rows) -> Float[Tensor, "rows heads head_dim"]:
        """Attend from each sequence's rows (`rows` says how many it has) to each head's own segment."""
        if not self.relays_in_place:
            return self._reader(rows)(queries, self._take)
        folding = rows.folding(queries.shape[1], self.tail.shape[2], queries.device)
        keys, values = (
            torch.cat((kept.all(own.dtype), own.flatten(0, 1))).index_select(0, self._order)
            for kept, own in zip((self.keys, self.values), self.tail, strict=True)
        )
        return attend_packed(queries, keys, values, folding, self._ends, self._most, gaps=self._grows)

    @property
    def _firsts(self) -> list[int]:
        """Return where each sequence's part of the tail begins."""
        return [0, *accumulate(tail.slots for tail in self.tails)][:-1]

    @cached_property
    def _live_rows(self) -> Int[Tensor, " live"]:
        """Return where the live rows lie in the tail."""
        return self._live_places().to(self.tail.device, non_blocking=True)

    @cached_property
    def _order(self) -> Int[Tensor, " slots"]:
        """Return where each pair of each segment lies: the kept ones of all come first, then the tails row by row."""
        return self._ragged_order().to(self.tail.device, non_blocking=True)

    @cached_property
    def _ends(self) -> Int[Tensor, " ends"]:
        """Return where segments start and end, as the variable-length kernel asks for it."""
        return self._segment_ends().to(self.tail.device, non_blocking=True)

    def _live_places(self) -> Int[Tensor, " live"]:
        own = zip(self._firsts, self.tails, strict=True)
        return torch.cat([torch.arange(first + tail.done, first + tail.own) for first, tail in own])

    def _ragged_order(self) -> Int[Tensor, " slots"]:
        """Give every segment as many places as it may come to need: those of free slots come after its own pairs."""
        kv_heads = self.tail.shape[2]
        kept = iter(torch.arange(sum(self.lengths)).split(list(self.lengths)))
        tails = sum(self.lengths) + torch.arange(self.tail.shape[1] * kv_heads).view(-1, kv_heads)
        order = []
        for first, tail in zip(self._firsts, self.tails, strict=True):
            for head in range(kv_heads):
                order += [next(kept), tails[first : first + tail.slots, head]]
        return torch.cat(order)

    def _segment_ends(self) -> Int[Tensor, " ends"]:
        both = list(zip(self.lengths, (tail for tail in self.tails for _ in range(self.tail.shape[2])), strict=True))
        lengths, slots = [kept + tail.own for kept, tail in both], [kept + tail.slots for kept, tail in both]
        return segment_ends(lengths, slots, gaps=self._grows)

    @property
    def _most(self) -> int:
        """Return the slots of the sequence that has most, however they are split among its heads."""
        kv_heads = self.tail.shape[2]
        kept = (sum(self.lengths[start : start + kv_heads]) for start in range(0, len(self.lengths), kv_heads))
        return max(pairs + tail.slots * kv_heads for pairs, tail in zip(kept, self.tails, strict=True))

    def _reader(self, rows: Rows) -> BucketedAttention:
        if rows.counts not in self._bucketed:
            self._bucketed[rows.counts] = BucketedAttention(
                self.lengths, rows.counts, [tail.own for tail in self.tails], self.tail.device, self._buckets
            )
        return self._bucketed[rows.counts]

    def _own_tails(self, bucket: Bucket) -> Int[Tensor, "segments live"]:
        if bucket not in self._tails:
            self._tails[bucket] = self._tail_rows(bucket)
        return self._tails[bucket]

    def _take(self, bucket: Bucket) -> Read:
        """Put the exact pairs of the live rows behind the kept ones and what fills them up."""
        own = self._own_tails(bucket)
        tail_keys, tail_values = self.tail.flatten(1, 2)[:, own]
        keys = torch.cat((self.keys.take(bucket, self.tail.dtype), tail_keys), dim=1)
        values = torch.cat((self.values.take(bucket, self.tail.dtype), tail_values), dim=1)
        mask = bucket.mask
        return keys, values, None if mask is None else F.pad(mask, (0, bucket.live), value=True)

    def _tail_rows(self, bucket: Bucket) -> Int[Tensor, "segments live"]:
        """Return where the tail of each of a bucket's segments lies, rows and heads counted together."""
        kv_heads, device = self.tail.shape[2], self.tail.device
        starts = torch.tensor(self._firsts, device=device)[bucket.segments // kv_heads]
        rows = starts[:, None] + torch.arange(bucket.live, device=device)
        return rows * kv_heads + (bucket.segments % kv_heads)[:, None]
