"""Evicted pairs come back: the engine against a slow restatement, and what must not change what."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cache.test_restatement import FAMILIES, FULL, MASKKV, assert_engine_agrees, schedule
from tests.reference import CONFIGS, SlowEviction, random_model, random_prompt

from maskkv.cache import PackedCache, Refresh
from maskkv.decoding.engine import Engine
from maskkv.eviction.policy import Policy
from maskkv.eviction.recall import Recall
from maskkv.generation import Generation
from maskkv.mixing import mix
from maskkv.ops.nibbles import Nibbles
from maskkv.ops.quantised import Quantised

HOST = mix(MASKKV, evicted="host")
NEVER = 10**6


def engine_run(
    family: str, policies: list[tuple[Policy, int | None, str]], generation: Generation, prompt_length: int = 20
) -> list[tuple[list[int], list[list[list[list[int]]]], int]]:
    """Run sequences side by side; return the response, what was kept after each step, and how many pairs came back."""
    config = CONFIGS[family]
    engine = Engine(random_model(config, seed=3))
    numbers = [
        engine.add(random_prompt(config, prompt_length, seed=4 + index), generation, policy, budget, 1.0, kv_dtype)
        for index, (policy, budget, kv_dtype) in enumerate(policies)
    ]
    kept: dict[int, list[list[list[list[int]]]]] = {number: [] for number in numbers}
    done = False
    while not done:
        steps = engine.step()
        done = all(step.finished for step in steps)
        for step in steps:
            kept[step.sequence].append(engine[step.sequence].kept())
    return [(engine[number].response(), kept[number], engine[number].recalled) for number in numbers]


@FAMILIES
@pytest.mark.parametrize(
    ("prompt_interval", "response_interval", "transfer_ratio", "budget", "recall"),
    [
        (50, 5, 0.25, 3, Recall()),
        (6, 3, 0.25, 5, Recall()),
        (50, 50, 0.5, 1, Recall()),
        (5, 2, 0.0, 4, Recall()),
        (50, 4, 0.9, 6, Recall(recall_interval=2)),
        (7, 4, 0.4, 3, Recall(recall_interval=3)),
        (50, 3, 0.3, 4, Recall(recall_voters="mask")),
        (50, 3, 0.3, 4, Recall(recall_tally="sum")),
        (6, 3, 0.5, 2, Recall(2, "mask", "sum")),
    ],
)
def test_fresh_rows_choose_as_lists_and_loops_say(
    family: str, prompt_interval: int, response_interval: int, transfer_ratio: float, budget: int, recall: Recall
) -> None:
    generation = schedule(prompt_interval, response_interval, transfer_ratio)
    policy = Policy(**{**vars(MASKKV), "recall": recall})
    steps = assert_engine_agrees(family, generation, policy, SlowEviction(budget, recall=recall))
    kept = [step.kept for step in steps]
    assert any(one != other for one, other in pairwise(kept)), "the case is to be one of recalls"


@FAMILIES
@pytest.mark.parametrize("chunk_rows", [1, 5])
def test_chunks_change_nothing(family: str, chunk_rows: int) -> None:
    generation = schedule(50, 3, 0.5)
    assert_engine_agrees(family, generation, HOST, SlowEviction(4, recall=Recall()), chunk_rows=chunk_rows)


@FAMILIES
def test_guidance_recalls_in_both_branches(family: str) -> None:
    generation = schedule(50, 3, 0.5, cfg_scale=1.5)
    assert_engine_agrees(family, generation, HOST, SlowEviction(4, recall=Recall()))


@FAMILIES
def test_the_first_choice_stands_again_after_a_prompt_refresh_without_revote(family: str) -> None:
    policy = mix(HOST, revote=False)
    assert_engine_agrees(family, schedule(4, 2, 0.25), policy, SlowEviction(3, revote=False, recall=Recall()))


@FAMILIES
@pytest.mark.parametrize("kv_dtype", ["auto", "int8"])
def test_recall_that_never_comes_is_drop_bit_for_bit(family: str, kv_dtype: str) -> None:
    never = mix(HOST, recall_interval=NEVER)
    generation = schedule(5, 3, 0.4)
    drop, host = (engine_run(family, [(policy, 4, kv_dtype)], generation)[0] for policy in (MASKKV, never))
    assert host == drop
    assert host[2] == 0


@FAMILIES
def test_a_budget_of_the_whole_prompt_is_full_bit_for_bit(family: str) -> None:
    generation = schedule(50, 3, 0.4)
    full = engine_run(family, [(FULL, None, "auto")], generation)[0]
    assert engine_run(family, [(HOST, 20, "auto")], generation)[0] == full


@FAMILIES
def test_a_sequence_alone_equals_itself_among_others(family: str) -> None:
    generation = schedule(50, 3, 0.4)
    crowd = [
        (HOST, 3, "auto"),
        (FULL, None, "auto"),
        (mix(HOST, recall_interval=2, index="int8"), 5, "auto"),
        (MASKKV, 4, "auto"),
        (mix(HOST, host_dtype="int8"), 2, "int8"),
        (mix(HOST, recall_voters="mask", recall_tally="sum"), 3, "auto"),
    ]
    together = engine_run(family, crowd, generation)
    config = CONFIGS[family]
    for index, (policy, budget, kv_dtype) in enumerate(crowd):
        engine = Engine(random_model(config, seed=3))
        number = engine.add(random_prompt(config, 20, seed=4 + index), generation, policy, budget, 1.0, kv_dtype)
        kept = []
        while not engine[number].finished:
            engine.step()
            kept.append(engine[number].kept())
        assert (engine[number].response(), kept, engine[number].recalled) == together[index]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_budgets_are_kept_whatever_comes_back(data: st.DataObject) -> None:
    family = data.draw(st.sampled_from(["llada", "dream"]))
    budget = data.draw(st.integers(1, 19))
    recall = Recall(
        data.draw(st.integers(1, 3)),
        data.draw(st.sampled_from(["fresh", "mask"])),
        data.draw(st.sampled_from(["max", "sum"])),
        data.draw(st.sampled_from(["none", "int8", "int4"])),
        data.draw(st.sampled_from(["auto", "int8"])),
    )
    policy = Policy(**{**vars(MASKKV), "recall": recall})
    generation = schedule(data.draw(st.integers(2, 9)), data.draw(st.integers(1, 5)), data.draw(st.floats(0, 1)))
    config = CONFIGS[family]
    engine = Engine(random_model(config, seed=data.draw(st.integers(0, 3))))
    number = engine.add(random_prompt(config, 20, seed=1), generation, policy, budget, 1.0)
    evictable = 20 - config.logit_shift
    total = min(budget, evictable) * config.num_kv_heads * config.num_layers
    counts: list[list[int]] = []
    while not engine[number].finished:
        (step,) = engine.step()
        kept = engine[number].kept()
        assert sum(len(own) for layer in kept for own in layer) == total
        assert all(len(set(own)) == len(own) and own == sorted(own) for layer in kept for own in layer)
        assert all(0 <= position < evictable for layer in kept for own in layer for position in own)
        now = [[len(own) for own in layer] for layer in kept]
        if step.refresh is not None and step.refresh.value == "prompt":
            counts = now
        assert now == counts, "heads keep as many as first voted"
        holders = engine[number].holders()
        assert holders is not None
        assert holders.sum() == total


@pytest.mark.parametrize(("kv_dtype", "index"), [("auto", "none"), ("int8", "int8"), ("fp8", "int4")])
def test_what_is_held_are_the_pairs_that_are_said_to_be_held(kv_dtype: str, index: str) -> None:
    """After every step each slot holds the very pair of the prompt that `kept` names, behind it the live rows'.

    The index is that of these keys, over prompt refreshes too.
    """
    config, here = CONFIGS["llada"], torch.device("cpu")
    engine = Engine(random_model(config, seed=3))
    policy = mix(HOST, index=index)
    number = engine.add(random_prompt(config, 20, seed=4), schedule(5, 3, 0.5), policy, 4, kv_dtype=kv_dtype)

    def stored(vectors: torch.Tensor) -> list[list[float]]:
        held = vectors if kv_dtype == "auto" else Quantised.of(vectors, kv_dtype).all(torch.float32)
        return sorted(held.tolist())

    seen = 0
    while not engine[number].finished:
        engine.step()
        cache = engine[number].branches[0].cache
        assert cache is not None
        assert cache.tiers is not None
        for layer in range(config.num_layers):
            tier, pairs = cache.tiers[layer], cache.state(layer).pairs
            assert tier is not None
            keys, values = tier._keys.all(here), tier._values.all(here)
            if tier._index is not None:
                anew = Nibbles.of(keys) if index == "int4" else Quantised.of(keys, index)
                assert torch.equal(tier._index.all(torch.float32), anew.all(torch.float32))
            start = 0
            for head, positions in enumerate(cache.kept()[layer]):
                own = slice(start, start + len(positions))
                cells = [head * 20 + position for position in positions]
                for held, every in ((pairs.keys, keys), (pairs.values, values)):
                    there = held if isinstance(held, torch.Tensor) else held.all(torch.float32)
                    assert sorted(there[own].tolist()) == stored(every[cells])
                seen += len(positions)
                start += pairs.lengths[head]
    assert seen


@FAMILIES
def test_what_came_back_is_counted_by_committed_steps(family: str) -> None:
    """Not by a pass that a sequence rides along, whose prompt is read in the same step, nor by one that fails."""
    config = CONFIGS[family]
    engine = Engine(random_model(config, seed=3))
    numbers = [
        engine.add(random_prompt(config, 20, seed=4 + index), schedule(interval, 2, 0.5), HOST, 4)
        for index, interval in enumerate((3, 50))
    ]
    came, before, step = dict.fromkeys(numbers, 0), {}, 0
    attend, fails = PackedCache.attend, iter([True])

    def failing(self: PackedCache, layer: int, *rest: Any) -> Any:
        if layer == 2 and next(fails, False):
            raise RuntimeError("planted")
        return attend(self, layer, *rest)

    while not all(engine[number].finished for number in numbers):
        with pytest.MonkeyPatch.context() as patch:
            if step == 4:
                patch.setattr(PackedCache, "attend", failing)
            taken = engine.step()
        step += 1
        for each in taken:
            now = {(layer, head, place) for layer, heads in enumerate(engine[each.sequence].kept())
                   for head, places in enumerate(heads) for place in places}  # fmt: skip
            if each.refresh is not Refresh.PROMPT:
                came[each.sequence] += len(now - before[each.sequence])
            before[each.sequence] = now
    assert [engine[number].recalled for number in numbers] == list(came.values())
    assert min(came.values()) > 0
