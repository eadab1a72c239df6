"""Tiny random models, and a slow restatement of dLLM-Cache and MaskKV to compare the engine with.

The restatement holds one vector per token in dictionaries and loops over tokens and heads; it packs, chunks and
folds nothing, shares no code with the package, rotates by complex numbers and computes in float64.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import torch
from torch import Tensor

from maskkv.eviction.recall import BlockVote, Recall
from maskkv.generation import Generation
from maskkv.models.config import Experts, Groups, ModelConfig
from maskkv.models.step_cache import StepCache
from maskkv.models.transformer import Transformer
from maskkv.ops.rope import Rotation
from tests.reference_sampler import shared_out

LLADA = ModelConfig(
    family="llada",
    hidden_size=32,
    num_layers=3,
    num_heads=4,
    num_kv_heads=4,
    head_dim=8,
    mlp_size=48,
    vocab_size=61,
    rope_theta=100.0,
    norm_eps=1e-5,
    qkv_bias=False,
    rope_dtype="float32",
    trained_length=4096,
    logit_shift=0,
    mask_id=60,
    eos_ids=(59, 58),
    pad_id=59,
    tied_head=False,
)
DREAM = replace(
    LLADA,
    family="dream",
    hidden_size=40,
    num_layers=4,
    num_heads=6,
    num_kv_heads=2,
    qkv_bias=True,
    rope_dtype="model",
    norm_eps=1e-6,
    logit_shift=1,
    mask_id=57,
)
QWEN3 = replace(LLADA, num_layers=2, num_kv_heads=2, head_dim=12, rope_dtype="model", qk_norm=True)
"""What families made of Qwen3 have: norms of queries and keys, and heads that do not add up to the stream's width."""
SDAR = replace(QWEN3, family="sdar", causal_block=4)
"""Block-causal; not among `CONFIGS`, since what others refresh it never does."""
A2D = replace(QWEN3, family="a2d_qwen3", norm_eps=1e-6, shares="rounded", thinking=False)
MOE = replace(
    QWEN3,
    num_layers=3,
    family="llada_moe",
    clip_qkv=1.5,
    rotary_dim=8,
    experts=Experts(layers=(0, 2), count=6, chosen=2, size=20, shared_size=12, bias=True),
)
"""A mixture of experts with all that LLaDA-MoE's config can ask for, between a dense layer."""
GROUPED = replace(
    MOE,
    family="llada2_moe",
    clip_qkv=None,
    experts=replace(MOE.experts, layers=(1, 2), count=8, chosen=3, groups=Groups(count=4, chosen=2, scale=2.5)),
)
"""LLaDA2 but for its attention: every row reads every row."""
CONFIGS = {"llada": LLADA, "dream": DREAM, "a2d_qwen3": A2D}

Pairs = tuple[Tensor, Tensor]
"""The keys and values of one KV head, a row each."""


class RecordingTransformer(Transformer):
    """Write down the hidden rows that logits are asked for."""

    def __init__(self, config: ModelConfig, chunk_rows: int = 1024) -> None:
        super().__init__(config, chunk_rows)
        self.asked: list[Tensor] = []
        self.rows_run: list[int] = []

    def forward(self, tokens: Tensor, rotation: Rotation, cache: StepCache) -> Tensor:
        self.rows_run.append(len(tokens))
        return super().forward(tokens, rotation, cache)

    def logits(self, hidden: Tensor) -> Tensor:
        self.asked.append(hidden.clone())
        return super().logits(hidden)


def random_model(config: ModelConfig, seed: int = 0, chunk_rows: int = 1024) -> RecordingTransformer:
    """Build a model whose heads look at different places and whose logits are far from ties."""
    model = RecordingTransformer(config, chunk_rows).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("norm.weight"):
            parameter.copy_(1 + 0.2 * noise)
        elif name.endswith("bias"):
            parameter.copy_(0.5 * noise)
        elif name == "embed.weight":
            parameter.copy_(noise)
        else:
            gain = 2.0 if "q_proj" in name or "k_proj" in name or "head" in name else 1.0
            parameter.copy_(gain * noise / math.sqrt(parameter.shape[1]))
    return model


def random_prompt(config: ModelConfig, length: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, min(config.mask_id, 57), (length,), generator=generator).tolist()


def plain_allocate(shares: Sequence[float], total: int, high: int) -> list[int]:
    """Split exactly, in fractions: clamp what overflows, share the rest again, then largest remainder."""
    exact = [Fraction(share) for share in shares]
    if not any(exact):
        exact = [Fraction(1) for _ in shares]
    fixed: dict[int, Fraction] = {}
    while True:
        left = total - sum(fixed.values())
        open_ = [i for i in range(len(exact)) if i not in fixed]
        weight = sum(exact[i] for i in open_)
        wanted = {i: left * exact[i] / weight if weight else Fraction(left, len(open_)) for i in open_}
        over = [i for i in open_ if wanted[i] > high]
        if not over:
            break
        fixed.update((i, Fraction(high)) for i in over)
    ideal = [{**fixed, **wanted}[i] for i in range(len(exact))]
    result = [math.floor(amount) for amount in ideal]
    order = sorted(range(len(ideal)), key=lambda i: (-(ideal[i] - result[i]), i))
    for i in order[: total - sum(result)]:
        result[i] += 1
    return result


@dataclass(frozen=True)
class SlowEviction:
    budget: int
    importance: tuple[float, ...] | None = None
    """None: measured on the prompt itself."""
    layer_base: float | None = 0.4
    """None: every layer the same."""
    head_base: float | None = 0.1
    """None: every head the same."""
    boundary_layers: int = 1
    revote: bool = True
    recall: Recall | BlockVote | None = None
    """How evicted pairs come back; None: never."""


@dataclass
class SlowLayerState:
    kept: list[list[int]] = field(default_factory=list)
    """Per KV head: the prompt rows whose pairs stay."""
    voted: list[list[int]] = field(default_factory=list)
    """What the latest vote chose."""
    prompt_keys: dict[int, Tensor] = field(default_factory=dict)
    prompt_values: dict[int, Tensor] = field(default_factory=dict)
    keys: dict[int, Tensor] = field(default_factory=dict)
    """Of the live rows, like the rest."""
    values: dict[int, Tensor] = field(default_factory=dict)
    attention: dict[int, Tensor] = field(default_factory=dict)
    mlp: dict[int, Tensor] = field(default_factory=dict)


class SlowModel:
    """The transformer, one vector at a time."""

    def __init__(self, model: Transformer, rope_scale: float = 1.0) -> None:
        self.config = model.config
        self.theta = model.config.rope_theta * rope_scale
        self.weights = {name: weight.double() for name, weight in model.named_parameters()}
        self.group = self.config.num_heads // self.config.num_kv_heads

    def embed(self, token: int) -> Tensor:
        return self.weights["embed.weight"][token]

    def norm(self, name: str, x: Tensor) -> Tensor:
        return x / (x.square().mean() + self.config.norm_eps).sqrt() * self.weights[f"{name}.weight"]

    def project(self, layer: int, kind: str, h: Tensor) -> Tensor:
        """Return one row per head."""
        name = f"layers.{layer}.{kind}_proj"
        out = self.weights[f"{name}.weight"] @ self.norm(f"layers.{layer}.attn_norm", h)
        if self.config.qkv_bias:
            out = out + self.weights[f"{name}.bias"]
        heads = out.view(-1, self.config.head_dim)
        if self.config.qk_norm and kind != "v":
            heads = torch.stack([self.norm(f"layers.{layer}.{kind}_norm", head) for head in heads])
        limit = math.inf if self.config.clip_qkv is None else self.config.clip_qkv
        return heads.clamp(-limit, limit)

    def rotate(self, heads: Tensor, position: int) -> Tensor:
        half = self.config.rotated // 2
        turn = torch.tensor([cmath.exp(1j * position * self.theta ** (-j / half)) for j in range(half)])
        turned = torch.complex(heads[:, :half], heads[:, half : 2 * half]) * turn.to(torch.complex128)
        return torch.cat((turned.real, turned.imag, heads[:, 2 * half :]), dim=1)

    def read(self, queries: Tensor, pairs: list[Pairs]) -> tuple[Tensor, list[Tensor]]:
        """Return what a row reads from each KV head's pairs, and its attention per query head."""
        out, attention = [], []
        for head, query in enumerate(queries):
            keys, values = pairs[head // self.group]
            weights = (keys @ query / math.sqrt(self.config.head_dim)).exp()
            attention.append(weights / weights.sum())
            out.append(attention[-1] @ values)
        return torch.cat(out), attention

    def attention_output(self, layer: int, read: Tensor) -> Tensor:
        return self.weights[f"layers.{layer}.o_proj.weight"] @ read

    def mlp_output(self, layer: int, h: Tensor) -> Tensor:
        x = self.norm(f"layers.{layer}.mlp_norm", h)
        experts, name = self.config.experts, f"layers.{layer}.mlp"
        if experts is None or layer not in experts.layers:
            return self.gated(name, x)
        scores, bias = self.weights[f"{name}.router.weight"] @ x, self.weights.get(f"{name}.expert_bias", 0)
        if experts.groups is None:
            given = (scores.softmax(0) + bias).tolist()
            best = sorted(range(experts.count), key=lambda expert: -given[expert])[: experts.chosen]
        else:
            best = self.best_in_groups((scores.sigmoid() + bias).tolist(), experts)
            several = sum(float(scores[expert].sigmoid()) for expert in best) if experts.chosen > 1 else 1
            given = (scores.sigmoid() * experts.groups.scale / several).tolist()
        out = sum((given[expert] * self.gated(f"{name}.experts.{expert}", x) for expert in best), torch.zeros_like(x))
        return out + self.gated(f"{name}.shared", x) if experts.shared_size else out

    @staticmethod
    def best_in_groups(wanted: list[float], experts: Experts) -> list[int]:
        size = experts.count // experts.groups.count
        groups = [range(first, first + size) for first in range(0, experts.count, size)]
        groups.sort(key=lambda group: -sum(sorted(wanted[expert] for expert in group)[-2:]))
        open_ = [expert for group in groups[: experts.groups.chosen] for expert in group]
        return sorted(open_, key=lambda expert: -wanted[expert])[: experts.chosen]

    def gated(self, name: str, x: Tensor) -> Tensor:
        gate, up = (self.weights[f"{name}.{each}_proj.weight"] @ x for each in ("gate", "up"))
        return self.weights[f"{name}.down_proj.weight"] @ (gate * gate.sigmoid() * up)

    def logits(self, h: Tensor) -> Tensor:
        return self.weights["head.weight"] @ self.norm("norm", h)

    def run(self, tokens: Sequence[int]) -> tuple[list[Tensor], list[float]]:
        """Run all rows without a cache; return the last hidden rows and each layer's importance."""
        h = [self.embed(token) for token in tokens]
        importance = []
        for layer in range(self.config.num_layers):
            keys = [self.rotate(self.project(layer, "k", x), i) for i, x in enumerate(h)]
            values = [self.project(layer, "v", x) for x in h]
            pairs = [stacked(keys, values, head) for head in range(self.config.num_kv_heads)]
            after = []
            for i, x in enumerate(h):
                read, _ = self.read(self.rotate(self.project(layer, "q", x), i), pairs)
                after.append(x + self.attention_output(layer, read))
            cosines = [cosine(x, y) for x, y in zip(h, after, strict=True)]
            importance.append(1 - sum(cosines) / len(cosines))
            h = [x + self.mlp_output(layer, x) for x in after]
        return h, importance


def stacked(keys: Sequence[Tensor], values: Sequence[Tensor], head: int) -> Pairs:
    """Lay the pairs of one head below each other."""
    return torch.stack([row[head] for row in keys]), torch.stack([row[head] for row in values])


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


class SlowBranch:
    """dLLM-Cache with eviction, over one prompt."""

    def __init__(
        self,
        model: SlowModel,
        prompt_length: int,
        generation: Generation,
        eviction: SlowEviction | None,
        importance: Sequence[float] | None,
    ) -> None:
        self.model = model
        self.first_live = prompt_length - model.config.logit_shift
        self.prompt_length = prompt_length
        self.end = prompt_length + generation.gen_length
        self.generation = generation
        self.eviction = eviction
        self.importance = importance
        self.layers = [SlowLayerState() for _ in range(model.config.num_layers)]
        self.since = 0
        """Steps since the prompt was read."""

    def step(self, tokens: Sequence[int], masked: set[int], index: int) -> dict[int, Tensor]:
        """Return the last hidden rows of the live rows; `masked` are rows of the canvas."""
        self.since = 0 if index % self.generation.prompt_interval == 0 else self.since + 1
        if self.since == 0:
            return self._prompt_refresh(tokens, masked)
        refresh = index % self.generation.response_interval == 0
        live = range(self.first_live, self.end)
        h = {row: self.model.embed(tokens[row]) for row in live}
        for layer in range(len(self.layers)):
            self._live_layer(layer, h, masked, everything=refresh or layer == 0)
        return h

    def _live_layer(self, layer: int, h: dict[int, Tensor], masked: set[int], everything: bool) -> None:
        model, state, ratio = self.model, self.layers[layer], self.generation.transfer_ratio
        if everything or ratio > 0:
            values = {row: model.project(layer, "v", x) for row, x in h.items()}
            moved = {row: cosine(values[row].flatten(), state.values[row].flatten()) for row in h}
            count = len(h) if everything else int(len(h) * ratio)
            fresh = sorted(h, key=lambda row: (moved[row], row))[:count]
            if everything:
                fresh = list(h)
            state.values = values
        else:
            fresh = []
        for row in fresh:
            state.keys[row] = model.rotate(model.project(layer, "k", h[row]), row)
        recall = None if self.eviction is None else self.eviction.recall
        if recall is not None and self.since % recall.recall_interval == 0:
            voters = [row for row in fresh if recall.recall_voters == "fresh" or row in masked]
            state.kept = self._recalled(layer, state, voters, h, recall.recall_tally)
        pairs = []
        for head, rows in enumerate(state.kept):
            keys = [state.prompt_keys[row] for row in rows] + [state.keys[row] for row in h]
            values = [state.prompt_values[row] for row in rows] + [state.values[row] for row in h]
            pairs.append(stacked(keys, values, head))
        for row in fresh:
            read, _ = model.read(model.rotate(model.project(layer, "q", h[row]), row), pairs)
            state.attention[row] = model.attention_output(layer, read)
            state.mlp[row] = model.mlp_output(layer, h[row] + state.attention[row])
        for row in h:
            h[row] = h[row] + state.attention[row] + state.mlp[row]

    def _recalled(
        self, layer: int, state: SlowLayerState, voters: Sequence[int], h: dict[int, Tensor], tally: str
    ) -> list[list[int]]:
        """Return what each head keeps once the voters have chosen among all prompt pairs, as many as before."""
        model, everything = self.model, list(range(self.first_live))
        if not voters:
            return state.kept
        votes: list[list[list[float]]] = [[[] for _ in everything] for _ in state.kept]
        for voter in voters:
            queries = model.rotate(model.project(layer, "q", h[voter]), voter)
            for query_head, query in enumerate(queries):
                head = query_head // model.group
                keys = [state.prompt_keys[row][head] for row in everything] + [state.keys[row][head] for row in h]
                weights = (torch.stack(keys) @ query / math.sqrt(model.config.head_dim)).softmax(0)
                for row in everything:
                    votes[head][row].append(float(weights[row]))
        count = {"max": max, "sum": sum}[tally]
        return [
            sorted(sorted(everything, key=lambda row: (-count(own[row]), row))[: len(kept)])
            for own, kept in zip(votes, state.kept, strict=True)
        ]

    def _prompt_refresh(self, tokens: Sequence[int], masked: set[int]) -> dict[int, Tensor]:
        model = self.model
        h = {row: model.embed(tokens[row]) for row in range(self.end)}
        for layer, state in enumerate(self.layers):
            keys = {row: model.rotate(model.project(layer, "k", x), row) for row, x in h.items()}
            values = {row: model.project(layer, "v", x) for row, x in h.items()}
            pairs = [stacked(list(keys.values()), list(values.values()), head) for head in range(len(keys[0]))]
            attention = {}
            for row, x in h.items():
                read, attention[row] = model.read(model.rotate(model.project(layer, "q", x), row), pairs)
                out = model.attention_output(layer, read)
                mlp = model.mlp_output(layer, x + out)
                h[row] = x + out + mlp
                if row >= self.first_live:
                    state.keys[row], state.values[row] = keys[row], values[row]
                    state.attention[row], state.mlp[row] = out, mlp
            if not state.voted or self.eviction is None or self.eviction.revote:
                state.voted = self._choose(layer, attention, masked)
            state.kept = state.voted
            state.prompt_keys = {row: keys[row] for row in range(self.first_live)}
            state.prompt_values = {row: values[row] for row in range(self.first_live)}
        return {row: h[row] for row in range(self.first_live, self.end)}

    def _choose(self, layer: int, attention: dict[int, list[Tensor]], masked: set[int]) -> list[list[int]]:
        kv_heads, evictable, eviction = self.model.config.num_kv_heads, self.first_live, self.eviction
        if eviction is None or eviction.budget >= evictable:
            return [list(range(evictable)) for _ in range(kv_heads)]
        total = self._layer_totals(eviction)[layer]
        votes = [[0.0] * self.end for _ in range(kv_heads)]
        for voter in masked:
            for head, weights in enumerate(attention[voter]):
                for row, weight in enumerate(weights.tolist()):
                    votes[head // self.model.group][row] += weight
        shares = [1.0] * kv_heads
        if eviction.head_base is not None:
            preference = []
            for own in votes:
                to_prompt, to_masks = sum(own[: self.prompt_length]), sum(own[row] for row in masked)
                preference.append(to_prompt / (to_prompt + to_masks))
            mean = total / kv_heads
            shares = [
                eviction.head_base * mean + (1 - eviction.head_base) * kv_heads * mean * part / sum(preference)
                for part in preference
            ]
        counts = plain_allocate(shares, total, evictable)
        return [
            sorted(sorted(range(evictable), key=lambda row: (-own[row], row))[:count])
            for own, count in zip(votes, counts, strict=True)
        ]

    def _layer_totals(self, eviction: SlowEviction) -> list[int]:
        layers, kv_heads = self.model.config.num_layers, self.model.config.num_kv_heads
        total = eviction.budget * kv_heads * layers
        if eviction.layer_base is None:
            return [eviction.budget * kv_heads] * layers
        assert self.importance is not None
        edges = [i for i in range(layers) if i < eviction.boundary_layers or i >= layers - eviction.boundary_layers]
        middle = [i for i in range(layers) if i not in edges]
        sums = [sum(self.importance[i] for i in group) for group in (edges, middle)]
        shares = [0.0] * layers
        for group, own in zip((edges, middle), sums, strict=True):
            for i in group:
                base = eviction.layer_base * total / layers
                shares[i] = base + (1 - eviction.layer_base) * total * own / sum(sums) / len(group)
        return plain_allocate(shares, total, kv_heads * self.first_live)


@dataclass(frozen=True)
class SlowStep:
    hidden: list[Tensor]
    """Per branch: the rows that the candidates' logits are read from."""
    positions: tuple[int, ...]
    tokens: tuple[int, ...]
    confidences: tuple[float, ...]
    kept: list[list[list[int]]]


def slow_run(
    model: Transformer,
    prompt: Sequence[int],
    generation: Generation,
    eviction: SlowEviction | None = None,
    rope_scale: float = 1.0,
    cached: bool = True,
) -> list[SlowStep]:
    """Generate greedily with LLaDA's sampler until nothing is masked."""
    slow, config, P = SlowModel(model, rope_scale), model.config, len(prompt)
    end = P + generation.gen_length
    canvas = [*prompt, *[config.mask_id] * generation.gen_length]
    masked = set(range(P, end))
    importance = eviction.importance if eviction else None
    if eviction and importance is None:
        importance = slow.run(canvas)[1]
    prompts = [list(prompt), [config.mask_id] * P][: 2 if generation.cfg_scale else 1]
    branches = [SlowBranch(slow, P, generation, eviction, importance) for _ in prompts]
    steps: list[SlowStep] = []
    current, shares = -1, [0]
    while masked:
        block = (min(masked) - P) // generation.block_length
        stop = P + (block + 1) * generation.block_length
        candidates = [row for row in sorted(masked) if row < stop]
        seen = []
        for own, branch in zip(prompts, branches, strict=True):
            tokens = own + canvas[P:]
            h = branch.step(tokens, masked, len(steps)) if cached else dict(enumerate(slow.run(tokens)[0]))
            seen.append([h[row - config.logit_shift] for row in candidates])
        logits = [[slow.logits(x) for x in rows] for rows in seen]
        guided = logits[0]
        if generation.cfg_scale:
            guided = [un + (generation.cfg_scale + 1) * (c - un) for c, un in zip(*logits, strict=True)]
        proposals = []
        for row, own in zip(candidates, guided, strict=True):
            own[config.mask_id] = -math.inf
            proposals.append((-float(own.softmax(0).max()), row, int(own.argmax())))
        if block != current:
            current, shares = block, shared_out(len(candidates), generation, config.shares)
        chosen = sorted(sorted(proposals)[: shares.pop(0)], key=lambda proposal: proposal[1])
        for _, row, token in chosen:
            canvas[row] = token
            masked.discard(row)
        steps.append(
            SlowStep(
                [torch.stack(rows) for rows in seen],
                tuple(row - P for _, row, _ in chosen),
                tuple(token for _, _, token in chosen),
                tuple(-confidence for confidence, _, _ in chosen),
                [state.kept for state in branches[0].layers],
            )
        )
    return steps
