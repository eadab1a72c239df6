"""What a policy would keep of a prompt at each rung of a ladder of budgets, seen in one prompt refresh."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.api import LanguageModel
from maskkv.cache import NoCache, measure_importance
from maskkv.decoding.engine import Engine
from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.eviction.view import LayerView
from maskkv.generation import Generation
from maskkv.models.transformer import StepCache, Sublayer
from maskkv.ops.attention import Queries, UnrotatedKeys
from maskkv.policies.maskkv import PromptPreference

MOST_POSITIONS = 2**20
"""Positions that a ladder lists over all its segments, about: where a long prompt's ladder ends."""


@dataclass(frozen=True)
class Ladder:
    """Tell what each segment keeps at each budget, by the vote of the first prompt refresh.

    `order[layer][kv_head]` lists positions, those kept at the smallest budgets first; of it the first
    `counts[rung][layer][kv_head]` are kept at `budgets[rung]`. `preference` is P_h (Eq. 14), `importance` that of
    the layers (Eq. 8), if the policy asks for it.
    """

    budgets: list[int]
    counts: list[list[list[int]]]
    order: list[list[list[int]]]
    preference: list[list[float]]
    importance: list[float] | None

    def kept(self, budget: int) -> list[list[list[int]]]:
        """Return the positions kept at a budget of the ladder, per layer and KV head, sorted: as `Result.kept`."""
        counts = self.counts[self.budgets.index(budget)]
        return [
            [sorted(order[:count]) for order, count in zip(orders, own, strict=True)]
            for orders, own in zip(self.order, counts, strict=True)
        ]


def climb(
    llm: LanguageModel, prompt: Sequence[int], generation: Generation, policy: Policy, budget: int | None
) -> Ladder:
    """Ask a policy what it keeps of a prompt at `budget` and at the rungs around it.

    Raises:
        InputError: The policy evicts nothing, or the prompt, budget or generation is unusable.
    """
    if policy.scorer is None:
        raise InputError(f"policy {policy.name!r} evicts nothing: there is something to see with one that does")
    model = llm.model
    engine = Engine(model, llm.profile)
    sequence = engine[engine.add(prompt, generation, policy, budget, llm.rope_scale)]
    canvas, extent, config = sequence.canvas, sequence.extent, model.config
    rotation = model.rotation(torch.arange(len(canvas.tokens), device=model.device), sequence.settings.rope_scale)
    budgets = rungs(extent.evictable, config.num_layers * config.num_kv_heads, budget)
    importance: Sequence[float] | None = None
    if policy.needs_importance(budgets[0], extent.evictable):
        importance = llm.profile.importance if llm.profile else measure_importance(model, canvas.tokens, rotation)
    pairs = [
        policy.layer_pairs(
            rung,
            num_layers=config.num_layers,
            kv_heads=config.num_kv_heads,
            evictable=extent.evictable,
            importance=importance,
        )
        for rung in budgets
    ]

    def view(layer: int, keys: Tensor, values: Tensor, queries: Queries, unrotated: UnrotatedKeys) -> LayerView:
        return LayerView(
            layer=layer,
            num_layers=config.num_layers,
            keys=keys,
            values=values,
            queries=queries,
            unrotated=unrotated,
            evictable=extent.evictable,
            masked=canvas.masked,
            block_length=extent.block_length,
        )

    watch = Watch(NoCache(), policy, pairs, view)
    cache: StepCache = watch
    with torch.inference_mode():
        model(canvas.tokens, rotation, cache)
    counts = [[layer[rung] for layer in watch.counts] for rung in range(len(budgets))]
    return Ladder(budgets, counts, watch.order, watch.preference, None if importance is None else list(importance))


def rungs(evictable: int, segments: int, budget: int | None) -> list[int]:
    """Choose budgets, each about a third or a half above the one before, with `budget` among them if it evicts.

    The last one is that of the whole prompt, or the largest whose positions are not too many to list.
    """
    asked = evictable if budget is None else min(budget, evictable)
    most = max(1, asked, min(evictable, MOST_POSITIONS // segments))
    doubled = [factor << power for power in range(most.bit_length()) for factor in (1, 3)]
    return sorted({each for each in doubled if each < most} | {most, max(1, asked)})


@dataclass
class Watch:
    """Ask a policy for its choice at several budgets while another cache does the work of a prompt refresh."""

    inner: StepCache
    policy: Policy
    pairs: Sequence[Sequence[int]]
    """Pairs per rung and layer."""
    view: Callable[[int, Tensor, Tensor, Queries, UnrotatedKeys], LayerView]
    counts: list[list[list[int]]] = field(default_factory=list)
    """Pairs kept per layer, rung and KV head."""
    order: list[list[list[int]]] = field(default_factory=list)
    preference: list[list[float]] = field(default_factory=list)

    def stale(self, layer: int, values: Float[Tensor, "rows kv_heads head_dim"]) -> Int[Tensor, " fresh"] | None:
        """Ask the inner cache."""
        return self.inner.stale(layer, values)

    def hold(
        self,
        layer: int,
        keys: Float[Tensor, "rows kv_heads head_dim"],
        values: Float[Tensor, "rows kv_heads head_dim"],
        queries: Queries,
        unrotated: UnrotatedKeys,
    ) -> None:
        """Ask the inner cache, and the policy at each rung: a head keeps the first of one order at all of them."""
        self.inner.hold(layer, keys, values, queries, unrotated)
        view = self.view(layer, keys, values, queries, unrotated)
        ranking = self.policy.rank(view, max(pairs[layer] for pairs in self.pairs))
        counts = [ranking.counts(pairs[layer]) for pairs in self.pairs]
        order = (ranking.cells % view.evictable).view(view.kv_heads, -1)
        self.counts.append(counts)
        most = [max(own) for own in zip(*counts, strict=True)]
        self.order.append([own[:count].tolist() for own, count in zip(order, most, strict=True)])
        self.preference.append(PromptPreference().preference(view).tolist())

    def first(self, layer: int, sublayer: Sublayer) -> int:
        """Ask the inner cache."""
        return self.inner.first(layer, sublayer)

    def attend(
        self, layer: int, queries: Float[Tensor, "span heads head_dim"], span: slice
    ) -> Float[Tensor, "span heads head_dim"]:
        """Ask the inner cache."""
        return self.inner.attend(layer, queries, span)

    def add(
        self,
        layer: int,
        sublayer: Sublayer,
        residual: Float[Tensor, "span hidden"],
        fresh: Float[Tensor, "taken hidden"],
        span: slice,
    ) -> Float[Tensor, "span hidden"]:
        """Ask the inner cache."""
        return self.inner.add(layer, sublayer, residual, fresh, span)
