"""The caches of several sequences, joined into one for the passes over their live rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from jaxtyping import Float, Int
from torch import Tensor

from maskkv.cache.evicting import EvictingCache
from maskkv.cache.extent import Refresh
from maskkv.cache.state import LiveState
from maskkv.models.step_cache import Sublayer
from maskkv.ops.attention import Queries, UnrotatedKeys
from maskkv.ops.fused import join
from maskkv.ops.least import LeastRows
from maskkv.ops.segmented_kv import SegmentedKV
from maskkv.ops.segments import Rows
from maskkv.ops.spans import spans

_TINY = 1e-16
"""What a product of lengths is taken for if it is smaller: that of two of the 1e-8 of torch's `cosine_similarity`."""


class PackedCache:
    """Run the live rows of several sequences, laid end to end, through one pass after the other.

    What the sequences remember is laid end to end as well, once, when they come together; each part is then a view.
    """

    def __init__(self, parts: Sequence[EvictingCache]) -> None:
        self._parts = tuple(parts)
        self._live = tuple(part.extent.live for part in parts)
        layers = range(len(parts[0].layers))
        self._states = [list(part.layers) for part in parts]
        self._layers = [LiveState.join([part.state(layer) for part in parts]) for layer in layers]
        self._changes = tuple(part.changes for part in parts)
        self._fresh = self._live
        self._rows: Int[Tensor, " fresh"] | None = None
        self._queries: Queries | None = None
        """Of the layer that runs, until its first rows attend."""
        self._counted: dict[tuple[int, ...], Rows] = {}
        self._least: dict[tuple[int, ...], LeastRows] = {}

    def holds(self, parts: Sequence[EvictingCache]) -> bool:
        """Tell whether these caches are the ones joined here, in this order, and none was filled elsewhere since."""
        same = len(parts) == len(self._parts) and all(map(lambda a, b: a is b, parts, self._parts))
        return same and all(
            now is then
            for part, states in zip(parts, self._states, strict=True)
            for now, then in zip(part.layers, states, strict=True)
        )

    def has(self, parts: Sequence[EvictingCache]) -> bool:
        """Tell whether these caches, one or more, are among those joined here."""
        return len(parts) > 0 and all(any(part is own for own in self._parts) for part in parts)

    def part(self, staying: Sequence[EvictingCache]) -> None:
        """Copy what the caches that stay hold into memory of their own, layer by layer; the others are dropped.

        A cache that goes on as a view would keep the memory of all that were joined here.
        """
        remaining = [cache for cache in self._parts if any(cache is each for each in staying)]
        for layer in range(len(self._layers)):
            states = [cache.state(layer) for cache in remaining]
            del self._layers[0]
            for state in states:
                state.leave()

    def follow(self) -> bool:
        """Take in how the parts' segments have changed; return whether captured passes stay right."""
        changes = tuple(part.changes for part in self._parts)
        if changes == self._changes:
            return True
        self._changes = changes
        if len(self._parts) > 1:
            for layer, whole in enumerate(self._layers):
                whole.pairs.follow([part.state(layer).pairs for part in self._parts])
        return all(whole.pairs.relays_in_place for whole in self._layers)

    def prepare(self, heads: int, chunk_rows: int) -> None:
        """Work out all that the coming pass looks up, so that it can be captured with no such pass before it."""
        self._fresh = self._live
        counts = {self._inside(span) for span in spans(sum(self._live), chunk_rows)}
        if Refresh.PARTIAL in self.kinds:
            self._fresh = tuple(part.fresh for part in self._parts)
            self._chooser()
            counts.add(self._fresh)
        for whole in self._layers:
            for own in counts:
                whole.pairs.prepare(self._counts(own), heads)

    @property
    def shape(self) -> tuple[object, ...]:
        """Return what decides which operations the coming pass does on which shapes, stored pairs aside."""
        own = tuple((part.watched, part.kv_dtype) for part in self._parts)
        return (self.kinds, self._live, own)

    @property
    def kinds(self) -> tuple[Refresh, ...]:
        """Return what the coming pass recomputes of each sequence: passes that agree in it do the same operations."""
        return tuple(part.refresh for part in self._parts)

    def stale(self, layer: int, values: Float[Tensor, "rows kv_heads head_dim"]) -> Int[Tensor, " fresh"] | None:
        """Pick the `⌊ρ · live⌋` rows of each sequence whose values moved most since the last step.

        Layer 0 recomputes all rows, and so does every layer of a sequence whose response is refreshed.
        """
        self._fresh, self._rows = self._live, None
        partial = any(part.refresh is Refresh.PARTIAL for part in self._parts)
        watched = any(part.watched for part in self._parts)
        if layer > 0 and (partial or watched):
            similarity = self._similarity(self._layers[layer].pairs, values)
            if watched:
                self._watch(similarity)
            if partial:
                self._fresh = tuple(part.fresh for part in self._parts)
                # Those least similar to before; ties go to the earlier row.
                self._rows = self._chooser()(similarity)
        return self._rows

    def hold(
        self,
        layer: int,
        keys: Float[Tensor, "fresh kv_heads head_dim"],
        values: Float[Tensor, "rows kv_heads head_dim"],
        queries: Queries,
        unrotated: UnrotatedKeys,
    ) -> None:
        """Store the fresh rows' keys and all live rows' values."""
        pairs = self._layers[layer].pairs
        pairs.write_keys(keys, self._rows)
        pairs.write_values(values)
        self._queries = queries

    @property
    def recalls(self) -> bool:
        """Tell whether some layer changes what it keeps in the coming pass: the host takes part in that."""
        return any(_recalls(part, layer) for part in self._parts for layer in range(len(self._layers)))

    def first(self, layer: int, sublayer: Sublayer) -> int:
        """Return 0: all rows are live, and every live row's output is needed."""
        return 0

    def attend(
        self, layer: int, queries: Float[Tensor, "span heads head_dim"], span: slice
    ) -> Float[Tensor, "span heads head_dim"]:
        """Attend from each sequence's rows to its own pairs; before the first rows do, all choose what comes back."""
        if span.start == 0:
            self._recall(layer, queries)
        inside = self._inside(span)
        read = self._layers[layer].pairs.attend(queries, self._counts(inside))
        for part, stop, count in zip(self._parts, accumulate(inside), inside, strict=True):
            if count and _recalls(part, layer):
                own = slice(stop - count, stop)
                everything = part.read_all(layer, queries[own])
                if everything is not None:
                    read[own] = everything
        return read

    def add(
        self,
        layer: int,
        sublayer: Sublayer,
        residual: Float[Tensor, "span hidden"],
        fresh: Float[Tensor, "taken hidden"],
        span: slice,
    ) -> Float[Tensor, "span hidden"]:
        """Remember the fresh rows' outputs, and reuse the remembered ones for the others."""
        outputs = self._layers[layer].outputs[sublayer.value]
        return join(residual, outputs if self._rows is not None else outputs[span], fresh, self._rows)

    def _recall(self, layer: int, first: Float[Tensor, "span heads head_dim"]) -> None:
        """Let the fresh rows of each sequence choose what it keeps of a layer; the queries of the `first` are known."""
        later, self._queries = self._queries, None
        stops, lives = accumulate(self._fresh), accumulate(self._live, initial=0)
        for part, count, stop, live in zip(self._parts, self._fresh, stops, lives, strict=False):
            if count and _recalls(part, layer):
                own = slice(stop - count, stop)
                assert later is not None, "a layer holds its pairs before it attends"
                queries = first[own] if stop <= len(first) else later(own)
                part.recall(layer, queries, None if self._rows is None else self._rows[own] - live)

    def _similarity(
        self, pairs: SegmentedKV, values: Float[Tensor, "live kv_heads head_dim"]
    ) -> Float[Tensor, " live"]:
        """Return the cosine of each live row's values with new ones, over the KV heads of all processes."""
        ranks = self._parts[0].ranks
        if ranks.count == 1:
            return pairs.similarity(values)
        product, before, after = ranks.add_up(pairs.products(values))
        return product / (before * after).sqrt().clamp(min=_TINY)

    def _watch(self, similarity: Float[Tensor, " rows"]) -> None:
        """Add up, for the sequences that ask for it, how far the values of a layer moved."""
        for part, own in zip(self._parts, similarity.split(self._live), strict=True):
            if part.watched:
                part.moved += (1 - own).mean() / max(1, len(part.layers) - 1)

    def _chooser(self) -> LeastRows:
        if self._fresh not in self._least:
            self._least[self._fresh] = LeastRows(self._live, self._fresh, self._layers[0].outputs.device)
        return self._least[self._fresh]

    def _counts(self, counts: tuple[int, ...]) -> Rows:
        if counts not in self._counted:
            self._counted[counts] = Rows(counts)
        return self._counted[counts]

    def _inside(self, span: slice) -> tuple[int, ...]:
        """Count the fresh rows of each sequence that lie inside `span`."""
        stops = accumulate(self._fresh)
        inside = zip(stops, self._fresh, strict=True)
        return tuple(max(0, min(span.stop, stop) - max(span.start, stop - own)) for stop, own in inside)


def _recalls(part: EvictingCache, layer: int) -> bool:
    return part.tiers is not None and part.tiers.due(layer)
