"""Attention of many sequences' rows, each head to its own segment of pairs, in a few operations.

Segments lie end to end in one tensor of pairs: those of a sequence's KV heads side by side, sequence after sequence.
`counts[s]` rows, also end to end, belong to sequence s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from maskkv.ops.attention import fold_groups, unfold_groups
from maskkv.ops.tails import ends_of
from maskkv.ops.widths import own_widths

TILE_PAIRS = 1 << 14
"""Pairs that are gathered at a time, unless one segment has more."""


Read = tuple[
    Float[Tensor, "segments width head_dim"],
    Float[Tensor, "segments width head_dim"],
    Bool[Tensor, "segments 1 width"] | None,
]
"""The keys and values of a bucket's segments, and which of them are no filling (None: all)."""


class BucketedAttention:
    """Attend bucket by bucket: segments of about equal length are read in one kernel call, filled up to one width.

    The width depends on a sequence's own lengths only, and so, down to the last bit, does what its rows read.
    `lengths` are those of the segments (or of the part of them that differs in length), `live` the live rows of each
    sequence: a bucket's sequences have equally many of them, and bring equally many rows. Buckets are taken from
    `made` if they are there, by their sequences and live rows. `starts` say where segments start, and how many slots
    there are last; without them no segment is followed by free slots.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        counts: Sequence[int],
        live: Sequence[int],
        device: torch.device,
        made: Buckets,
        starts: Sequence[int] | None = None,
    ) -> None:
        kv_heads = len(lengths) // len(counts)
        first_rows = torch.tensor([0, *accumulate(counts)])
        widths = own_widths(lengths, kv_heads)
        kinds = list(zip(counts, live, strict=True))
        self._groups: list[RowGroup] = []
        for count, own_live in sorted({kind for kind in kinds if kind[0] > 0}):
            members = [index for index, kind in enumerate(kinds) if kind == (count, own_live)]
            alone = len(members) == len(counts)
            rows = None if alone else (first_rows[members][:, None] + torch.arange(count)).flatten().to(device)
            key = (own_live, *members)
            if key not in made:
                segments = [member * kv_heads + head for member in members for head in range(kv_heads)]
                made[key] = bucketed(lengths, widths, segments, own_live, device, starts)
            self._groups.append(RowGroup(kv_heads, rows, len(members), made[key]))

    @property
    def buckets(self) -> list[Bucket]:
        """Return all buckets."""
        return [bucket for group in self._groups for bucket in group.buckets]

    def __call__(
        self, queries: Float[Tensor, "rows heads head_dim"], take: Callable[[Bucket], Read]
    ) -> Float[Tensor, "rows heads head_dim"]:
        """Return what every row reads; `take` gathers a bucket's pairs."""
        out = torch.empty_like(queries)
        for group in self._groups:
            if group.rows is None:
                return group.read(queries, take)
            out[group.rows] = group.read(queries[group.rows], take)
        return out


@dataclass(frozen=True)
class RowGroup:
    """Hold sequences with equally many rows and live rows; `rows` None says that there are no others."""

    kv_heads: int
    rows: Int[Tensor, " rows"] | None
    sequences: int
    buckets: list[Bucket]

    def read(
        self, queries: Float[Tensor, "rows heads head_dim"], take: Callable[[Bucket], Read]
    ) -> Float[Tensor, "rows heads head_dim"]:
        """Return what the group's rows read."""
        folded = fold_groups(queries, self.kv_heads, self.sequences)
        if len(self.buckets) == 1:
            read = _attended(folded, *take(self.buckets[0]))
        else:
            read = torch.empty_like(folded)
            for bucket in self.buckets:
                read[bucket.places] = _attended(folded[bucket.places], *take(bucket))
        return unfold_groups(read, queries.shape[1], self.sequences)


def _attended(
    queries: Float[Tensor, "segments rows head_dim"],
    keys: Float[Tensor, "segments width head_dim"],
    values: Float[Tensor, "segments width head_dim"],
    mask: Bool[Tensor, "segments 1 width"] | None,
) -> Float[Tensor, "segments rows head_dim"]:
    # With a mask of fewer axes torch would leave its fused kernel.
    own_mask = None if mask is None else mask[None]
    return F.scaled_dot_product_attention(queries[None], keys[None], values[None], own_mask)[0]


@dataclass(frozen=True, eq=False)
class Bucket:
    """Hold segments of about equal length; `places` counts them among those of their row group, increasing.

    `run` spans their slots if these are equally many and side by side, and the pairs too: then nothing is copied.
    """

    places: Int[Tensor, " segments"]
    segments: Int[Tensor, " segments"]
    first: Int[Tensor, "segments 1"]
    last: Int[Tensor, "segments 1"]
    width: int
    live: int
    even: bool
    run: slice | None

    def take(self, pairs: Shaped[Tensor, "pairs columns"]) -> Shaped[Tensor, "segments width columns"]:
        """Lay the segments below each other, each filled up with its last pair (an empty one with any)."""
        shape = (len(self.places), self.width)
        if self.run is not None:
            slots = (self.run.stop - self.run.start) // len(self.places)
            return pairs[self.run].unflatten(0, (len(self.places), slots))[:, : self.width]
        return pairs.index_select(0, self._rows).unflatten(0, shape)

    @cached_property
    def _rows(self) -> Int[Tensor, " segments_width"]:
        """Return where the pairs lie."""
        rows = torch.minimum(self.first + torch.arange(self.width, device=self.first.device), self.last)
        # Before an empty segment at the very start there is nothing; what fills it is masked.
        return rows.clamp_(min=0).flatten().int()

    @cached_property
    def mask(self) -> Bool[Tensor, "segments 1 width"] | None:
        """Return which pairs are no filling; None if none is."""
        if self.even:
            return None
        return (torch.arange(self.width, device=self.first.device) <= self.last - self.first)[:, None]


Buckets = dict[tuple[int, ...], list[Bucket]]
"""Buckets by the live rows that their sequences have and by these sequences' numbers."""


def bucketed(
    lengths: Sequence[int],
    widths: Sequence[int],
    segments: Sequence[int],
    live: int,
    device: torch.device,
    starts: Sequence[int] | None = None,
) -> list[Bucket]:
    """Put the chosen segments, of all that there are, into buckets."""
    offsets = [0, *accumulate(lengths)] if starts is None else starts
    buckets = []
    for places in equal_widths([widths[segment] for segment in segments]):
        chosen = [segments[place] for place in places]
        first = [offsets[segment] for segment in chosen]
        last = [offsets[segment] + lengths[segment] - 1 for segment in chosen]
        width = widths[chosen[0]]
        even = all(lengths[segment] == width for segment in chosen)
        slots = offsets[chosen[0] + 1] - offsets[chosen[0]]
        alike = even and all(offsets[segment + 1] - offsets[segment] == slots for segment in chosen)
        side_by_side = alike and chosen[-1] - chosen[0] == len(chosen) - 1
        buckets.append(
            Bucket(
                places=torch.tensor(places, device=device),
                segments=torch.tensor(chosen, device=device),
                first=torch.tensor(first, device=device)[:, None],
                last=torch.tensor(last, device=device)[:, None],
                width=width,
                live=live,
                even=even,
                run=slice(first[0], first[0] + slots * len(chosen)) if side_by_side else None,
            )
        )
    return buckets


def equal_widths(widths: Sequence[int]) -> list[list[int]]:
    """Group equal widths, by index, the widths of a group summing to at most `TILE_PAIRS` unless it has one member.

    >>> equal_widths([32, 16, 16, 32, 48])
    [[1, 2], [0, 3], [4]]
    """
    groups: list[list[int]] = []
    width = -1
    for index in sorted(range(len(widths)), key=widths.__getitem__):
        if widths[index] != width or (len(groups[-1]) + 1) * width > TILE_PAIRS:
            groups.append([])
            width = widths[index]
        groups[-1].append(index)
    return groups


@dataclass(frozen=True)
class Folding:
    """Say where each row's heads lie once the query heads that share a KV head are folded into rows.

    Every segment is then a sequence of rows with one head. Row i of sequence s and query head h come
    `h * counts[s] + i` places after the sequence's first.
    """

    heads: int
    order: Int[Tensor, " heads_of_rows"]
    """Which head of which row, counted row by row, lies in each place."""
    places: Int[Tensor, " heads_of_rows"]
    """Where each head of each row lies."""
    offsets: Int[Tensor, " segments_and_end"]
    gaps: Int[Tensor, " both"]
    """The same where there is a gap between one segment and the next, which gets no rows."""
    longest: int

    @classmethod
    def of(cls, counts: Sequence[int], heads: int, kv_heads: int, device: torch.device) -> Folding:
        """Lay out the rows of sequences that bring so many each."""
        own = torch.tensor(counts)
        start = (own.cumsum(0) - own).repeat_interleave(own)
        first = start * heads + torch.arange(sum(counts)) - start
        places = (first[:, None] + torch.arange(heads) * own.repeat_interleave(own)[:, None]).flatten()
        rows = [count * heads // kv_heads for count in counts for _ in range(kv_heads)]
        starts = [0, *accumulate(rows)]
        offsets, gaps = torch.tensor(starts, dtype=torch.int32), ends_of(starts, rows)
        made = (places.argsort(), places, offsets, gaps)
        order, places, offsets, gaps = (each.to(device, non_blocking=True) for each in made)
        return cls(heads, order, places, offsets, gaps, max(rows))


class Rows:
    """Say how many rows each of several sequences brings to an attention; layers share it, and what follows from it."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = tuple(counts)
        self._folding: dict[tuple[int, int, torch.device], Folding] = {}

    def folding(self, heads: int, kv_heads: int, device: torch.device) -> Folding:
        """Return how these rows are folded, worked out once."""
        key = (heads, kv_heads, device)
        if key not in self._folding:
            self._folding[key] = Folding.of(self.counts, *key)
        return self._folding[key]


def attend_packed(
    queries: Float[Tensor, "rows heads head_dim"],
    keys: Float[Tensor, "pairs head_dim"],
    values: Float[Tensor, "pairs head_dim"],
    folding: Folding,
    offsets: Int[Tensor, " ends"],
    longest: int,
    *,
    gaps: bool = False,
) -> Float[Tensor, "rows heads head_dim"]:
    """Attend in one call of the variable-length kernel, for half precision on CUDA.

    Segment i is `offsets[i]:offsets[i + 1]`, on the device, or with `gaps` (see `ends_of`) every other one. None has
    more than `longest` pairs.
    """
    # It defines operators of its own, and torch imports its whole compiler for those: only where the kernel is.
    from torch.nn.attention.varlen import varlen_attn

    folded = queries.flatten(0, 1).index_select(0, folding.order)
    both, most = (folding.gaps if gaps else folding.offsets, offsets), (folding.longest, longest)
    read = varlen_attn(folded[:, None], keys[:, None], values[:, None], *both, *most)
    assert isinstance(read, Tensor), "nothing beside the output was asked for"
    return read[:, 0].index_select(0, folding.places).view_as(queries)
