"""What a step computes is what its live rows, kept pairs and candidates account for, and no more."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from maskkv.bench.flops import SegmentFlops, count_flops
from maskkv.bench.gpu.subject import step_flops
from maskkv.bench.shapes import random_model, shape
from maskkv.cache import Extent, Refresh
from maskkv.decoding.engine import Engine
from maskkv.generation import Generation
from maskkv.models.config import Experts, Groups, ModelConfig
from maskkv.policies import named

TINY = shape("tiny")
EXTENT = Extent(prompt_length=192, logit_shift=0, gen_length=16)
GENERATION = Generation(gen_length=16, block_length=4, response_interval=2, prompt_interval=4, stop_at_eos=False)
BUDGET = 12


def counted(config: ModelConfig, policy: str, budget: int | None, steps: int) -> list[tuple[Refresh | None, int]]:
    engine = Engine(random_model(config, seed=0))
    engine.add([token % 60 for token in range(EXTENT.prompt_length)], GENERATION, named(policy), budget)
    found = []
    for _ in range(steps):
        done = []
        flops = count_flops(lambda done=done: done.extend(engine.step()))
        found.append((done[0].refresh, flops))
    return found


def predicted(config: ModelConfig, refresh: Refresh | None, candidates: int, kept: int) -> int:
    pairs = [kept * config.num_kv_heads] * config.num_layers
    extent = replace(EXTENT, logit_shift=config.logit_shift)
    return step_flops(
        config, extent, refresh, layer_pairs=pairs, transfer_ratio=GENERATION.transfer_ratio, candidates=candidates
    )


def test_the_fused_attention_of_the_cpu_counts() -> None:
    q, k, v = torch.rand(2, 3, 5, 8), torch.rand(2, 3, 7, 8), torch.rand(2, 3, 7, 8)
    with torch.inference_mode():
        flops = count_flops(lambda: F.scaled_dot_product_attention(q, k, v))
    assert flops == 2 * (2 * 3) * (5 * 7 * 8) * 2


@pytest.mark.parametrize(("kv_heads", "logit_shift"), [(4, 0), (2, 0), (2, 1)])
def test_maskkv_costs_its_live_rows_and_kept_pairs(kv_heads: int, logit_shift: int) -> None:
    config = replace(TINY, num_kv_heads=kv_heads, logit_shift=logit_shift)
    kinds = [Refresh.PROMPT, Refresh.PARTIAL, Refresh.RESPONSE, Refresh.PARTIAL, Refresh.PROMPT]
    steps = counted(config, "maskkv", BUDGET, steps=5)
    assert [refresh for refresh, _ in steps] == kinds
    # In the first prompt refresh all rows of the last layer attend, for its importance.
    for index, (refresh, flops) in list(enumerate(steps))[1:]:
        # Blocks of 4, one token a step: 4, 3, 2, 1, then the next block.
        expected = predicted(config, refresh, candidates=4 - index % 4, kept=BUDGET)
        assert flops == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_without_eviction_the_prediction_is_exact(kv_heads: int) -> None:
    config = replace(TINY, num_kv_heads=kv_heads)
    full = counted(config, "full", None, steps=3)
    assert [flops for _, flops in full] == [
        predicted(config, refresh, candidates=4 - index, kept=EXTENT.prompt_length)
        for index, (refresh, _) in enumerate(full)
    ]
    assert counted(config, "none", None, steps=1) == [(None, predicted(config, None, candidates=4, kept=0))]


@pytest.mark.parametrize(("count", "groups"), [(5, None), (6, Groups(3, 2, 2.5))])
def test_of_experts_those_count_that_a_row_is_sent_to(count: int, groups: Groups | None) -> None:
    experts = Experts(layers=(1,), count=count, chosen=2, size=24, shared_size=8, groups=groups)
    config = replace(TINY, family="llada_moe", experts=experts)
    full = counted(config, "full", None, steps=3)
    assert [flops for _, flops in full] == [
        predicted(config, refresh, candidates=4 - index, kept=EXTENT.prompt_length)
        for index, (refresh, _) in enumerate(full)
    ]


def test_a_layer_by_hand() -> None:
    config = replace(
        TINY, num_layers=1, hidden_size=2, num_heads=2, num_kv_heads=1, head_dim=1, mlp_size=3, vocab_size=5
    )
    extent = Extent(prompt_length=10, logit_shift=0, gen_length=4)
    flops = step_flops(config, extent, Refresh.RESPONSE, layer_pairs=[6], transfer_ratio=0.25, candidates=1)
    # q 2×2, k 2×1, v 2×1, o 2×2, MLP 3 × 2×3 weights; 4 rows of 2 heads read 6 + 4 pairs; one row of logits.
    assert flops == 2 * 4 * (4 + 2 + 2 + 4 + 18) + 4 * (4 * 2) * (6 + 4) * 1 + 2 * 2 * 5


def test_variable_length_attention_counts_each_segments_rows_times_its_pairs() -> None:
    # 2 rows read 5 pairs, 3 rows read 1 pair; 4 heads of 8 numbers; a product and a sum each, for scores and values.
    queries, keys = torch.empty(5, 4, 8), torch.empty(6, 4, 8)
    rows, pairs = torch.tensor([0, 2, 5], dtype=torch.int32), torch.tensor([0, 5, 6], dtype=torch.int32)
    assert SegmentFlops()(queries, keys, keys, rows, pairs, 3, 5) == 4 * 4 * 8 * (2 * 5 + 3 * 1)
    assert SegmentFlops()(queries, queries, queries, rows, None, 3, 3) == 4 * 4 * 8 * (2 * 2 + 3 * 3)


def test_variable_length_attention_is_counted_where_it_is_called() -> None:
    @torch.library.impl("torch_attn::_varlen_attn", "CPU", lib=(library := torch.library.Library("torch_attn", "IMPL")))
    def kernel(query: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor, Tensor]:
        return query.clone(), query.new_empty(0), query.new_empty(0)

    queries, keys = torch.empty(5, 4, 8), torch.empty(6, 4, 8)
    rows, pairs = torch.tensor([0, 2, 5], dtype=torch.int32), torch.tensor([0, 5, 6], dtype=torch.int32)
    with torch.inference_mode():
        flops = count_flops(lambda: torch.ops.torch_attn._varlen_attn(queries, keys, keys, rows, pairs, 3, 5))
    library._destroy()
    assert flops == 4 * 4 * 8 * (2 * 5 + 3 * 1)
