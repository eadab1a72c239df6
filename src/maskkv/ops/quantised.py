"""Kept pairs in 8 bits, each with a scale of its own; what is written between refreshes stays exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
import torch.nn.functional as F
from jaxtyping import BFloat16, Float, Int, Shaped
from torch import Tensor

from maskkv.ops.attention import HALF
from maskkv.ops.segments import Bucket, BucketedAttention, Buckets, Read, Rows, attend_packed
from maskkv.ops.selection import Selection

CODES = {"int8": (torch.int8, 127.0), "fp8": (torch.float8_e4m3fn, 448.0)}
"""For each name the dtype of the codes and the largest one."""


@dataclass
class Quantised:
    """Hold vectors as 8-bit codes times a bf16 scale per vector.

    With int8 a number is off by at most half a scale, which is 1/254 of the vector's largest magnitude; with fp8
    (e4m3) by 1/16 of itself, or 2⁻¹⁰ scales near zero.
    """

    codes: Shaped[Tensor, "vectors head_dim"]
    scales: BFloat16[Tensor, "vectors 1"]

    @classmethod
    def of(cls, vectors: Float[Tensor, "vectors head_dim"], kind: str) -> Quantised:
        """Quantise to `int8` or `fp8`."""
        dtype, largest = CODES[kind]
        wide = vectors.float()
        scales = (wide.abs().amax(1, keepdim=True) / largest).bfloat16()
        # A vector of zeros has no scale; the division is by the rounded scale, so that its rounding costs nothing.
        codes = (wide / scales.float().clamp(min=torch.finfo(torch.bfloat16).tiny)).clamp(-largest, largest)
        return cls((codes if dtype.is_floating_point else codes.round()).to(dtype), scales)

    @classmethod
    def join(cls, parts: Sequence[Quantised]) -> Quantised:
        """Lay vectors end to end; each part becomes a view of the whole."""
        codes, scales = torch.cat([part.codes for part in parts]), torch.cat([part.scales for part in parts])
        sizes = [len(part.codes) for part in parts]
        for part, own, scale in zip(parts, codes.split(sizes), scales.split(sizes), strict=True):
            part.codes, part.scales = own, scale
        return cls(codes, scales)

    def leave(self) -> None:
        """Copy the vectors if they are a view of a larger whole."""
        if self.codes.untyped_storage().nbytes() > self.codes.nbytes:
            self.codes, self.scales = self.codes.clone(), self.scales.clone()

    def put(self, places: Int[Tensor, " changed"], other: Quantised) -> None:
        """Take other vectors in the place of some."""
        self.codes[places] = other.codes
        self.scales[places] = other.scales

    def copy_(self, other: Quantised) -> None:
        """Take the vectors of another, as many, in the same memory."""
        self.codes.copy_(other.codes)
        self.scales.copy_(other.scales)

    @property
    def nbytes(self) -> int:
        """Return the bytes of codes and scales."""
        return self.codes.nbytes + self.scales.nbytes

    def all(self, dtype: torch.dtype) -> Float[Tensor, "vectors head_dim"]:
        """Return the vectors as numbers again."""
        return self.codes.to(dtype) * self.scales.to(dtype)

    def take(self, bucket: Bucket, dtype: torch.dtype) -> Float[Tensor, "segments width head_dim"]:
        """Gather a bucket's vectors, as numbers again."""
        return bucket.take(self.codes).to(dtype) * bucket.take(self.scales).to(dtype)


class QuantisedKV:
    """Hold one segment per sequence and KV head: the kept prompt pairs in 8 bits, and the live rows' pairs exactly.

    `lengths` are those of the kept pairs. The kept ones become numbers again for a kernel call, a bucket at a time, or
    all at once where the variable-length kernel can be used.
    """

    def __init__(
        self,
        keys: Quantised,
        values: Quantised,
        tail: Float[Tensor, "2 live kv_heads head_dim"],
        lengths: Sequence[int],
        live: Sequence[int],
        kind: str,
    ) -> None:
        self._kind = kind
        self.keys = keys
        self.values = values
        self.tail = tail
        self.lengths = tuple(lengths)
        self.live = tuple(live)
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
    ) -> QuantisedKV:
        """Quantise one sequence's kept pairs, and copy those of its live rows."""
        codes = [Quantised.of(each.index_select(0, chosen.kept), kind) for each in (keys, values)]
        tail = torch.stack([each.index_select(0, chosen.tail.flatten()) for each in (keys, values)])
        tail = tail.unflatten(1, chosen.tail.shape)
        return cls(codes[0], codes[1], tail, chosen.counts, [len(chosen.tail)], kind)

    def refill(
        self,
        keys: Float[Tensor, "vectors head_dim"],
        values: Float[Tensor, "vectors head_dim"],
        chosen: Selection,
    ) -> None:
        """Take one sequence's pairs anew, as many as before in all, in the same memory."""
        other = QuantisedKV.pack(keys, values, chosen, self._kind)
        self.keys.copy_(other.keys)
        self.values.copy_(other.values)
        self.tail.copy_(other.tail)
        self.relay(other.lengths)

    def relay(self, lengths: Sequence[int]) -> None:
        """Split the pairs of each sequence among its heads in another way."""
        self.lengths = tuple(lengths)
        self._bucketed.clear()
        self._buckets.clear()
        self._tails.clear()
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
            assert len(self._order) == self._segment_ends()[-1]
            assert len(self._ends) == len(self.lengths) + 1
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
        return QuantisedKV(keys, values, tail, lengths, [live for part in parts for live in part.live], self._kind)

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
        self.tail[0, slice(None) if rows is None else rows] = keys

    def write_values(self, values: Float[Tensor, "live kv_heads head_dim"]) -> None:
        """Replace the values of every live row."""
        self.tail[1] = values

    def live_keys(self) -> Float[Tensor, "live kv_heads head_dim"]:
        """Return the keys of every live row."""
        return self.tail[0]

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
        return F.cosine_similarity(self.tail[1].flatten(1).float(), values.flatten(1).float(), dim=-1)

    def attend(self, queries: Float[Tensor, "rows heads head_dim"], rows: Rows) -> Float[Tensor, "rows heads head_dim"]:
        """Attend from each sequence's rows (`rows` says how many it has) to each head's own segment."""
        if not self.relays_in_place:
            return self._reader(rows)(queries, self._take)
        folding = rows.folding(queries.shape[1], self.tail.shape[2], queries.device)
        keys, values = (
            torch.cat((kept.all(own.dtype), own.flatten(0, 1))).index_select(0, self._order)
            for kept, own in zip((self.keys, self.values), self.tail, strict=True)
        )
        return attend_packed(queries, keys, values, folding, self._ends, self._most)

    @cached_property
    def _order(self) -> Int[Tensor, " pairs"]:
        """Return where each pair of each segment lies: the kept ones of all come first, then the tails row by row."""
        return self._ragged_order().to(self.tail.device, non_blocking=True)

    @cached_property
    def _ends(self) -> Int[Tensor, " segments_and_end"]:
        """Return where segments start and end, as the variable-length kernel asks for it."""
        return self._segment_ends().to(self.tail.device, non_blocking=True)

    def _ragged_order(self) -> Int[Tensor, " pairs"]:
        kv_heads, first = self.tail.shape[2], 0
        kept = iter(torch.arange(sum(self.lengths)).split(list(self.lengths)))
        tails = sum(self.lengths) + torch.arange(self.tail.shape[1] * kv_heads).view(-1, kv_heads)
        order = []
        for live in self.live:
            for head in range(kv_heads):
                order += [next(kept), tails[first : first + live, head]]
            first += live
        return torch.cat(order)

    def _segment_ends(self) -> Int[Tensor, " segments_and_end"]:
        live = torch.tensor(self.live).repeat_interleave(self.tail.shape[2])
        return F.pad((torch.tensor(self.lengths) + live).cumsum(0), (1, 0)).int()

    @property
    def _most(self) -> int:
        """Return the pairs of the sequence that has most, however they are split among its heads."""
        kv_heads = self.tail.shape[2]
        kept = (sum(self.lengths[start : start + kv_heads]) for start in range(0, len(self.lengths), kv_heads))
        return max(own + live * kv_heads for own, live in zip(kept, self.live, strict=True))

    def _reader(self, rows: Rows) -> BucketedAttention:
        if rows.counts not in self._bucketed:
            self._bucketed[rows.counts] = BucketedAttention(
                self.lengths, rows.counts, self.live, self.tail.device, self._buckets
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
        starts = torch.tensor([0, *accumulate(self.live)], device=device)[bucket.segments // kv_heads]
        rows = starts[:, None] + torch.arange(bucket.live, device=device)
        return rows * kv_heads + (bucket.segments % kv_heads)[:, None]
