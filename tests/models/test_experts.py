"""Mixtures of experts, against a loop over rows and experts, `transformers`' Qwen3-MoE, and the slow restatement."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.cache.test_restatement import assert_engine_agrees, schedule
from tests.emulated import moved, pretended
from tests.reference import CONFIGS, MOE, SlowEviction, SlowModel, random_model, random_prompt
from tests.saved_models import TINY, both_ways, published, reference, write, write_tiny
from torch import Tensor

from maskkv.bench.gpu.model_checks import live_rows
from maskkv.cache import NoCache
from maskkv.checkpoints import quantizing, weights
from maskkv.decoding.engine import Engine
from maskkv.errors import CheckpointError
from maskkv.generation import Generation
from maskkv.models import sizes
from maskkv.models.config import Experts
from maskkv.models.experts import ExpertsMLP, by_softmax
from maskkv.models.mlp import GatedMLP
from maskkv.models.transformer import Transformer
from maskkv.ops.linear import PackedLinear, can_pack
from maskkv.policies import named

WIDE = replace(MOE, experts=replace(MOE.experts, size=16, shared_size=16))
"""Sizes of which a CPU's vectors take a whole number, as they do of all published ones: else SiLU rounds the last few
numbers of all rows in another way."""

TOKENS = torch.randint(0, 60, (37,), generator=torch.Generator().manual_seed(5))


def drawn(hidden: int, experts: Experts, seed: int, scores: str = "integers") -> tuple[ExpertsMLP, torch.Generator]:
    """Make an MLP whose scores are whole numbers: the same in any order of summing, and often equal."""
    generator = torch.Generator().manual_seed(seed)
    mlp = ExpertsMLP(hidden, experts).requires_grad_(False)
    for name, parameter in mlp.named_parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.1 if name == "expert_bias" else 1))
    mlp.router.weight.copy_(torch.randint(-1, 2, mlp.router.weight.shape, generator=generator))
    if scores == "equal":
        mlp.router.weight.zero_()
    if scores == "one":  # Rows are positive: the last expert has the highest score of all.
        mlp.router.weight.zero_()[-1] = 1
    if scores == "nobody's":
        mlp.router.weight.clamp_(min=0)[0] = -1
    return mlp, generator


def rows_of(hidden: int, rows: int, generator: torch.Generator) -> Tensor:
    return torch.randint(1, 4, (rows, hidden), generator=generator).float()


def gated(mlp: Any, row: Tensor) -> Tensor:
    return F.silu(row @ mlp.gate_proj.weight.T) * (row @ mlp.up_proj.weight.T) @ mlp.down_proj.weight.T


def by_loop(mlp: ExpertsMLP, rows: Tensor, chosen: int) -> tuple[list[list[int]], Tensor]:
    """Return the experts of each row, and the output, one row and one expert at a time."""
    asked, outputs = [], []
    for row in rows:
        given_ = torch.softmax(row @ mlp.router.weight.T, dim=0)
        given_ = given_ if mlp.expert_bias is None else given_ + mlp.expert_bias
        best = sorted(range(len(given_)), key=lambda expert: (-float(given_[expert]), expert))[:chosen]
        output = torch.zeros_like(row)
        for expert in sorted(best):
            output = output + given_[expert] * gated(mlp.experts[str(expert)], row)
        asked.append(best)
        outputs.append(output if mlp.shared is None else output + gated(mlp.shared, row))
    return asked, torch.stack(outputs)


@given(st.data())
def test_the_mlp_is_a_loop_over_rows_and_experts(data: st.DataObject) -> None:
    count, hidden = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 10))
    chosen, shared = data.draw(st.integers(1, count)), data.draw(st.sampled_from([0, 5]))
    experts = Experts((0,), count, chosen, data.draw(st.integers(1, 8)), shared, data.draw(st.booleans()))
    scores = data.draw(st.sampled_from(["integers", "equal", "one", "nobody's"]))
    mlp, generator = drawn(hidden, experts, data.draw(st.integers(0, 2**20)), scores)
    x = rows_of(hidden, data.draw(st.integers(1, 12)), generator)
    asked, expected = by_loop(mlp, x, chosen)
    routed = by_softmax(x, mlp.router, mlp.expert_bias, chosen)
    assert routed.experts.tolist() == asked
    torch.testing.assert_close(mlp(x), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("scores", "asked"),
    [
        ("equal", [[0, 1, 2]] * 5),  # of equals the first
        ("one", [[6, 0, 1]] * 5),
    ],
)
def test_where_rows_are_sent_by_hand(scores: str, asked: list[list[int]]) -> None:
    mlp, generator = drawn(8, Experts((0,), count=7, chosen=3, size=5), 3, scores)
    found = by_softmax(rows_of(8, 5, generator), mlp.router, None, 3)
    assert found.experts.tolist() == asked
    if scores == "equal":
        assert torch.equal(found.weights, torch.full((5, 3), 1 / 7)), "weights are not made to add up to one"


def test_experts_that_nobody_is_sent_to_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    mlp, generator = drawn(8, Experts((0,), count=7, chosen=1, size=5), 3, "one")
    read: list[tuple[int, int]] = []
    numbers = {id(expert): number for number, expert in enumerate(mlp.experts.values())}
    own = GatedMLP.forward

    def forward(self: GatedMLP, x: Tensor) -> Tensor:
        read.append((numbers[id(self)], len(x)))
        return own(self, x)

    monkeypatch.setattr(GatedMLP, "forward", forward)
    mlp(rows_of(8, 5, generator))
    assert read == [(6, 5)]


def packed(config: Any, seed: int = 0) -> Transformer:
    """Make a model with the matrices laid out as those of a model that is loaded."""
    model = random_model(config, seed)
    if not can_pack(model.head.weight):
        pytest.skip("this CPU has no products whose rows do not depend on each other")
    model.pack_weights()
    assert isinstance(model.layers[0].mlp.router, PackedLinear)
    return model


@given(st.integers(0, 2**20), st.integers(1, 40))
def test_what_a_row_becomes_does_not_depend_on_the_others(seed: int, rows: int) -> None:
    """To the last bit: in any order, and alone."""
    mlp, generator = packed(WIDE).layers[0].mlp, torch.Generator().manual_seed(seed)
    x = torch.randn(rows, MOE.hidden_size, generator=generator)
    order = torch.randperm(rows, generator=generator)
    with torch.inference_mode():
        whole = mlp(x)
        assert torch.equal(mlp(x[order]), whole[order])
        assert all(torch.equal(mlp(x[row : row + 1])[0], whole[row]) for row in range(rows))


def test_bf16_is_rounded_as_in_qwen3_moe(tmp_path: Path) -> None:
    """Where both choose the same experts: in bf16 scores are often equal, and which of these is taken is open."""
    theirs = reference("llada_moe", scale=0.3).bfloat16()
    folder = write(tmp_path, TINY["llada_moe"], published("llada_moe", theirs))
    mlp: Any = weights.load(folder, device="cpu", dtype="bfloat16").layers[1].mlp
    x = torch.randn(200, 32, generator=torch.Generator().manual_seed(1)).bfloat16()
    with torch.inference_mode():
        _, their_weights, their_experts = theirs.model.layers[1].mlp.gate(x)
        routed = by_softmax(x, mlp.router, None, 3)
        same = (routed.experts == their_experts).all(1)
        assert same.sum() > 150
        assert torch.equal(routed.weights[same], their_weights[same])
        assert routed.weights.dtype == torch.bfloat16
        assert torch.equal(mlp(x)[same], theirs.model.layers[1].mlp(x[None])[0][same])


def logits(model: Transformer) -> Tensor:
    with torch.inference_mode():
        return model.logits(model(TOKENS, model.rotation(torch.arange(len(TOKENS))), NoCache()))


def changed(folder: Path, tensors: dict[str, Tensor] | None = None, **fields: object) -> Transformer:
    theirs = published("llada_moe", reference("llada_moe")) | (tensors or {})
    return weights.load(write(folder, TINY["llada_moe"] | fields, theirs), device="cpu")


def test_a_shared_expert_and_a_bias_are_read(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = {"gate": (10, 32), "up": (10, 32), "down": (32, 10)}
    more = {
        f"model.layers.1.shared_expert.{name}_proj.weight": torch.randn(shape, generator=generator)
        for name, shape in shapes.items()
    } | {"model.layers.1.mlp.expert_bias": torch.randn(7, generator=generator)}
    model = changed(tmp_path, more, shared_expert_intermediate_size=10, moe_router_enable_expert_bias=True)
    mlp: Any = model.layers[1].mlp
    x = torch.randn(20, 32, generator=generator)
    assert torch.equal(mlp.expert_bias, more["model.layers.1.mlp.expert_bias"])
    with torch.inference_mode():
        torch.testing.assert_close(mlp(x), by_loop(mlp, x, 3)[1], atol=1e-5, rtol=1e-4)
    assert model.state_dict().keys().isdisjoint({"layers.0.mlp.shared.gate_proj.weight", "layers.0.mlp.expert_bias"})


@pytest.mark.parametrize("fields", [{"clip_qkv": 0.5}, {"partial_rotary_factor": 0.5}])
def test_what_others_have_no_switch_for_agrees_with_the_restatement(fields: dict[str, Any], tmp_path: Path) -> None:
    model = changed(tmp_path, **fields)
    slow = SlowModel(model)
    expected = torch.stack([slow.logits(row) for row in slow.run(TOKENS.tolist())[0]])
    torch.testing.assert_close(logits(model).double(), expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits(model), both_ways(reference("llada_moe"), TOKENS), atol=1e-2)


def test_without_norms_of_queries_and_keys(tmp_path: Path) -> None:
    tensors = published("llada_moe", reference("llada_moe"))
    plain = {name: each for name, each in tensors.items() if not name.endswith(("q_norm.weight", "k_norm.weight"))}
    model = weights.load(write(tmp_path, TINY["llada_moe"] | {"qk_layernorm": False}, plain), device="cpu")
    slow = SlowModel(model)
    expected = torch.stack([slow.logits(row) for row in slow.run(TOKENS.tolist())[0]])
    torch.testing.assert_close(logits(model).double(), expected, atol=1e-4, rtol=1e-4)


def test_the_restatement_agrees_with_all_of_it() -> None:
    model = random_model(MOE)
    slow = SlowModel(model)
    expected = torch.stack([slow.logits(row) for row in slow.run(TOKENS.tolist())[0]])
    for chunk_rows in (1024, 37, 5):
        model._chunk_rows = chunk_rows
        torch.testing.assert_close(logits(model).double(), expected, atol=1e-4, rtol=1e-4)
    for layer in model.layers:
        layer.join_projections()
    torch.testing.assert_close(logits(model).double(), expected, atol=1e-4, rtol=1e-4)
    cached, everything = live_rows(random_model(MOE), 30)
    torch.testing.assert_close(cached, everything, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("policy", ["full", "maskkv"])
def test_the_engine_evicts_as_the_restatement(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONFIGS, "llada_moe", MOE)
    eviction = None if policy == "full" else SlowEviction(5)
    assert_engine_agrees("llada_moe", schedule(6, 3, 0.25), named(policy), eviction)


def responses(model: Transformer, asked: Sequence[tuple[list[int], str, int | None]]) -> list[list[int]]:
    engine = Engine(model)
    generation = Generation(gen_length=16, prompt_interval=6, response_interval=3, stop_at_eos=False)
    numbers = [engine.add(prompt, generation, named(policy), budget) for prompt, policy, budget in asked]
    while engine.step():
        pass
    return [engine[number].response() for number in numbers]


def test_the_whole_prompt_as_budget_is_no_eviction_and_mates_do_not_matter() -> None:
    model = packed(WIDE, 2)
    prompts = [random_prompt(MOE, length, length) for length in (30, 21, 9)]
    whole = [(prompts[0], policy, budget) for policy, budget in (("full", None), ("maskkv", 30), ("snapkv", 30))]
    full, maskkv, snapkv = (responses(model, [each])[0] for each in whole)
    assert full == maskkv == snapkv
    assert len(set(full)) > 4
    asked = [*whole, *((prompt, policy, 4) for prompt in prompts for policy in ("maskkv", "snapkv"))]
    alone = [responses(model, [each])[0] for each in asked]
    assert responses(model, asked) == alone
    assert any(own != full for own in alone[3:5]), "a small budget is to matter"


def test_on_a_device_nothing_is_captured_and_nothing_mixes() -> None:
    """How many rows an expert gets is asked by the host."""
    asked = [(random_prompt(MOE, 20), "maskkv", 3), (random_prompt(MOE, 13), "full", None)]
    expected = responses(random_model(MOE), asked)
    with pretended() as counts:
        assert responses(moved(random_model(MOE)), asked) == expected
    assert not counts.mixed
    assert not counts.graphs


def test_an_expert_that_is_missing_or_mis_shaped_is_named(tmp_path: Path) -> None:
    name = "model.layers.1.mlp.experts.3.up_proj.weight"
    tensors = published("llada_moe", reference("llada_moe"))
    for broken, said in (
        ({key: each for key, each in tensors.items() if key != name}, f"it misses 1: {name}"),
        (tensors | {name: tensors[name][:-1].clone()}, f"{name} has shape [11, 32], expected [12, 32]"),
        (tensors | {name.replace(".3.", ".7."): tensors[name].clone()}, f"too many: {name.replace('.3.', '.7.')}"),
    ):
        for shards in (1, 3):
            folder = write(tmp_path / f"{shards}", TINY["llada_moe"], broken, shards)
            with pytest.raises(CheckpointError) as refusal:
                weights.load(folder, device="cpu")
            assert said in str(refusal.value)
            assert "\n" not in str(refusal.value)


def test_in_8_bits_rows_are_sent_to_the_same_experts(tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    exact, stored = (weights.load(write_tiny(tmp_path, "llada_moe"), device="cpu") for _ in range(2))
    quantizing.quantize(stored, "int8")
    kinds = dict(stored.layers[1].mlp.named_parameters())
    assert torch.equal(kinds["router.weight"], exact.layers[1].mlp.router.weight)
    assert kinds["experts.6.down_proj.weight"].qdata.dtype == torch.int8
    x = torch.randn(40, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one, other = exact.layers[1].mlp(x), stored.layers[1].mlp(x)
    assert 0 < (one - other).abs().max() < 0.03 * one.abs().max()
    assert len(responses(stored, [(random_prompt(exact.config, 20), "maskkv", 4)])[0]) == 16


def test_the_plan_counts_all_weights_and_those_of_a_row() -> None:
    every = sum(parameter.numel() for parameter in Transformer(MOE).parameters())
    assert sizes.parameters(MOE) == every
    # 2 layers, of 6 experts 4 are left out, of 3 × 20 × 32 numbers; and the embedding.
    assert sizes.active_parameters(MOE) == every - 2 * 4 * 3 * 20 * 32 - 61 * 32
    dense = replace(MOE, experts=None)
    assert sizes.active_parameters(dense) == sizes.parameters(dense) - 61 * 32
