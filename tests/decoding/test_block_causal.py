"""Block-causal models: prompts are read once, and what is evicted is gone for good."""

import re
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decoding.test_failures import EARLY, VICTIM, assert_harmless
from tests.faults import PLACES, Asked, Planted, Ran
from tests.faults import run as run_all
from tests.reference import CONFIGS, SDAR, SlowEviction, SlowModel, random_model, random_prompt
from tests.reference_blocks import run_block_causally, slow_blocks

from maskkv import policies
from maskkv.cache import NoCache
from maskkv.decoding.engine import Engine, Step
from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.eviction.recall import BlockVote, Recall
from maskkv.generation import Generation
from maskkv.mixing import mix

FULL, MASKKV, NONE = (policies.named(name) for name in ("full", "maskkv", "none"))


def response(**more: object) -> Generation:
    return Generation(**{"gen_length": 12, "block_length": 4, "stop_at_eos": False, **more})


def assert_engine_agrees(
    generation: Generation,
    policy: Policy,
    eviction: SlowEviction | None,
    *,
    prompt_length: int = 18,
    block: int = 4,
    chunk_rows: int = 1024,
    seed: int = 3,
) -> int:
    model = random_model(replace(SDAR, causal_block=block), seed, chunk_rows)
    prompt = random_prompt(SDAR, prompt_length, seed + 1)
    engine = Engine(model)
    number = engine.add(prompt, generation, policy, None if eviction is None else eviction.budget)
    passes = 0
    for slow in slow_blocks(model, prompt, generation, eviction):
        model.asked.clear()
        (step,) = engine.step()
        passes += 1
        (asked,) = model.asked
        expected = torch.stack(slow.hidden) if slow.hidden else asked.double()[:0]
        torch.testing.assert_close(asked.double(), expected, atol=1e-5, rtol=1e-4)
        assert engine[number].kept() == slow.kept
        assert (step.positions, step.tokens) == (slow.positions, slow.tokens)
        assert step.confidences == pytest.approx(slow.confidences, abs=1e-4)
    assert step.finished
    assert engine[number].prompt_passes == 1
    assert len(engine[number].response()) == generation.gen_length
    return passes


@pytest.mark.parametrize("prompt_length", [16, 17, 19, 1, 3, 4])
def test_full_is_the_published_loop(prompt_length: int) -> None:
    # A step for each token, and one for each block but the last.
    started = -(-(prompt_length + 12) // 4) - prompt_length // 4
    assert assert_engine_agrees(response(), FULL, None, prompt_length=prompt_length) >= 12 + started - 1


@pytest.mark.parametrize("budget", [1, 3, 5, 11, 15])
def test_maskkv_evicts_once(budget: int) -> None:
    assert_engine_agrees(response(), MASKKV, SlowEviction(budget))


@pytest.mark.parametrize("block", [1, 2, 3, 5, 8, 12])
def test_blocks_of_any_length(block: int) -> None:
    assert_engine_agrees(response(gen_length=2 * block, block_length=block), MASKKV, SlowEviction(4), block=block)


@pytest.mark.parametrize("chunk_rows", [1, 3, 5, 8])
def test_chunks_change_nothing(chunk_rows: int) -> None:
    assert_engine_agrees(response(), MASKKV, SlowEviction(4), chunk_rows=chunk_rows)


@pytest.mark.parametrize("more", [{"threshold": 0.3}, {"threshold": 0.05}, {"threshold": 1.0}, {"steps": 6},
                                  {"steps": 6, "threshold": 0.4}, {"remasking": "sequential"},
                                  {"remasking": "sequential", "steps": 3}])  # fmt: skip
def test_each_sampler(more: dict[str, object]) -> None:
    assert_engine_agrees(response(**more), MASKKV, SlowEviction(5))
    assert_engine_agrees(response(**more), FULL, None, prompt_length=16)


def run(engine: Engine, *numbers: int) -> dict[int, list[Step]]:
    """Step until all of some sequences have finished."""
    steps: dict[int, list[Step]] = {number: [] for number in numbers}
    while not all(own and own[-1].finished for own in steps.values()):
        for step in engine.step():
            steps[step.sequence].append(step)
    return steps


def assert_alike(steps: list[Step], others: list[Step]) -> None:
    """Compare steps that products of other numbers of rows were computed for: the last bits may differ."""
    assert [(step.positions, step.tokens, step.masks_left, step.finished) for step in steps] == [
        (step.positions, step.tokens, step.masks_left, step.finished) for step in others
    ]
    for step, other in zip(steps, others, strict=True):
        assert step.confidences == pytest.approx(other.confidences, abs=1e-5)


def told(steps: list[Step]) -> list[object]:
    return [(step.positions, step.tokens, step.confidences, step.masks_left, step.finished) for step in steps]


@pytest.mark.parametrize("kv_dtype", ["auto", "int8"])
@pytest.mark.parametrize("prompt_length", [3, 16, 18])
def test_a_sequence_among_others_is_itself(kv_dtype: str, prompt_length: int) -> None:
    model, generation = random_model(SDAR), response(gen_length=16, threshold=0.2)
    prompts = [random_prompt(SDAR, length, length) for length in (prompt_length, 13, 24, 9)]
    alone = []
    for prompt in prompts:
        engine = Engine(model)
        number = engine.add(prompt, generation, MASKKV, 4, kv_dtype=kv_dtype)
        alone.append((run(engine, number)[number], engine[number].kept()))
    engine = Engine(model)
    numbers = [engine.add(prompts[0], generation, MASKKV, 4, kv_dtype=kv_dtype)]
    steps = {numbers[0]: engine.step()}
    numbers += [engine.add(prompt, generation, MASKKV, 4, kv_dtype=kv_dtype) for prompt in prompts[1:]]
    steps |= {number: [] for number in numbers[1:]}
    while not all(own and own[-1].finished for own in steps.values()):
        for step in engine.step():
            steps[step.sequence].append(step)
    for number, (expected, kept) in zip(numbers, alone, strict=True):
        assert_alike(steps[number], expected)
        assert engine[number].kept() == kept


@pytest.mark.parametrize("name", ["maskkv", "snapkv", "pyramidkv", "streamingllm"])
def test_a_budget_of_the_whole_prompt_is_no_eviction(name: str) -> None:
    model, prompt = random_model(SDAR), random_prompt(SDAR, 22)
    engine = Engine(model)
    numbers = [engine.add(prompt, response(), policies.named(name), budget) for budget in (20, 22, 1000)]
    numbers.append(engine.add(prompt, response(), FULL))
    steps = run(engine, *numbers)
    assert all(told(steps[number]) == told(steps[numbers[-1]]) for number in numbers)


@pytest.mark.parametrize("prompt_length", [2, 12, 15])
def test_without_a_cache_the_tokens_are_the_same(prompt_length: int) -> None:
    model, prompt = random_model(SDAR), random_prompt(SDAR, prompt_length)
    engine = Engine(model)
    cached, uncached = engine.add(prompt, response(), FULL), engine.add(prompt, response(), NONE)
    steps = run(engine, cached, uncached)
    decided = [step for step in steps[cached] if step.positions]
    assert [step.tokens for step in decided] == [step.tokens for step in steps[uncached] if step.positions]
    assert engine[cached].response() == engine[uncached].response()
    # What the cache costs in steps: the final pairs of a finished block.
    assert len(steps[cached]) - len(steps[uncached]) == sum(not step.proposals() for step in steps[cached])


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 30), st.integers(1, 5), st.sampled_from([1, 2, 4, 6]), st.integers(1, 12), st.integers(0, 99))
def test_budgets_are_exact(length: int, blocks: int, block: int, budget: int, seed: int) -> None:
    config = replace(SDAR, causal_block=block)
    engine = Engine(random_model(config, seed))
    generation = response(gen_length=blocks * block, block_length=block)
    number = engine.add(random_prompt(config, length, seed), generation, MASKKV, budget)
    run(engine, number)
    evictable = length // block * block
    kept = engine[number].kept()
    assert sum(len(rows) for layer in kept for rows in layer) == 2 * 2 * min(budget, evictable)
    assert all(row < evictable for layer in kept for rows in layer for row in rows)


def test_it_stops_behind_an_end_token() -> None:
    model, prompt = random_model(SDAR), random_prompt(SDAR, 14)
    engine = Engine(model)
    number = engine.add(prompt, response(gen_length=16), FULL)
    tokens = [token for step in run(engine, number)[number] for token in step.tokens]
    ending = Engine(random_model(replace(SDAR, eos_ids=(engine[number].response()[5],))))
    stopped = ending.add(prompt, response(gen_length=16, stop_at_eos=True), FULL)
    assert len(run(ending, stopped)[stopped]) < len(tokens)
    assert ending[stopped].response()[:6] == engine[number].response()[:6]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prompt_interval": 7}, "prompt_interval=7 is for bidirectional models, and sdar is block-causal"),
        ({"response_interval": 1}, "response_interval=1 is for bidirectional models"),
        ({"transfer_ratio": 0.5}, "transfer_ratio=0.5 is for bidirectional models"),
        ({"one_pass": True}, "one_pass=True is for bidirectional models"),
        ({"min_confidence": 0.5}, "min_confidence=0.5 is for bidirectional models"),
        ({"value_drift": 0.5}, "value_drift=0.5 is for bidirectional models"),
        ({"cfg_scale": 1.0}, "cfg_scale=1.0 is for bidirectional models"),
        ({"alg": "entropy"}, "alg='entropy' is for bidirectional models"),
        ({"shares": "rounded"}, "shares='rounded' is for bidirectional models"),
        (
            {"block_length": 6},
            "block_length=6: this model's blocks have 4 tokens: leave it out",
        ),
        ({"block_length": 2}, "block_length=2: this model's blocks have 4 tokens: "),
        (
            {"edit_threshold": 0.5, "steps": 6},
            "steps=6 says what a step commits, as edit_threshold does",
        ),
        ({"edit_threshold": 0.5, "factor": 1.0}, "factor=1.0 says what a step commits, as edit_threshold does"),
        ({"max_post_steps": 3}, "max_post_steps=3 is for edited responses: give edit_threshold too"),
        ({"gen_length": 10, "block_length": 10}, "block_length=10: this model's blocks have 4 tokens"),
    ],
)
def test_what_is_for_other_models_is_refused_by_name(settings: dict[str, object], said: str) -> None:
    engine = Engine(random_model(SDAR))
    with pytest.raises(InputError, match=re.escape(said)) as refusal:
        engine.add([1, 2, 3], response(**settings), FULL)
    assert "\n" not in str(refusal.value)


def test_the_usual_block_length_stands_for_the_model_s() -> None:
    model, prompt = random_model(SDAR), random_prompt(SDAR, 11)
    engine = Engine(model)
    numbers = [engine.add(prompt, response(gen_length=16, **block), FULL) for block in ({}, {"block_length": 8})]
    steps = run(engine, *numbers)
    assert told(steps[numbers[0]]) == told(steps[numbers[1]])


@pytest.mark.parametrize("chunk_rows", [3, 1024])
@pytest.mark.parametrize("length", [4, 13])
def test_rows_of_a_block_see_no_later_one(length: int, chunk_rows: int) -> None:
    model = random_model(SDAR, chunk_rows=chunk_rows)
    tokens = random_prompt(SDAR, length)
    expected, _ = run_block_causally(SlowModel(model), tokens, 4)
    hidden = model(torch.tensor(tokens), model.rotation(torch.arange(length)), NoCache(4))
    torch.testing.assert_close(hidden.double(), torch.stack(expected), atol=1e-5, rtol=1e-4)


def four() -> list[Asked]:
    """Four sequences; the first two read one and the same prompt, and draw at random."""
    options = [
        {"temperature": 0.8},
        {"temperature": 0.8},
        {"threshold": 0.3, "edit_threshold": 0.0},
        {"remasking": "random"},
    ]
    kept = [MASKKV, MASKKV, policies.named("squeezeattention"), policies.named("snapkv")]
    return [
        Asked(random_prompt(SDAR, 20 + own, own), response(**options[index]), kept[index], 3 + index)
        for index, own in enumerate((0, 0, 2, 3))
    ]


@cache
def undisturbed() -> Ran:
    return run_all(random_model(SDAR, 4, 13), four())


@pytest.mark.parametrize("who", ["once", *(pytest.param(who, marks=pytest.mark.slow) for who in ("one", "together"))])
@pytest.mark.parametrize("place", PLACES)
def test_a_failure_is_one_sequences_own(place: str, who: Any) -> None:
    asked = four()
    fault = Planted(place, who, 0 if place in EARLY else 7, victim=asked[VICTIM].budget)
    seen = run_all(random_model(SDAR, 4, 13), asked, fault)
    assert_harmless(seen, undisturbed(), fault)


@pytest.mark.parametrize("recall_interval", [1, 3])
def test_evicted_pairs_may_come_back(recall_interval: int) -> None:
    """Each block's rows ask for those of the prompt; what earlier blocks wrote stays."""
    recalling = mix(MASKKV, evicted="host", recall_interval=recall_interval)
    assert_engine_agrees(response(), recalling, SlowEviction(4, recall=Recall(recall_interval)))


@pytest.mark.parametrize("changes", [{}, {"recall_tally": "max"}, {"recall_voters": "fresh", "recall_tally": "max"}])
@pytest.mark.parametrize("steps", [12, 6])
def test_each_block_chooses_what_it_reads(changes: dict[str, str], steps: int) -> None:
    """All pairs stay; the first pass of a block reads them, the others what its rows voted for (MAGE)."""
    choosing = mix(MASKKV, evicted="device", **changes)
    assert_engine_agrees(response(steps=steps), choosing, SlowEviction(4, recall=BlockVote(**changes)))
    model, prompt = random_model(SDAR), random_prompt(SDAR, 18)
    engine = Engine(model)
    numbers = [engine.add(prompt, response(), policy, 4) for policy in (choosing, FULL, MASKKV)]
    run(engine, *numbers)
    held = [engine[number].cache_bytes for number in numbers]
    pair = 2 * 4 * SDAR.head_dim
    assert held[0] - held[2] == SDAR.num_layers * SDAR.num_kv_heads * 16 * pair
    assert engine[numbers[0]].host_bytes == 0


def test_blocks_choose_alone_as_among_others() -> None:
    model, choosing = random_model(SDAR), mix(MASKKV, evicted="device")
    prompts = [random_prompt(SDAR, length, length) for length in (18, 13, 24)]
    engine, alone = Engine(model), []
    for prompt in prompts:
        by_itself = Engine(model)
        by_itself.add(prompt, response(), choosing, 4)
        alone.append(run(by_itself, 0)[0])
    numbers = [engine.add(prompt, response(), choosing, 4) for prompt in prompts]
    for own, expected in zip(run(engine, *numbers).values(), alone, strict=True):
        assert_alike(own, expected)


def test_tokens_that_bidirectional_models_keep_are_not_edited() -> None:
    engine = Engine(random_model(CONFIGS["llada"]))
    with pytest.raises(InputError, match=r"edit_threshold=0\.5 is for block-causal models, and llada is bidir"):
        engine.add([1, 2, 3], response(edit_threshold=0.5), FULL)


def test_pairs_that_do_not_stay_right_are_not_kept_to_choose_from() -> None:
    engine = Engine(random_model(CONFIGS["llada"]))
    with pytest.raises(InputError, match="evicted=device is for block-causal models, and llada is bidirectional"):
        engine.add([1, 2, 3], response(), mix(MASKKV, evicted="device"), 1)
