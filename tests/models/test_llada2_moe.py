"""LLaDA2: experts in groups, against a loop and `transformers`' DeepSeek-V3; routers that stay in fp32; its files."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tests.cache.test_restatement import assert_engine_agrees, schedule
from tests.emulated import moved, pretended
from tests.models.test_a2d_qwen3 import tokenizer
from tests.models.test_experts import drawn, gated, packed, responses, rows_of
from tests.reference import CONFIGS, GROUPED, SlowEviction, SlowModel, random_model, random_prompt
from tests.saved_models import LLADA2, published, reference, write
from torch import Tensor
from transformers import DeepseekV3Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE

import maskkv
from maskkv.bench import shapes
from maskkv.bench.gpu.model_checks import live_rows
from maskkv.cache import NoCache
from maskkv.checkpoints import configs, in_memory, quantizing, weights
from maskkv.errors import CheckpointError
from maskkv.models import families, sizes
from maskkv.models.config import Experts, Groups
from maskkv.models.experts import ExpertsMLP, by_group
from maskkv.models.transformer import Transformer
from maskkv.ops.linear import is_plain
from maskkv.plan import Shape
from maskkv.policies import named

FAMILY = "llada2_moe"
TOKENS = torch.randint(0, 60, (37,), generator=torch.Generator().manual_seed(5))
ROUTER, BIAS = "model.layers.1.mlp.gate.weight", "model.layers.1.mlp.gate.expert_bias"
JOINED = "model.layers.{}.attention.query_key_value.weight"


def best(scores: Sequence[float], number: int) -> list[int]:
    return sorted(range(len(scores)), key=lambda each: (-scores[each], each))[:number]


def by_loop(mlp: ExpertsMLP, rows: Tensor, experts: Experts) -> tuple[list[list[int]], Tensor]:
    """Return the experts of each row, and the output, one row, one group and one expert at a time."""
    groups, asked, outputs = experts.groups, [], []
    assert groups is not None
    size = experts.count // groups.count
    for row, own in zip(rows, torch.sigmoid(rows @ mlp.router.weight.T), strict=True):
        wanted = own if mlp.expert_bias is None else own + mlp.expert_bias
        strength = []
        for group in range(groups.count):
            first, second, *_ = sorted(wanted[group * size : (group + 1) * size], reverse=True)
            strength.append(float(first + second))
        open_ = best(strength, groups.chosen)
        chosen = best([float(each) if i // size in open_ else -9e9 for i, each in enumerate(wanted)], experts.chosen)
        total = sum(float(own[expert]) for expert in chosen) if len(chosen) > 1 else 1.0
        output = torch.zeros_like(row)
        for expert in sorted(chosen):
            output = output + groups.scale * float(own[expert]) / total * gated(mlp.experts[str(expert)], row)
        asked.append(chosen)
        outputs.append(output if mlp.shared is None else output + gated(mlp.shared, row))
    return asked, torch.stack(outputs)


@given(st.data())
def test_the_mlp_is_a_loop_over_rows_groups_and_experts(data: st.DataObject) -> None:
    number, size, hidden = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 4)), data.draw(st.integers(1, 10))
    groups = Groups(number, data.draw(st.integers(1, number)), data.draw(st.sampled_from([1.0, 2.5])))
    chosen, shared = data.draw(st.integers(1, groups.chosen * size)), data.draw(st.sampled_from([0, 5]))
    experts = Experts(
        (0,), number * size, chosen, data.draw(st.integers(1, 8)), shared, data.draw(st.booleans()), groups
    )
    scores = data.draw(st.sampled_from(["integers", "equal", "one", "nobody's"]))
    mlp, generator = drawn(hidden, experts, data.draw(st.integers(0, 2**20)), scores)
    x = rows_of(hidden, data.draw(st.integers(1, 12)), generator)
    asked, expected = by_loop(mlp, x, experts)
    routed = by_group(x, mlp.router, mlp.expert_bias, chosen, groups)
    assert routed.experts.tolist() == asked
    torch.testing.assert_close(mlp(x), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("bias", "chosen", "asked", "weights"),
    [
        ([0.0, 0.0, 0.3, 0.1], 2, [2, 3], [1.25, 1.25]),
        # The best expert of all is in the other group; biases are no part of weights.
        ([0.9, -0.9, 0.1, 0.2], 2, [3, 2], [1.25, 1.25]),
        ([0.0, 0.0, 0.0, 0.0], 2, [0, 1], [1.25, 1.25]),  # of equals the first
        ([0.0, 0.0, 0.3, 0.1], 1, [2], [1.25]),  # half of the scale: a single one is not made to add up to it
        # Below every number outside the open group.
        ([-5.0, -5.0, -6.0, -7.0], 2, [0, 1], [1.25, 1.25]),
    ],
)
def test_where_a_row_is_sent_by_hand(bias: list[float], chosen: int, asked: list[int], weights: list[float]) -> None:
    groups = Groups(count=2, chosen=1, scale=2.5)
    mlp, generator = drawn(8, Experts((0,), 4, chosen, 5, bias=True, groups=groups), 3, "equal")
    routed = by_group(rows_of(8, 1, generator), mlp.router, torch.tensor(bias), chosen, groups)
    assert routed.experts.tolist() == [asked]
    torch.testing.assert_close(routed.weights, torch.tensor([weights]))


def deepseek(seed: int) -> tuple[DeepseekV3MoE, ExpertsMLP]:
    """Make a layer's experts, theirs and ours with the same weights."""
    theirs: Any = DeepseekV3MoE(
        DeepseekV3Config(
            hidden_size=32, moe_intermediate_size=16, n_routed_experts=12, num_experts_per_tok=4, n_group=4,
            topk_group=2, n_shared_experts=2, norm_topk_prob=True, routed_scaling_factor=2.5,
            experts_implementation="eager",
        )
    ).requires_grad_(False)  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    for _, tensor in (*theirs.named_parameters(), *theirs.named_buffers()):
        tensor.normal_(0.0, 0.3, generator=generator)
    ours = ExpertsMLP(32, Experts((0,), 12, 4, 16, 32, True, Groups(4, 2, 2.5))).requires_grad_(False)
    ours.router.weight.copy_(theirs.gate.weight)
    ours.expert_bias.copy_(theirs.gate.e_score_correction_bias)
    for number, expert in enumerate(ours.experts.values()):
        gate, up = theirs.experts.gate_up_proj[number].chunk(2)
        for name, tensor in (("gate", gate), ("up", up), ("down", theirs.experts.down_proj[number])):
            getattr(expert, f"{name}_proj").weight.copy_(tensor)
    ours.shared.load_state_dict(theirs.shared_experts.state_dict())
    return theirs, ours


@pytest.mark.parametrize("seed", range(5))
def test_experts_are_those_of_deepseek_v3(seed: int) -> None:
    theirs, ours = deepseek(seed)
    x = torch.randn(200, 32, generator=torch.Generator().manual_seed(seed))
    _, their_weights, their_experts = theirs.gate(x)
    routed = by_group(x, ours.router, ours.expert_bias, 4, Groups(4, 2, 2.5))
    own, other = routed.experts.sort(1), their_experts.sort(1)
    assert torch.equal(own.values, other.values)
    torch.testing.assert_close(routed.weights.gather(1, own.indices), their_weights.gather(1, other.indices))
    torch.testing.assert_close(ours(x), theirs(x[None])[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_in_bf16_rows_and_router_are_widened_and_experts_added_up_in_fp32(seed: int) -> None:
    theirs, ours = deepseek(seed)
    theirs.gate.weight.copy_(theirs.gate.weight.bfloat16())  # as a file holds it
    ours.router.weight.copy_(theirs.gate.weight)
    x = torch.randn(200, 32, generator=torch.Generator().manual_seed(seed)).bfloat16()
    _, their_weights, their_experts = theirs.gate(x)
    ours = ours.bfloat16()
    routed = by_group(x, ours.router, ours.expert_bias, 4, Groups(4, 2, 2.5))
    own, other = routed.experts.sort(1), their_experts.sort(1)
    assert torch.equal(own.values, other.values)
    assert routed.weights.dtype == torch.float32
    torch.testing.assert_close(routed.weights.gather(1, own.indices), their_weights.gather(1, other.indices))
    outputs = torch.stack([expert(x) for expert in ours.experts.values()])
    terms = outputs[routed.experts, torch.arange(200)[:, None]]
    wide = (terms.float() * routed.weights[..., None]).sum(1).bfloat16() + ours.shared(x)
    narrow = (terms * routed.weights[..., None].bfloat16()).sum(1) + ours.shared(x)
    found = ours(x)
    assert found.dtype == torch.bfloat16
    assert (found == wide).float().mean() > 0.99
    assert (found == narrow).float().mean() < 0.9


@given(st.integers(0, 2**20), st.integers(1, 40))
def test_what_a_row_becomes_does_not_depend_on_the_others(seed: int, rows: int) -> None:
    """To the last bit: in any order, and alone. Sizes and experts fill a CPU's vectors, as all published ones do."""
    config = replace(GROUPED, experts=replace(GROUPED.experts, layers=(0,), count=32, size=16, shared_size=16))
    mlp, generator = packed(config).layers[0].mlp, torch.Generator().manual_seed(seed)
    x = torch.randn(rows, config.hidden_size, generator=generator)
    order = torch.randperm(rows, generator=generator)
    with torch.inference_mode():
        whole = mlp(x)
        assert torch.equal(mlp(x[order]), whole[order])
        assert all(torch.equal(mlp(x[row : row + 1])[0], whole[row]) for row in range(rows))


def logits(model: Transformer) -> Tensor:
    with torch.inference_mode():
        return model.logits(model(TOKENS, model.rotation(torch.arange(len(TOKENS))), NoCache()))


def test_the_restatement_agrees() -> None:
    model = random_model(GROUPED)
    slow = SlowModel(model)
    expected = torch.stack([slow.logits(row) for row in slow.run(TOKENS.tolist())[0]])
    for chunk_rows in (1024, 37, 5):
        model._chunk_rows = chunk_rows
        torch.testing.assert_close(logits(model).double(), expected, atol=1e-4, rtol=1e-4)
    for layer in model.layers:
        layer.join_projections()
    torch.testing.assert_close(logits(model).double(), expected, atol=1e-4, rtol=1e-4)
    cached, everything = live_rows(random_model(GROUPED), 30)
    torch.testing.assert_close(cached, everything, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("policy", ["full", "maskkv"])
def test_the_engine_evicts_as_the_restatement(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With attention both ways: what block-causal attention keeps is tested with its caches."""
    monkeypatch.setitem(CONFIGS, FAMILY, GROUPED)
    assert_engine_agrees(FAMILY, schedule(6, 3, 0.25), named(policy), None if policy == "full" else SlowEviction(5))


def test_on_a_device_nothing_is_captured_and_nothing_mixes() -> None:
    asked = [(random_prompt(GROUPED, 20), "maskkv", 3), (random_prompt(GROUPED, 13), "full", None)]
    expected = responses(random_model(GROUPED), asked)
    with pretended() as counts:
        assert responses(moved(random_model(GROUPED)), asked) == expected
    assert not counts.mixed
    assert not counts.graphs


def folder(path: Path, dtype: torch.dtype = torch.bfloat16, **changes: Tensor | None) -> tuple[Path, dict[str, Tensor]]:
    """Write a tiny checkpoint as the published ones are: in bf16, but for the biases."""
    tensors = {name: each.to(dtype) for name, each in published(FAMILY, reference(FAMILY)).items() if name != BIAS}
    tensors[BIAS] = reference(FAMILY).model.layers[1].mlp.gate.e_score_correction_bias.clone()
    whole = {name: each for name, each in (tensors | changes).items() if each is not None}
    return write(path, LLADA2, whole), whole


def dtypes(model: Transformer) -> dict[str, torch.dtype]:
    return {name: each.dtype for name, each in model.named_parameters()}


EXACT = {"layers.1.mlp.router.weight", "layers.1.mlp.expert_bias"}


@pytest.mark.parametrize("asked", ["bfloat16", "float16", "float32"])
def test_what_a_router_computes_with_is_fp32_whatever_the_model_is(asked: str, tmp_path: Path) -> None:
    path, tensors = folder(tmp_path)
    model = weights.load(path, "cpu", asked)
    assert model.exact == EXACT
    assert dtypes(model) == {
        name: torch.float32 if name in EXACT else getattr(torch, asked) for name in dict(model.named_parameters())
    }
    mlp: Any = model.layers[1].mlp
    assert torch.equal(mlp.expert_bias, tensors[BIAS])
    assert not torch.equal(mlp.expert_bias, mlp.expert_bias.bfloat16()), "the biases are to need fp32"
    assert torch.equal(mlp.router.weight, tensors[ROUTER].float())
    other = weights.load(path, "cpu", "bf16")
    assert weights.fingerprint(model) == weights.fingerprint(other)
    assert Shape.of(model).weight_bytes == sum(each.nbytes for each in model.parameters())
    assert model.dtype == getattr(torch, asked)


def test_a_model_that_is_cast_keeps_them(tmp_path: Path) -> None:
    model = weights.load(folder(tmp_path, torch.float32)[0], "cpu", "float32")
    before = {name: each.clone() for name, each in model.named_parameters()}
    for cast in (model.bfloat16, model.half, model.float, lambda: model.to("cpu", torch.bfloat16)):
        cast()
        assert all(each.dtype == torch.float32 for name, each in model.named_parameters() if name in EXACT)
        assert all(torch.equal(dict(model.named_parameters())[name], before[name]) for name in EXACT)
    assert model.dtype == torch.bfloat16
    nowhere = dtypes(weights.empty(model.config).to(torch.bfloat16))
    assert {name for name, dtype in nowhere.items() if dtype == torch.float32} == EXACT
    assert dtypes(shapes.random_model(model.config, 0, torch.bfloat16)) == nowhere


def test_they_are_saved_as_they_are(tmp_path: Path) -> None:
    model = weights.load(folder(tmp_path / "first")[0], "cpu", "bfloat16")
    weights.save(model, tmp_path / "second", LLADA2)
    written = load_file(tmp_path / "second" / "model.safetensors")
    assert {name for name, each in written.items() if each.dtype == torch.float32} == {ROUTER, BIAS}
    again = weights.load(tmp_path / "second", "cpu", "bfloat16").state_dict()
    for name, each in model.state_dict().items():
        torch.testing.assert_close(again[name], each, rtol=0, atol=0)


@pytest.mark.parametrize("bias", [torch.float32, torch.bfloat16])
def test_of_a_model_of_transformers_they_are_widened(bias: torch.dtype, tmp_path: Path) -> None:
    """`transformers` casts a whole model to one dtype where nothing tells it otherwise."""
    from tests.test_borrowed import Held

    path, tensors = folder(tmp_path)
    tensors[BIAS] = tensors[BIAS].to(bias)
    shared = in_memory.share(Held(tensors, LLADA2))
    read = weights.load(path, "cpu", "bfloat16")
    assert dtypes(shared) == dtypes(read)
    mlp: Any = shared.layers[1].mlp
    assert torch.equal(mlp.expert_bias, tensors[BIAS].float())
    assert torch.equal(mlp.router.weight, tensors[ROUTER].float())
    assert (
        mlp.experts["0"].up_proj.weight.data_ptr() == tensors["model.layers.1.mlp.experts.0.up_proj.weight"].data_ptr()
    )
    with pytest.raises(CheckpointError, match=r"query_key_value.weight is in float32, model.word_embeddings.weight in"):
        in_memory.share(Held(tensors | {JOINED.format(1): tensors[JOINED.format(1)].float()}, LLADA2))


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_smaller_weights_leave_routers_alone_and_are_counted(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchao")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    config = replace(GROUPED, hidden_size=128, num_heads=4, num_kv_heads=2, head_dim=32, mlp_size=192)
    config = replace(config, experts=replace(config.experts, size=64, shared_size=64))
    model = random_model(config).bfloat16()
    if kind == "int4":
        model = model.to("meta")
        monkeypatch.setattr(Transformer, "device", torch.device("cuda"))
    before = {name: each.clone() for name, each in model.named_parameters() if name in model.exact}
    quantizing.quantize(model, kind)
    after = dict(model.named_parameters())
    assert all(after[name].dtype == torch.float32 and is_plain(after[name]) for name in before)
    assert kind == "int4" or all(torch.equal(after[name], each) for name, each in before.items())
    assert not is_plain(after["layers.1.mlp.experts.7.down_proj.weight"])
    assert not is_plain(after["layers.1.mlp.shared.up_proj.weight"])
    parts = {"int8": ("qdata", "scale"), "int4": ("qdata", "scale_and_zero")}[kind]
    held = sum(
        each.nbytes if is_plain(each) else sum(getattr(each, part).nbytes for part in parts) for each in after.values()
    )
    assert Shape(config, 2, quantize=kind).weight_bytes == held


def test_the_plan_counts_all_weights_and_those_of_a_row() -> None:
    every = sum(parameter.numel() for parameter in Transformer(GROUPED).parameters())
    assert sizes.parameters(GROUPED) == every
    # 2 layers, of 8 experts 5 are left out, of 3 × 20 × 32 numbers; and the embedding.
    assert sizes.active_parameters(GROUPED) == every - 2 * 5 * 3 * 20 * 32 - 61 * 32
    # In bf16, but 2 × 8 scores of 32 numbers, and 2 × 8 biases.
    assert sizes.weight_bytes(GROUPED, 2) == 2 * every + 2 * (2 * 8 * 32 + 2 * 8)
    assert sizes.weight_bytes(GROUPED, 4) == 4 * every
    mini = shapes.SHAPES["llada2-mini"]
    assert (sizes.parameters(mini), sizes.active_parameters(mini)) == (16_255_643_392, 1_111_060_224)


def test_queries_keys_and_values_lie_below_each_other_in_this_order(tmp_path: Path) -> None:
    path, tensors = folder(tmp_path, torch.float32)
    model: Any = weights.load(path, "cpu")
    matrix = tensors[JOINED.format(0)]
    layer = model.layers[0]
    assert matrix.shape == ((4 + 2 * 2) * 12, 32)
    for projection, rows in (
        (layer.q_proj, slice(0, 48)),
        (layer.k_proj, slice(48, 72)),
        (layer.v_proj, slice(72, 96)),
    ):
        assert torch.equal(projection.weight, matrix[rows])
    # One matrix of the file is in memory once; and not at all once its parts are laid out anew.
    assert layer.v_proj.weight.untyped_storage().data_ptr() == layer.q_proj.weight.untyped_storage().data_ptr()
    before = logits_both_ways(model)
    for each in model.layers:
        each.join_projections()
    assert layer.v_proj.weight.untyped_storage().nbytes() == layer.v_proj.weight.nbytes
    assert torch.equal(layer.v_proj.weight, matrix[72:])
    torch.testing.assert_close(logits_both_ways(model), before, atol=1e-5, rtol=1e-5)


def logits_both_ways(model: Transformer) -> Tensor:
    model.config = replace(model.config, causal_block=None)
    return logits(model)


EXPERT = "model.layers.1.mlp.experts.5.up_proj.weight"
SHARED = "model.layers.1.mlp.shared_experts.down_proj.weight"


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({EXPERT: None}, f"it misses 1: {EXPERT}"),
        ({BIAS: None}, f"it misses 1: {BIAS}"),
        ({SHARED: None}, f"it misses 1: {SHARED}"),
        ({EXPERT: torch.ones(11, 32)}, f"{EXPERT} has shape [11, 32], expected [12, 32]"),
        ({BIAS: torch.ones(7)}, f"{BIAS} has shape [7], expected [8]"),
        ({JOINED.format(1): torch.ones(95, 32)}, f"{JOINED.format(1)} has shape [95, 32], expected [96, 32]"),
        ({EXPERT.replace(".5.", ".8."): torch.ones(12, 32)}, f"too many: {EXPERT.replace('.5.', '.8.')}"),
        ({"model.layers.0.attention.dense.bias": torch.ones(32)}, "too many: model.layers.0.attention.dense.bias"),
        ({BIAS: torch.full((8,), torch.nan)}, f"tensor {BIAS} holds NaN"),
    ],
)
def test_a_tensor_that_is_missing_or_mis_shaped_is_named(
    changes: dict[str, Tensor | None], said: str, shards: int, tmp_path: Path
) -> None:
    _, tensors = folder(tmp_path / "whole", **changes)
    with pytest.raises(CheckpointError) as refusal:
        weights.load(write(tmp_path / "again", LLADA2, tensors, shards), device="cpu")
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_mask_is_the_tokenizer_s(tmp_path: Path) -> None:
    path, _ = folder(tmp_path)
    unnamed = {name: value for name, value in LLADA2.items() if name != "mask_token_id"}
    (path / "config.json").write_text(json.dumps(unnamed))
    with pytest.raises(CheckpointError, match=r"no mask_token_id, and no tokenizer with <\|mask\|> beside it"):
        maskkv.load(path)
    tokenizer("<|mask|>").save(str(path / "tokenizer.json"))
    assert configs.read(path) == replace(families.read_config(LLADA2), mask_id=61)
