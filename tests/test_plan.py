"""What is predicted from a shape is what is counted when a model of that shape runs."""

from dataclasses import replace

import pytest
import torch

import maskkv
from maskkv import memory, policies
from maskkv.bench.memory import LiveBytes
from maskkv.bench.shapes import SHAPES, random_model, shape
from maskkv.decoding.engine import Engine
from maskkv.errors import InputError
from maskkv.generation import Generation
from maskkv.mixing import mix
from maskkv.models import sizes
from maskkv.models.config import Experts, Groups
from maskkv.plan import Need, Shape, Workload, check_fits, longest_prompt
from tests.reference import CONFIGS, random_prompt
from tests.reference import random_model as tiny_model

LLADA = Shape(shape("llada-8b"), 2)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def workload(prompt_length, policy, budget, kv_dtype="auto", **generation):
    generation = Generation(stop_at_eos=False, **{"prompt_interval": 2, **generation})
    return Workload(prompt_length, generation, policies.named(policy), budget, kv_dtype)


def recalling(prompt_length, budget, policy="maskkv", recall=None, **generation):
    work = workload(prompt_length, policy, budget, **generation)
    return replace(work, policy=mix(work.policy, evicted="host", **(recall or {})))


def counted(model, work, refreshes=2):
    prompt = torch.randint(600, (work.prompt_length,), generator=torch.Generator().manual_seed(1)).tolist()
    with LiveBytes() as live:
        engine = Engine(model)
        number = engine.add(prompt, work.generation, work.policy, work.budget, kv_dtype=work.kv_dtype)
        while engine[number].prompt_passes < refreshes:
            engine.step()
        return live.peak, engine[number].cache_bytes


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("work", [
    workload(2200, "none", None, gen_length=64),
    workload(2200, "full", None, gen_length=64),
    workload(2200, "maskkv", 64, gen_length=64),
    workload(700, "maskkv", 32, gen_length=64),
    workload(2200, "snapkv", 64, gen_length=16),
    workload(2200, "squeezeattention", 64, gen_length=16),
    workload(2200, "maskkv", 256, gen_length=64),
], ids=lambda work: f"{work.policy.name}-{work.prompt_length}-{work.budget}")  # fmt: skip
def test_the_peak_is_what_is_counted_within_three_percent(work, dtype):
    model = random_model(shape("mini"), 0, dtype)
    need = Shape.of(model).need(work)
    peak, held = counted(model, work)
    assert held == need.held
    assert need.alone == pytest.approx(peak, rel=0.03)


@pytest.mark.parametrize(
    ("policy", "dtype", "groups"),
    [
        ("none", torch.float32, None),
        ("maskkv", torch.float32, None),
        ("none", torch.float32, Groups(4, 2, 2.5)),
        ("none", torch.bfloat16, Groups(4, 2, 2.5)),
    ],
    ids=str,
)
def test_experts_are_planned_for_when_all_rows_go_to_the_same(policy, dtype, groups):
    """Rows are sent to the first experts here: the router scores all alike."""
    experts = Experts(tuple(range(6)), count=8, chosen=2, size=256, shared_size=64, groups=groups)
    model = random_model(replace(shape("mini"), family="llada_moe", mlp_size=0, experts=experts), 0, dtype)
    for layer in model.layers:
        layer.mlp.router.weight.zero_()
    work = workload(2200, policy, 64, gen_length=64)
    need = Shape.of(model).need(work)
    peak, held = counted(model, work)
    assert held == need.held
    assert peak <= need.alone <= 1.15 * peak


@pytest.mark.parametrize("work", [
    workload(1200, "snapkv", 64, gen_length=64, cfg_scale=1.0),
    workload(200, "maskkv", 32, gen_length=256, block_length=256, temperature=1.0),
    workload(200, "maskkv", 32, gen_length=256, block_length=256, alg="entropy"),
    workload(900, "maskkv", 100, "int8", gen_length=32),
], ids=str)  # fmt: skip
def test_guidance_sampling_and_small_pairs_are_covered(work):
    model = random_model(shape("mini"), 0)
    need = Shape.of(model).need(work)
    peak, held = counted(model, work, refreshes=1)
    assert held == need.held
    assert 0.99 * peak <= need.alone <= 2.5 * peak


@pytest.mark.parametrize("name", ["mid", "mini", "tiny"])
def test_weights_are_counted_as_they_are(name):
    model = random_model(shape(name), 0)
    assert Shape.of(model).weight_bytes == sum(weight.nbytes for weight in model.parameters())


def test_published_sizes_come_out():
    # LLaDA-8B: 2 × 126464 × 4096 + 32 × (4 × 4096² + 3 × 4096 × 12288 + 2 × 4096) + 4096
    assert sizes.parameters(LLADA.config) == 8_015_581_184
    assert sizes.parameters(SHAPES["dream-7b"]) == 7_615_616_512
    # Qwen3-0.6B: 151936 × 1024 (the head, too) + 28 × (1024 × (6 × 1024 + 3 × 3072 + 2) + 2 × 128) + 1024
    assert sizes.parameters(SHAPES["qwen3-0.6b"]) == 596_049_920
    assert sizes.parameters(SHAPES["sdar-1.7b"]) == 1_720_574_976  # Qwen3-1.7B
    assert sizes.parameters(SHAPES["sdar-8b"]) == 8_190_735_360  # Qwen3-8B


def test_pairs_of_llada_8b_in_numbers():
    # 256 + 64 pairs × 32 layers × 2 × 32 heads × 128 numbers, and 64 rows × 32 layers × 2 outputs × 4096, of 2 bytes
    need = LLADA.need(workload(32_768, "maskkv", 256, gen_length=64))
    assert need.held == 320 * 32 * 2 * 32 * 128 * 2 + 64 * 32 * 2 * 4096 * 2


def test_the_aims_for_llada_8b():
    work = workload(32_768, "maskkv", 256, gen_length=64)
    assert LLADA.peak(work) <= 1.15 * LLADA.weight_bytes

    def peak(length):
        return LLADA.peak(workload(length, "maskkv", 256, gen_length=64))

    longest = longest_prompt(peak, 24 * 10**9)
    assert longest >= 128 * 1024
    assert peak(longest) <= 24 * 10**9 < peak(longest + 1)


def test_what_layers_hold_while_their_importance_is_found_out():
    """At β = 0.4 and 32 layers at most 10 B in a boundary layer and 1.04 B in a middle one: 41.2 B before the last.

    32 B are kept. Two pairs more per layer and per head are for rounding; 2 × 128 numbers of 2 bytes, and a place of 4.
    """
    known, found_out = (
        LLADA.need(workload(32_768, policy, 256, gen_length=64)).reading for policy in ("mask-voting", "maskkv")
    )
    pairs = (10 + 30 * 1.04) * 256 * 32
    slack = 31 * 2 + 2 * 31 * 32
    assert found_out - known == pytest.approx((pairs + slack) * (512 + 4) - 32 * 256 * 32 * 512, abs=32 * 516)


def test_sequences_beside_each_other_hold_and_one_reads():
    work = workload(1000, "maskkv", 16, gen_length=8)
    need = LLADA.need(work, 5)
    assert LLADA.peak(work, 5) == LLADA.weight_bytes + 5 * need.held + need.reading


@pytest.mark.parametrize(("batch_size", "block_length", "rows"), [(1, 8, 8), (5, 8, 40), (99, 8, 256), (9, 512, 512)])
def test_the_logits_of_many_sequences_are_alive_together(batch_size: int, block_length: int, rows: int) -> None:
    """A short prompt is read in less than its logits take: 2 bytes a number, and 4 × 4 wider ones."""
    work = workload(1, "maskkv", 16, gen_length=block_length, block_length=block_length)
    stream = (1 + block_length) * LLADA.config.hidden_size * 2
    least = stream + rows * LLADA.config.vocab_size * 18
    assert LLADA.need(work, batch_size).reading == max(least, LLADA.need(work, 1).reading)


def test_nothing_fits_into_nothing():
    assert longest_prompt(lambda length: 10 + length, 10) == 0


def test_a_text_longer_than_memory_allows_is_refused_before_it_runs(monkeypatch):
    llm = maskkv.load()
    monkeypatch.setattr(memory, "available", lambda device: 3_000_000)
    with pytest.raises(
        InputError,
        match=r"2,000 tokens with a response of 8 needs about 0\.0 GB .*with these settings at most \d+ tokens",
    ):
        llm.generate_ids([5] * 2000, gen_length=8, block_length=8, policy="maskkv", budget=8)
    assert llm.generate_ids([5] * 40, gen_length=8, block_length=8, policy="maskkv", budget=8).steps == 8


def test_free_memory_is_that_of_the_machine_or_less():
    assert 0 < memory.available(torch.device("cpu")) < 2**50
    assert 10**7 < memory.peak(torch.device("cpu")) < 2**50


@pytest.mark.parametrize("cfg_scale", [0.0, 1.0])
@pytest.mark.parametrize("host_dtype", ["auto", "int8"])
@pytest.mark.parametrize("index", ["none", "int8", "int4"])
@pytest.mark.parametrize("family", ["llada", "dream"])
def test_both_tiers_are_what_a_run_holds(family, index, host_dtype, cfg_scale):
    config = CONFIGS[family]
    recall = {"index": index, "host_dtype": host_dtype}
    work = recalling(30, 5, recall=recall, gen_length=8, prompt_interval=4, cfg_scale=cfg_scale)
    engine = Engine(tiny_model(config))
    need = Shape.of(engine.model).need(work)
    number = engine.add(random_prompt(config, 30), work.generation, work.policy, work.budget)
    while not engine[number].finished:
        engine.step()
        assert (engine[number].cache_bytes, engine[number].host_bytes) == (need.held, need.host)
    assert engine[number].recalled > 0


def test_both_tiers_of_a_prompt_in_numbers():
    """Keys and values of 32768 pairs in 32 layers and 32 heads: 128 numbers of 2 bytes, or 128 bytes and a scale of 2.

    An index holds keys alone: 130 bytes each in 8 bits, 66 in 4.
    """
    vectors = 32_768 * 32 * 32
    drop = LLADA.need(workload(32_768, "maskkv", 256, gen_length=64))
    found = {
        (index, host_dtype): LLADA.need(
            recalling(32_768, 256, recall={"index": index, "host_dtype": host_dtype}, gen_length=64)
        )
        for index in ("none", "int8", "int4")
        for host_dtype in ("auto", "int8")
    }
    for (index, host_dtype), need in found.items():
        assert need.host == 2 * vectors * {"auto": 256, "int8": 130}[host_dtype]
        assert need.held == drop.held + vectors * {"none": 0, "int8": 130, "int4": 66}[index]
    assert drop.host == 0


def test_the_aims_for_llada_8b_with_a_second_tier():
    """At a budget of 256 the device holds 85 times less than with a full cache, or 7.1 times with an index of int4."""
    full = LLADA.need(workload(32_768, "full", None, gen_length=64))
    exact, indexed = (
        LLADA.need(recalling(32_768, 256, recall={"index": index}, gen_length=64)) for index in ("none", "int4")
    )
    assert full.held / exact.held >= 50
    assert full.held / indexed.held >= 7


@pytest.mark.parametrize(("dtype", "recall"), [
    (torch.bfloat16, {}), (torch.float32, {"index": "int4"}), (torch.bfloat16, {"index": "int8", "host_dtype": "int8"}),
], ids=str)  # fmt: skip
def test_filling_the_second_tier_is_counted_within_three_percent(recall, dtype):
    """All in the memory of a CPU; the steps between two readings, which recall, take less."""
    model = random_model(shape("mini"), 0, dtype)
    work = recalling(700, 64, recall=recall, gen_length=64)
    need = Shape.of(model).need(work).on(model.device)
    peak, _ = counted(model, work)
    assert need.alone == pytest.approx(peak, rel=0.03)


def test_a_layer_that_keeps_everything_has_no_second_tier():
    """PyramidKV's first layers are given more than there is."""
    config = CONFIGS["llada"]
    engine = Engine(tiny_model(config))
    work = recalling(30, 20, "pyramidkv", recall={"index": "int8"}, gen_length=8)
    number = engine.add(random_prompt(config, 30), work.generation, work.policy, work.budget)
    engine.step()
    need = Shape.of(engine.model).need(work)
    assert (engine[number].cache_bytes, engine[number].host_bytes) == (need.held, need.host)
    assert 0 < need.host < config.num_layers * 30 * config.num_kv_heads * 2 * config.head_dim * 4


@pytest.mark.parametrize("work", [
    recalling(100, 100, gen_length=8), recalling(100, None, gen_length=8), workload(100, "maskkv", 8, gen_length=8),
], ids=["a budget of the whole prompt", "no budget", "drop"])  # fmt: skip
def test_without_evicted_pairs_that_come_back_there_is_no_second_tier(work):
    need = LLADA.need(work)
    assert need.host == 0
    assert need == LLADA.need(replace(work, policy=policies.named("maskkv")))


def test_a_cpu_holds_both_tiers_in_the_same_memory():
    need = Need(held=5, reading=7, host=11)
    assert need.on(CPU) == Need(16, 7, 0)
    assert need.on(CUDA) == need
    assert Need.largest([need, Need(9, 1, 2)]) == Need(9, 7, 11)


def test_pairs_that_find_no_room_to_wait_are_refused_before_anything_runs(monkeypatch):
    """On a CPU both tiers are to fit together; on a GPU the host's memory is looked at by itself."""
    llm = maskkv.load()
    host = mix(policies.named("maskkv"), evicted="host")
    need = Shape.of(llm.model).need(Workload(2000, Generation(gen_length=8), host, 8))
    monkeypatch.setattr(memory, "available", lambda device: need.alone)
    llm.generate_ids([5] * 2000, gen_length=8, steps=1, policy="maskkv", budget=8)
    with pytest.raises(InputError, match=r"beside the weights, .*with these settings at most \d+ tokens fit$"):
        llm.generate_ids([5] * 2000, gen_length=8, policy=host, budget=8)

    monkeypatch.setattr(type(llm.model), "device", CUDA)
    work = Workload(2000, Generation(gen_length=8), host, 8)
    free = {"cuda": 2 * need.alone, "cpu": need.host}
    monkeypatch.setattr(memory, "available", lambda device: free[device.type])
    check_fits(llm.model, work)
    free["cpu"] -= 1
    with pytest.raises(InputError, match=r"of host memory, where evicted pairs wait, .* at most 1,999 tokens fit$"):
        check_fits(llm.model, work)
