"""Every policy restated with lists and loops: the same pairs, layer by layer."""

import math
from itertools import product

import pytest
import torch
from tests.reference import plain_allocate
from tests.views import keeping

from maskkv.eviction.view import LayerView
from maskkv.policies import named, names

LAYERS, KV_HEADS, GROUP, PROMPT, RESPONSE, BLOCK, WIDTH = 5, 2, 3, 60, 12, 4, 6
MASKED = [False] * 5 + [True, False] + [True] * 5
IMPORTANCE = (0.8, 0.03, 0.05, 0.2, 0.6)

Lists = list[list[list[float]]]


class SlowLayer:
    """One layer as nested lists: queries[head][row], keys[kv_head][pair], attention[head][row][pair]."""

    def __init__(self, view: LayerView, evictable: int) -> None:
        queries = view.queries(slice(0, PROMPT + RESPONSE)).double().transpose(0, 1)
        self.queries: Lists = queries.tolist()
        self.keys: Lists = view.keys.double().transpose(0, 1).tolist()
        self.evictable = evictable
        self.masks = [PROMPT + position for position, masked in enumerate(MASKED) if masked]
        self.attention = [
            [self._softmax([dot(q, k) / math.sqrt(WIDTH) for k in self.keys[head // GROUP]]) for q in own]
            for head, own in enumerate(self.queries)
        ]

    @staticmethod
    def _softmax(logits: list[float]) -> list[float]:
        weights = [math.exp(logit) for logit in logits]
        return [weight / sum(weights) for weight in weights]

    def votes(self, rows: list[int], pairs: int | None = None) -> list[list[float]]:
        pairs = self.evictable if pairs is None else pairs
        return [
            [
                sum(self.attention[head][row][pair] for head in range(kv * GROUP, (kv + 1) * GROUP) for row in rows)
                for pair in range(pairs)
            ]
            for kv in range(KV_HEADS)
        ]

    def block_logits(self) -> list[float]:
        first = self.masks[0] - PROMPT
        block = range(PROMPT + first // BLOCK * BLOCK, PROMPT + first // BLOCK * BLOCK + BLOCK)
        mean = [[sum(own[row][d] for row in block) / BLOCK for d in range(WIDTH)] for own in self.queries]
        heads = KV_HEADS * GROUP
        return [
            sum(dot(mean[head], self.keys[head // GROUP][pair]) for head in range(heads)) / heads
            for pair in range(self.evictable)
        ]

    def preference(self) -> list[float]:
        mass = self.votes(self.masks, PROMPT + RESPONSE)
        return [sum(own[:PROMPT]) / (sum(own[:PROMPT]) + sum(own[row] for row in self.masks)) for own in mass]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def neighbours(own: list[float], kernel: int) -> list[float]:
    half = kernel // 2
    return [max(own[max(0, j - half) : j + half + 1]) for j in range(len(own))]


def ranked(own: list[float], kernel: int = 1) -> list[tuple[float, float, int]]:
    """Give each position what it is sorted by: pooled, unpooled, position; the smallest is the best."""
    return [(-a, -b, j) for j, (a, b) in enumerate(zip(neighbours(own, kernel), own, strict=True))]


def scores(name: str, layer: SlowLayer) -> list[list[tuple[float, float, int]]]:
    prompt, every = list(range(PROMPT)), list(range(PROMPT + RESPONSE))
    if name in ("maskkv", "mask-voting"):
        return [ranked(own) for own in layer.votes(layer.masks)]
    if name in ("prompt-voting", "h2o"):
        return [ranked(own) for own in layer.votes(prompt if name == "prompt-voting" else every)]
    if name in ("snapkv", "pyramidkv", "squeezeattention", "adakv"):
        return [ranked(own, 7) for own in layer.votes(prompt[-32:])]
    if name == "streamingllm":
        order = [0, 1, 2, 3, *range(layer.evictable - 1, 3, -1)]
        return [[(float(order.index(j)), 0.0, j) for j in range(layer.evictable)]] * KV_HEADS
    if name == "knorm":
        return [[(dot(k, k), 0.0, j) for j, k in enumerate(own[: layer.evictable])] for own in layer.keys]
    assert name == "sparse-dllm"
    return [ranked(layer.block_logits(), 3)] * KV_HEADS


def layer_shares(name: str, budget: int, evictable: int) -> list[float]:
    if name == "maskkv":
        edges, middle = IMPORTANCE[0] + IMPORTANCE[-1], sum(IMPORTANCE[1:-1])
        even, rest = 0.4 / LAYERS, 0.6 / (edges + middle)
        return [even + rest * (edges / 2 if layer in (0, LAYERS - 1) else middle / 3) for layer in range(LAYERS)]
    if name == "pyramidkv":
        last, first = budget / 20, 2 * budget - budget / 20
        if first > evictable:
            last, first = 2 * budget - evictable, evictable
        ramp = [first + (last - first) * layer / (LAYERS - 1) for layer in range(LAYERS)]
        low, high = 0.0, 1.0  # how much those above one pair are lowered, by halving
        for _ in range(200):
            scale = (low + high) / 2
            low, high = (scale, high) if sum(max(1.0, scale * x) for x in ramp) < LAYERS * budget else (low, scale)
        return [max(1.0, high * x) for x in ramp]
    if name == "squeezeattention":
        best = min(product(range(3), repeat=LAYERS), key=spread)
        means = {group: mean([x for x, its in zip(IMPORTANCE, best, strict=True) if its == group]) for group in {*best}}
        least = [means[group] == min(means.values()) for group in best]
        return [0.4 if each else (LAYERS - 0.4 * sum(least)) / (LAYERS - sum(least)) for each in least]
    return [1.0] * LAYERS


def spread(groups: tuple[int, ...]) -> float:
    own = [[x for x, its in zip(IMPORTANCE, groups, strict=True) if its == group] for group in {*groups}]
    return sum((x - mean(values)) ** 2 for values in own for x in values)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def head_shares(name: str, layer: SlowLayer, ranks: list[list[tuple[float, float, int]]], pairs: int) -> list[float]:
    if name == "maskkv":
        own = layer.preference()
        return [0.1 / KV_HEADS + 0.9 * each / sum(own) for each in own]
    if name == "adakv":
        best = sorted((*rank, head) for head, own in enumerate(ranks) for rank in own)[:pairs]
        counts = [sum(head == kv for *_, head in best) for kv in range(KV_HEADS)]
        return [0.8 * count + 0.2 * pairs / KV_HEADS for count in counts]
    return [1.0] * KV_HEADS


RESTATED = [name for name in names() if name not in ("full", "none", "random")]


@pytest.mark.parametrize("logit_shift", [0, 1])
@pytest.mark.parametrize("budget", [3, 17, 45])
@pytest.mark.parametrize("name", RESTATED)
def test_keeps_the_same_pairs(name: str, budget: int, logit_shift: int) -> None:
    policy, evictable = named(name), PROMPT - logit_shift
    totals = policy.layer_pairs(
        budget, num_layers=LAYERS, kv_heads=KV_HEADS, evictable=evictable, importance=IMPORTANCE
    )
    exact = plain_allocate(layer_shares(name, budget, evictable), sum(totals), KV_HEADS * evictable)
    # A pair more or less where two layers' remainders are equal up to rounding.
    assert sum(totals) == budget * KV_HEADS * LAYERS
    assert all(abs(own - other) <= 1 for own, other in zip(totals, exact, strict=True))
    generator = torch.Generator().manual_seed(budget)
    queries = 2 * torch.randn(PROMPT + RESPONSE, KV_HEADS * GROUP, WIDTH, generator=generator)
    keys, values = torch.randn(2, PROMPT + RESPONSE, KV_HEADS, WIDTH, generator=generator)
    view = LayerView(
        layer=2,
        num_layers=LAYERS,
        keys=keys,
        values=values,
        queries=lambda span: queries[span],
        evictable=evictable,
        masked=torch.tensor(MASKED),
        block_length=BLOCK,
    )
    layer = SlowLayer(view, evictable)
    ranks = scores(name, layer)
    counts = plain_allocate(head_shares(name, layer, ranks, totals[2]), totals[2], evictable)
    expected = [sorted(j for *_, j in sorted(own)[:count]) for own, count in zip(ranks, counts, strict=True)]
    assert [own.nonzero().flatten().tolist() for own in keeping(policy, view, totals[2])] == expected
