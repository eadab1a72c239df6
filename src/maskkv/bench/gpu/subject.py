"""What is measured: a random model on a device, engines opened on it, and estimates of how long steps take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from maskkv.bench.gpu.clock import ceilings
from maskkv.bench.machine import Machine, moved_bytes
from maskkv.bench.shapes import random_model, random_tokens, shape
from maskkv.bench.timed import TimedStep, kind
from maskkv.cache import Extent, Refresh
from maskkv.decoding.engine import Engine
from maskkv.eviction.profile import LayerProfile
from maskkv.generation import Generation
from maskkv.models.config import ModelConfig
from maskkv.models.sizes import mlp_parameters
from maskkv.models.transformer import Transformer
from maskkv.plan import Shape, Workload
from maskkv.policies import named

Fields = dict[str, Any]

_SHARE = 0.4
"""Part of the measured rate of products that a pass is assumed to reach until one is timed."""


@dataclass(frozen=True)
class Setup:
    """Say what an engine is given: prompts of one length, all answered under one policy."""

    prompt_length: int
    generation: Generation
    policy: str = "maskkv"
    sequences: int = 1
    profiled: bool = True
    """Whether a layer profile is given."""
    graphs: bool = True
    kv_dtype: str = "auto"


@dataclass(eq=False)
class Subject:
    """Hold the model, made when first needed, the deadline, and the device's pace as measured so far."""

    shape: str
    dtype: torch.dtype
    device: torch.device
    unit: int
    gen_length: int
    sequences: int
    budget: int
    seconds: float
    start: float = field(default_factory=time.perf_counter)
    step_s: float = 0.02
    """About what a step between prompt refreshes takes."""
    none_s: dict[int, dict[str, float]] = field(default_factory=dict)
    """By prompt length: the seconds of responses without a cache."""
    _rate: float | None = None

    @cached_property
    def config(self) -> ModelConfig:
        """Return the model's shape."""
        return shape(self.shape)

    @cached_property
    def model(self) -> Transformer:
        """Draw the weights on the device, packed as those of a loaded model."""
        model = random_model(self.config, 0, self.dtype, self.device)
        model.pack_weights()
        return model

    @cached_property
    def machine(self) -> Machine:
        """Measure what the device can do."""
        return ceilings(self.device, self.dtype, self.unit)

    @property
    def on_cuda(self) -> bool:
        """Tell whether the device has CUDA's graphs, streams and counting allocator."""
        return self.device.type == "cuda"

    @property
    def left(self) -> float:
        """Return the seconds until the deadline."""
        return self.start + self.seconds - time.perf_counter()

    def skipped(self, needed: float) -> Fields:
        """Return what a record says of a measurement that no time is left for; nothing if these seconds are left."""
        left = self.left
        reason = f"needs about {needed:.1f} s, {max(0.0, left):.1f} s are left"
        return {} if needed <= left else {"skipped": reason}

    def generation(self, **changes: Any) -> Generation:
        """Return a schedule of one token a step and a single prompt refresh, with changes."""
        # An end token would make responses differ in length.
        return Generation(**{"gen_length": self.gen_length, "stop_at_eos": False, "one_pass": True} | changes)

    def open(self, setup: Setup) -> Engine:
        """Return an engine that is about to take the responses' first step."""
        even = (1.0,) * self.config.num_layers
        profile = LayerProfile("even", "", 1, setup.prompt_length, even, (0.0,) * len(even))
        engine = Engine(self.model, profile if setup.profiled else None, cuda_graphs=setup.graphs)
        for number in range(setup.sequences):
            prompt = random_prompt(self.config, setup.prompt_length, number)
            budget = self.budget_of(setup.policy)
            engine.add(prompt, setup.generation, named(setup.policy), budget, kv_dtype=setup.kv_dtype)
        return engine

    def budget_of(self, policy: str) -> int | None:
        """Return the budget of a policy that evicts, None for others."""
        return self.budget if named(policy).can_evict else None

    def planned(self, setup: Setup) -> int:
        """Return the peak that `maskkv plan` predicts, weights included."""
        policy = named(setup.policy)
        budget = self.budget_of(setup.policy)
        work = Workload(setup.prompt_length, setup.generation, policy, budget, setup.kv_dtype)
        return Shape.of(self.model).peak(work, setup.sequences)

    def floor_s(self, setup: Setup, refresh: Refresh | None, cache_bytes: int) -> float:
        """Return the least seconds of one sequence's step on this device."""
        whole = refresh in (None, Refresh.PROMPT)
        rows = setup.prompt_length + self.gen_length
        moved = moved_bytes(self.model, rows, 1, cache_bytes, whole=whole)
        return self.machine.floor(self._flops(setup, refresh), moved)

    def pass_s(self, prompt_length: int) -> float:
        """Estimate the seconds of a pass over everything."""
        rate = self._rate or _SHARE * self.machine.flops_per_s
        return self._flops(Setup(prompt_length, self.generation()), Refresh.PROMPT) / rate

    def learn(self, prompt_length: int, times: list[TimedStep]) -> None:
        """Correct the estimates by timed steps; the slowest pass so far counts."""
        for each in times:
            if each.kind == kind(Refresh.PROMPT):
                flops = self._flops(Setup(prompt_length, self.generation()), Refresh.PROMPT)
                self._rate = min(flops / each.seconds, self._rate or float("inf"))
        others = [each.seconds for each in times if each.kind == kind(Refresh.PARTIAL)]
        self.step_s = max(others, default=self.step_s)

    def _flops(self, setup: Setup, refresh: Refresh | None) -> int:
        config = self.config
        extent = Extent(setup.prompt_length, config.logit_shift, self.gen_length, setup.generation.block_length)
        pairs = named(setup.policy).layer_pairs(
            self.budget_of(setup.policy),
            num_layers=config.num_layers,
            kv_heads=config.num_kv_heads,
            evictable=extent.evictable,
            importance=(1.0,) * config.num_layers,
        )
        generation = setup.generation
        return step_flops(
            config,
            extent,
            refresh,
            layer_pairs=pairs,
            transfer_ratio=generation.transfer_ratio,
            candidates=generation.block_length,
        )


def random_prompt(config: ModelConfig, length: int, seed: int) -> list[int]:
    """Draw tokens that are not special."""
    return random_tokens(config, length, torch.Generator().manual_seed(seed))


def step_flops(
    config: ModelConfig,
    extent: Extent,
    refresh: Refresh | None,
    *,
    layer_pairs: Sequence[int],
    transfer_ratio: float,
    candidates: int,
) -> int:
    """Predict the operations of a step: 2 × rows × active parameters, attention over pairs, the candidates' logits.

    `layer_pairs` are the kept prompt pairs of each layer over all its KV heads (as `Policy.layer_pairs` returns
    them), which matter between prompt refreshes. `refresh` None is a step without a cache. The votes of a prompt
    refresh are left out: a share of about voters / rows.
    """
    whole = refresh in (None, Refresh.PROMPT)
    rows = extent.prompt_length + extent.gen_length if whole else extent.live
    flops = 2 * candidates * config.hidden_size * config.vocab_size
    for layer in range(config.num_layers):
        # Of the last layer, only the pairs of the prompt's rows are used.
        last = whole and layer == config.num_layers - 1
        # Layer 0 reads the embedding, which changes with every commit: it recomputes all its rows.
        partial = refresh is Refresh.PARTIAL and layer > 0
        fresh = int(extent.gen_length * transfer_ratio) if partial else extent.live if last else rows
        pairs = rows * config.num_kv_heads + (0 if whole else layer_pairs[layer])
        flops += _layer_flops(config, layer, rows, fresh, pairs)
        if last:
            flops += 2 * (rows - fresh) * config.hidden_size * config.num_kv_heads * config.head_dim
    return flops


def _layer_flops(config: ModelConfig, layer: int, rows: int, fresh: int, pairs: int) -> int:
    """Count a layer that projects the values of `rows`, and the rest of `fresh` rows that read `pairs` in all."""
    all_heads = config.num_heads * config.head_dim
    kv_heads = config.num_kv_heads * config.head_dim
    values = config.hidden_size * kv_heads
    others = config.hidden_size * (2 * all_heads + kv_heads) + mlp_parameters(config, layer, active=True)
    group = config.num_heads // config.num_kv_heads
    return 2 * (rows * values + fresh * others) + 4 * fresh * group * pairs * config.head_dim
