"""What a policy would keep of a prompt at many budgets, seen in one prompt refresh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from maskkv.api import LanguageModel
from maskkv.cache import EvictingCache, NoCache, Refresh, WatchingCache, measure_importance
from maskkv.decoding.engine import Engine
from maskkv.eviction.policy import Policy
from maskkv.eviction.view import LayerView
from maskkv.generation import Generation
from maskkv.lens.film import check_evicts
from maskkv.models.step_cache import StepCache
from maskkv.policies.maskkv import PromptPreference

MOST_POSITIONS = 2**20
"""Positions that a sweep lists over all its segments, about: they limit its budgets in a long prompt."""


@dataclass(frozen=True)
class BudgetSweep:
    """Tell what each segment keeps at each budget, by the vote of the first prompt refresh.

    `order[layer][kv_head]` lists positions, those kept at the smallest budgets first; the first
    `counts[index][layer][kv_head]` of them are kept at `budgets[index]`. `preference` is P_h (Eq. 14) per layer and KV
    head, `importance` that of the layers (Eq. 8), or None if the policy does not ask for it.
    """

    budgets: list[int]
    counts: list[list[list[int]]]
    order: list[list[list[int]]]
    preference: list[list[float]]
    importance: list[float] | None

    def kept(self, budget: int) -> list[list[list[int]]]:
        """Return the positions kept at one of `budgets`, per layer and KV head, sorted: as `Result.kept`."""
        counts = self.counts[self.budgets.index(budget)]
        return [
            [sorted(order[:count]) for order, count in zip(orders, own, strict=True)]
            for orders, own in zip(self.order, counts, strict=True)
        ]


def sweep(
    llm: LanguageModel, prompt: Sequence[int], generation: Generation, policy: Policy, budget: int | None
) -> BudgetSweep:
    """Ask a policy what it keeps of a prompt at `budget`, and at smaller and larger ones.

    Raises:
        InputError: The policy evicts nothing, or the prompt, budget or generation is unusable.
    """
    check_evicts(policy)
    model = llm.model
    engine = Engine(model, llm.profile)
    sequence = engine[engine.add(prompt, generation, policy, budget, llm.rope_scale)]
    canvas, extent, config = sequence.canvas, sequence.extent, model.config
    tokens = canvas.tokens[sequence.rows]
    rotation = model.rotation(torch.arange(len(tokens), device=model.device), sequence.settings.rope_scale)
    budgets = sweep_budgets(extent.evictable, config.num_layers * config.num_kv_heads, budget)
    importance: Sequence[float] | None = None
    if policy.needs_importance(budgets[0], extent.evictable):
        importance = llm.profile.importance if llm.profile else measure_importance(model, tokens, rotation)
    pairs = [
        policy.layer_pairs(
            each,
            num_layers=config.num_layers,
            kv_heads=config.num_kv_heads,
            evictable=extent.evictable,
            importance=importance,
        )
        for each in budgets
    ]
    # It stays empty: it only shows each layer as the engine's policies see it.
    shown = EvictingCache(config, extent, policy, budget, generation.transfer_ratio)
    shown.begin(Refresh.PROMPT, sequence.window.masked)
    probe = ChoiceProbe(policy, pairs)
    cache: StepCache = WatchingCache(NoCache(config.causal_block), on_pairs=lambda *held: probe.ask(shown.view(*held)))
    with torch.inference_mode():
        model(tokens, rotation, cache)
    counts = [list(layers) for layers in zip(*probe.counts, strict=True)]
    return BudgetSweep(budgets, counts, probe.order, probe.preference, None if importance is None else list(importance))


def sweep_budgets(evictable: int, segments: int, budget: int | None) -> list[int]:
    """Choose budgets, each about a third or a half above the one before, with `budget` among them if it evicts.

    The last one is that of the whole prompt, or the largest whose positions are not too many to list.
    """
    asked = evictable if budget is None else min(budget, evictable)
    most = max(1, asked, min(evictable, MOST_POSITIONS // segments))
    doubled = [factor << power for power in range(most.bit_length()) for factor in (1, 3)]
    return sorted({each for each in doubled if each < most} | {most, max(1, asked)})


@dataclass(frozen=True)
class ChoiceProbe:
    """Collect a policy's choices at several budgets, layer after layer; `pairs` counts them per budget and layer."""

    policy: Policy
    pairs: Sequence[Sequence[int]]
    counts: list[list[list[int]]] = field(default_factory=list)
    """Pairs kept per layer, budget and KV head."""
    order: list[list[list[int]]] = field(default_factory=list)
    preference: list[list[float]] = field(default_factory=list)

    def ask(self, view: LayerView) -> None:
        """Ask the policy at each budget: at all of them a head keeps the first of one order."""
        ranking = self.policy.rank(view, max(layers[view.layer] for layers in self.pairs))
        counts = [ranking.counts(layers[view.layer]) for layers in self.pairs]
        order = (ranking.cells % view.evictable).view(view.kv_heads, -1)
        self.counts.append(counts)
        most = [max(own) for own in zip(*counts, strict=True)]
        self.order.append([own[:count].tolist() for own, count in zip(order, most, strict=True)])
        self.preference.append(PromptPreference().preference(view).tolist())
