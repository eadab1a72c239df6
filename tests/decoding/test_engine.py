"""The engine as a whole, on tiny random models of both families."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from tests.reference import (
    CONFIGS,
    LLADA,
    RecordingTransformer,
    SlowModel,
    random_model,
    random_prompt,
    slow_run,
)
from torch import Tensor

from maskkv import policies
from maskkv.cache import Refresh, measure_importance
from maskkv.decoding.engine import Engine, Step
from maskkv.errors import CheckpointError, InputError, ProfileError
from maskkv.eviction.policy import Policy
from maskkv.eviction.profile import LayerProfile
from maskkv.generation import Generation
from maskkv.mixing import mix
from maskkv.ops.rope import ntk_scale
from maskkv.ops.segments import Rows

FAMILIES = pytest.mark.parametrize("family", ["llada", "dream"])
NONE, FULL, MASKKV = (policies.named(name) for name in ("none", "full", "maskkv"))


@dataclass
class Run:
    steps: list[Step]
    hidden: list[Tensor]
    response: list[int]
    kept: list[list[list[int]]]


def generation(**options: object) -> Generation:
    return Generation(**{"gen_length": 8, "block_length": 4, "stop_at_eos": False, **options})


def run(
    model: RecordingTransformer,
    prompt: list[int],
    settings: Generation,
    policy: Policy,
    budget: int | None = None,
    **more: float | str,
) -> Run:
    engine = Engine(model)
    number = engine.add(prompt, settings, policy, budget, **more)
    model.asked.clear()
    steps: list[Step] = []
    while not (steps and steps[-1].finished):
        steps += engine.step()
    return Run(steps, list(model.asked), engine[number].response(), engine[number].kept())


def assert_same(one: Run, other: Run, *, bitwise: bool = False) -> None:
    assert [(s.positions, s.tokens) for s in one.steps] == [(s.positions, s.tokens) for s in other.steps]
    for a, b in zip(one.hidden, other.hidden, strict=True):
        torch.testing.assert_close(a, b, **({"atol": 0, "rtol": 0} if bitwise else {"atol": 1e-5, "rtol": 1e-4}))


@FAMILIES
def test_none_is_the_naive_loop(family: str) -> None:
    model = random_model(CONFIGS[family], seed=1)
    prompt = random_prompt(model.config, 13)
    expected = slow_run(model, prompt, generation(), cached=False)
    seen = run(model, prompt, generation(), NONE)
    for step, hidden, slow in zip(seen.steps, seen.hidden, expected, strict=True):
        assert (step.positions, step.tokens) == (slow.positions, slow.tokens)
        torch.testing.assert_close(hidden.double(), slow.hidden[0], atol=1e-5, rtol=1e-4)
    assert all(step.refresh is None for step in seen.steps)


@FAMILIES
@pytest.mark.parametrize("options", [{}, {"cfg_scale": 1.0}, {"steps": 4}])
def test_full_refreshed_at_every_step_is_none(family: str, options: dict[str, object]) -> None:
    model = random_model(CONFIGS[family], seed=2)
    prompt = random_prompt(model.config, 30)
    settings = generation(**options)
    every = replace(settings, prompt_interval=1, response_interval=1)
    assert_same(run(model, prompt, every, FULL), run(model, prompt, settings, NONE))


@FAMILIES
@pytest.mark.parametrize("budget", [None, 4])
def test_recomputing_all_rows_is_a_response_refresh_at_every_step(family: str, budget: int | None) -> None:
    model = random_model(CONFIGS[family], seed=3)
    prompt = random_prompt(model.config, 30)
    policy = FULL if budget is None else MASKKV
    all_rows = run(model, prompt, generation(transfer_ratio=1.0, response_interval=50), policy, budget)
    refreshed = run(model, prompt, generation(response_interval=1), policy, budget)
    assert_same(all_rows, refreshed)


@FAMILIES
@pytest.mark.parametrize("excess", [0, 7])
def test_a_budget_of_the_whole_prompt_is_full_bit_for_bit(family: str, excess: int) -> None:
    model = random_model(CONFIGS[family], seed=4)
    prompt = random_prompt(model.config, 25)
    settings = generation(prompt_interval=3, response_interval=2)
    evicting, full = run(model, prompt, settings, MASKKV, 25 + excess), run(model, prompt, settings, FULL)
    assert_same(evicting, full, bitwise=True)
    assert evicting.kept == full.kept
    evictable = 25 - model.config.logit_shift
    assert full.kept == [[list(range(evictable))] * model.config.num_kv_heads] * model.config.num_layers
    assert_same(run(model, prompt, settings, MASKKV, None), full, bitwise=True)


@FAMILIES
def test_eviction_matters(family: str) -> None:
    """The comparisons above would be empty if a small budget changed nothing."""
    model = random_model(CONFIGS[family], seed=4)
    prompt = random_prompt(model.config, 25)
    evicting, full = (run(model, prompt, generation(), policy, 2) for policy in (MASKKV, FULL))
    assert not torch.allclose(evicting.hidden[1], full.hidden[1], atol=1e-3)


@FAMILIES
def test_a_sequence_among_others_is_itself_alone(family: str) -> None:
    """Lengths, policies, budgets, schedules and phases all differ; they join and leave at different steps."""
    model = random_model(CONFIGS[family], seed=5, chunk_rows=13)
    members = [
        (0, 21, generation(prompt_interval=5, response_interval=2), MASKKV, 3),
        (0, 1, generation(prompt_interval=50, response_interval=3, transfer_ratio=0.5), FULL, None),
        (
            1,
            34,
            generation(gen_length=12, steps=6, prompt_interval=4, response_interval=4),
            mix(MASKKV, revote=False),
            5,
        ),
        (2, 17, generation(temperature=0.7, seed=8, transfer_ratio=0.0, prompt_interval=6), FULL, None),
        (2, 9, generation(gen_length=4), NONE, None),
        (3, 26, generation(cfg_scale=0.5, transfer_ratio=1.0, response_interval=7), MASKKV, 26),
        (4, 12, generation(gen_length=4, alg="entropy", alg_temp=0.3, temperature=0.4), MASKKV, 2),
    ]
    prompts = [random_prompt(model.config, length, seed) for seed, (_, length, *_) in enumerate(members)]
    alone = [
        run(model, prompt, settings, policy, budget)
        for prompt, (_, _, settings, policy, budget) in zip(prompts, members, strict=True)
    ]
    engine = Engine(model)
    victim = engine.add(random_prompt(model.config, 40), generation(), MASKKV, 6)
    numbers: dict[int, int] = {}
    together: dict[int, list[Step]] = {}
    for tick in range(14):
        for member, (joins, _, settings, policy, budget) in enumerate(members):
            if joins == tick:
                number = engine.add(prompts[member], settings, policy, budget)
                numbers[number], together[number] = member, []
        if tick == 3:
            engine.remove(victim)
        for step in engine.step():
            if step.sequence != victim:
                together[step.sequence].append(step)
            assert tick < 3 or step.sequence != victim
    for number, member in numbers.items():
        mine, own = together[number], alone[member].steps
        assert [replace(step, confidences=(), sequence=0) for step in mine] == [
            replace(step, confidences=(), sequence=0) for step in own
        ]
        for a, b in zip(mine, own, strict=True):
            assert a.confidences == pytest.approx(b.confidences, abs=1e-4)
        assert engine[number].response() == alone[member].response
        assert engine[number].kept() == alone[member].kept
    assert engine.step() == []


@FAMILIES
def test_only_live_rows_run_between_prompt_refreshes(family: str) -> None:
    model = random_model(CONFIGS[family])
    logit_shift = model.config.logit_shift
    run(model, random_prompt(model.config, 30), generation(prompt_interval=4), FULL)
    live, every = 8 + logit_shift, 38
    assert model.rows_run == [every, live, live, live, every, live, live, live]


def test_live_rows_of_all_sequences_run_in_one_pass() -> None:
    model = random_model(CONFIGS["dream"])
    engine = Engine(model)
    for length in (30, 20):
        engine.add(random_prompt(model.config, length), generation(), FULL)
    engine.step()
    engine.step()
    assert model.rows_run == [38, 28, 18]


@FAMILIES
@pytest.mark.parametrize("cfg_scale", [0.0, 0.5])
def test_one_prompt_under_several_policies_is_read_once(family: str, cfg_scale: float) -> None:
    """They share the first pass, go apart, and each ends as it does alone."""
    model = random_model(CONFIGS[family], seed=3, chunk_rows=13)
    prompt = random_prompt(model.config, 30)
    settings = generation(prompt_interval=3, response_interval=2, cfg_scale=cfg_scale)
    members = [
        (NONE, None),
        (FULL, None),
        (MASKKV, 2),
        (MASKKV, 9),
        (mix(MASKKV, layer_budget="uniform"), 5),
        (mix(MASKKV, revote=False), 3),
    ]
    alone = [run(model, prompt, settings, policy, budget) for policy, budget in members]
    model.rows_run.clear()
    engine = Engine(model)
    numbers = [engine.add(prompt, settings, policy, budget) for policy, budget in members]
    engine.add(prompt, settings, FULL, rope_scale=2.0)
    steps = engine.step()
    branches = 2 if cfg_scale else 1
    assert model.rows_run == [38] * branches + [38] * branches
    while any(not step.finished for step in steps[-len(members) - 1 :]):
        steps += engine.step()
    for number, own in zip(numbers, alone, strict=True):
        mine = [step for step in steps if step.sequence == number]
        assert [(step.positions, step.tokens) for step in mine] == [(step.positions, step.tokens) for step in own.steps]
        assert engine[number].response() == own.response
        assert engine[number].kept() == own.kept


def test_equal_tokens_with_other_masks_do_not_share_a_pass() -> None:
    """A prompt that ends in literal mask text makes the same tokens as a longer response."""
    model = random_model(LLADA)
    prompt = random_prompt(model.config, 20)
    engine = Engine(model)
    engine.add([*prompt, *[model.config.mask_id] * 4], generation(gen_length=4), FULL)
    engine.add(prompt, generation(gen_length=8), FULL)
    engine.step()
    assert model.rows_run == [28, 28]


@FAMILIES
def test_logits_are_computed_for_the_masks_of_the_block_only(family: str) -> None:
    model = random_model(CONFIGS[family])
    seen = run(model, random_prompt(model.config, 30), generation(), MASKKV, 4)
    assert [len(hidden) for hidden in seen.hidden] == [4, 3, 2, 1, 4, 3, 2, 1]


@FAMILIES
def test_the_mask_token_in_a_prompt_is_ordinary(family: str) -> None:
    model = random_model(CONFIGS[family], seed=6)
    prompt = random_prompt(model.config, 12)
    prompt[3] = prompt[-1] = model.config.mask_id
    expected = slow_run(model, prompt, generation(), cached=False)
    every = generation(prompt_interval=1, response_interval=1)
    seen = run(model, prompt, every, MASKKV, 4)
    assert [(s.positions, s.tokens) for s in seen.steps] == [(s.positions, s.tokens) for s in expected]
    assert model.config.mask_id not in seen.response
    assert len(seen.steps) == 8


class Ending(RecordingTransformer):
    """Is sure that every token ends the response."""

    def logits(self, hidden: Tensor) -> Tensor:
        logits = super().logits(hidden).clone()
        logits[:, self.config.eos_ids[1]] = 1e4
        return logits


def test_stops_at_the_end_token() -> None:
    model = Ending(LLADA)
    model.load_state_dict(random_model(LLADA).state_dict())
    prompt = random_prompt(LLADA, 12)
    stopped = run(model, prompt, generation(stop_at_eos=True), MASKKV, 4)
    assert len(stopped.steps) == 1
    assert stopped.steps[0].masks_left == 7
    first, second = LLADA.eos_ids
    assert stopped.response == [second] + [first] * 7
    assert len(run(model, prompt, generation(), MASKKV, 4).steps) == 8


@FAMILIES
@pytest.mark.parametrize("guided", [False, True])
def test_cache_bytes_are_the_kept_pairs_and_the_response_features(family: str, guided: bool) -> None:
    config = CONFIGS[family]
    model = random_model(config)
    engine = Engine(model)
    settings = generation(cfg_scale=1.0 if guided else 0.0, prompt_interval=2)
    budgets = {engine.add(random_prompt(config, 30), settings, MASKKV, b): b for b in (1, 5, 29)}
    full = engine.add(random_prompt(config, 30), settings, FULL)
    none = engine.add(random_prompt(config, 30), settings, NONE)
    live, branches, pair = 8 + config.logit_shift, 1 + guided, 2 * config.head_dim * 4
    layers, heads = config.num_layers, config.num_kv_heads
    features = layers * 2 * live * config.hidden_size * 4
    for _ in range(3):
        engine.step()
        for number, budget in budgets.items():
            kept = layers * heads * min(budget, 30 - config.logit_shift)
            assert sum(len(rows) for layer in engine[number].kept() for rows in layer) == kept
            expected = branches * ((kept + layers * heads * live) * pair + features)
            assert engine[number].cache_bytes == expected
            assert engine[number].full_cache_bytes(4) == engine[full].cache_bytes
        assert engine[full].cache_bytes == engine[full].full_cache_bytes(4)
        assert engine[none].cache_bytes == 0


def test_holders_count_the_heads_that_keep_each_position() -> None:
    model = random_model(CONFIGS["llada"])
    engine = Engine(model)
    numbers = {policy.name: engine.add(random_prompt(model.config, 12), generation(), policy, 3)
               for policy in (MASKKV, FULL, NONE)}  # fmt: skip
    engine.step()
    kept = engine[numbers["maskkv"]].kept()
    expected = [[sum(position in head for head in layer) for position in range(12)] for layer in kept]
    assert engine[numbers["maskkv"]].holders().tolist() == expected
    assert engine[numbers["full"]].holders().unique().tolist() == [model.config.num_kv_heads]
    assert engine[numbers["none"]].holders() is None


def test_a_step_proposes_for_every_mask_of_the_block_what_it_may_commit() -> None:
    model = random_model(CONFIGS["llada"])
    engine = Engine(model)
    engine.add(random_prompt(model.config, 12), generation(), FULL)
    left = [0, 1, 2, 3]
    for _ in range(4):
        step = engine.step()[0]
        assert [position for position, _, _ in step.proposals()] == left
        committed = zip(step.positions, step.tokens, step.confidences, strict=True)
        assert set(committed) <= set(step.proposals())
        assert max(step.proposals(), key=lambda proposal: proposal[2])[0] in step.positions
        left = [position for position in left if position not in step.positions]


@FAMILIES
@pytest.mark.parametrize(("kv_dtype", "tolerance"), [("int8", 0.02), ("fp8", 0.2)])
def test_kept_pairs_in_8_bits(family: str, kv_dtype: str, tolerance: float) -> None:
    """Other bytes, nearly the same rows; positions and budgets do not change, whoever runs beside."""
    model = random_model(CONFIGS[family], seed=4)
    prompt = random_prompt(model.config, 30)
    settings = generation(prompt_interval=6, response_interval=2, cfg_scale=0.5)
    exact = run(model, prompt, settings, MASKKV, 9)
    alone = run(model, prompt, settings, MASKKV, 9, kv_dtype=kv_dtype)
    torch.testing.assert_close(alone.hidden[0], exact.hidden[0], atol=0, rtol=0)
    off = (alone.hidden[2] - exact.hidden[2]).abs().max()
    assert 0 < off < tolerance * exact.hidden[2].abs().max()
    engine = Engine(model)
    exact_too = engine.add(prompt, settings, MASKKV, 9)
    numbers = [engine.add(prompt, settings, MASKKV, 9, kv_dtype=kv_dtype) for _ in range(2)]
    config = model.config
    vectors = 2 * 9 * config.num_layers * config.num_kv_heads
    steps = []
    for _ in range(8):
        steps += engine.step()
        for number in numbers:
            saved = 2 * vectors * (4 * config.head_dim - (config.head_dim + 2))
            assert engine[number].cache_bytes == engine[exact_too].cache_bytes - saved
    for number, own in [(exact_too, exact), *((number, alone) for number in numbers)]:
        assert [(step.positions, step.tokens) for step in steps if step.sequence == number] == [
            (step.positions, step.tokens) for step in own.steps
        ]
        assert engine[number].kept() == own.kept
    assert {len(heads) for heads in alone.kept} == {config.num_kv_heads}
    assert sum(len(rows) for heads in alone.kept for rows in heads) == vectors // 2


@FAMILIES
def test_probed_importance_is_one_minus_the_cosine(family: str) -> None:
    for chunk_rows in (7, 1024):
        model = random_model(CONFIGS[family], seed=7, chunk_rows=chunk_rows)
        tokens = random_prompt(model.config, 25)
        rotation = model.rotation(torch.arange(25))
        expected = SlowModel(model).run(tokens)[1]
        assert measure_importance(model, torch.tensor(tokens), rotation) == pytest.approx(expected, abs=1e-6)


def profile_of(importance: Sequence[float]) -> LayerProfile:
    return LayerProfile("tiny", "0", 1, 9, tuple(importance), (0.0,) * len(importance))


def test_a_profile_is_of_the_models_layers() -> None:
    with pytest.raises(ProfileError, match="layers"):
        Engine(random_model(LLADA), profile_of((0.5,)))


@FAMILIES
def test_each_layer_keeps_what_its_own_importance_in_the_profile_gives(family: str) -> None:
    """1 − I is .1, .3, .9, .9: the last two layers form the group to be squeezed, the others share .6 of theirs.

    So a KV head keeps 5 × (4 − 2 × .4) / 2 = 8 pairs on average in each of the first two, 2 in each of the last.
    """
    model = random_model(replace(CONFIGS[family], num_layers=4), seed=1)
    engine = Engine(model, profile_of((0.9, 0.7, 0.1, 0.1)))
    number = engine.add(random_prompt(model.config, 30), generation(), policies.named("squeezeattention"), 5)
    engine.step()
    heads = model.config.num_kv_heads
    assert [sum(map(len, layer)) for layer in engine[number].kept()] == [8 * heads, 8 * heads, 2 * heads, 2 * heads]


AWAITING = [
    MASKKV,
    mix(MASKKV, head_budget="adakv", layer_base=0.1),
    mix(MASKKV, head_budget="uniform", boundary_layers=2),
    mix(MASKKV, kernel=3, revote=False, layer_base=0.0),
    policies.named("squeezeattention"),
    mix(policies.named("squeezeattention"), head_budget="maskkv"),
]


@FAMILIES
@pytest.mark.parametrize("policy", AWAITING, ids=lambda policy: policy.name)
@pytest.mark.parametrize("budget", [1, 4, 17, 28])
@pytest.mark.parametrize("more", [{}, {"kv_dtype": "int8"}])
def test_one_pass_keeps_what_a_probing_pass_and_another_keep(
    family: str, policy: Policy, budget: int, more: dict[str, str]
) -> None:
    """Without a profile, every layer's pairs (and all that follows) are those that a profile of this prompt gives."""
    model = random_model(replace(CONFIGS[family], num_layers=7), seed=budget, chunk_rows=13)
    prompt = random_prompt(model.config, 30, seed=budget)
    settings = generation(prompt_interval=5, response_interval=2, cfg_scale=0.5 if budget == 4 else 0.0)
    branches = 2 if settings.cfg_scale else 1
    rotation = model.rotation(torch.arange(38))
    tokens = torch.tensor([*prompt, *[model.config.mask_id] * 8])
    importance = measure_importance(model, tokens, rotation)
    assert len(set(importance)) == 7
    found = []
    for profile in (profile_of(importance), None):
        model.asked.clear()
        engine = Engine(model, profile)
        number = engine.add(prompt, settings, policy, budget, **more)
        model.rows_run.clear()
        steps = engine.step()
        assert model.rows_run == [38] * branches, "a prompt is read once"
        states = [branch.cache.state(layer) for branch in engine[number].branches for layer in range(7)]
        pairs = [
            (state.pairs.lengths, state.outputs.clone(), state.pairs.join([]).attend(torch.ones(8, 4, 8), Rows([8])))
            for state in states
        ]
        kept, nbytes = engine[number].kept(), engine[number].cache_bytes
        while not steps[-1].finished:
            steps += engine.step()
        found.append((pairs, nbytes, kept, Run(steps, list(model.asked), engine[number].response(), kept)))
    (pairs, nbytes, kept, told), (own_pairs, own_nbytes, own_kept, waited) = found
    assert (kept, nbytes) == (own_kept, own_nbytes)
    assert sum(len(rows) for layer in kept for rows in layer) == budget * 7 * model.config.num_kv_heads
    for (lengths, outputs, read), (own_lengths, own_outputs, own_read) in zip(pairs, own_pairs, strict=True):
        assert lengths == own_lengths
        assert torch.equal(outputs, own_outputs)
        assert torch.equal(read, own_read)
    assert_same(told, waited, bitwise=True)


@FAMILIES
def test_a_pass_that_failed_half_way_is_run_again(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the layers held when it failed is given up; the answer is the one of an engine that did not fail."""
    model = random_model(CONFIGS[family], seed=3)
    prompt = random_prompt(model.config, 30)
    whole = run(model, prompt, generation(), MASKKV, 4)
    engine = Engine(model)
    number = engine.add(prompt, generation(), MASKKV, 4)
    with monkeypatch.context() as patch:
        patch.setattr(model.layers[2], "forward", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            engine.step()
    steps: list[Step] = []
    while not (steps and steps[-1].finished):
        steps += engine.step()
    assert engine[number].response() == whole.response
    assert engine[number].kept() == whole.kept


@FAMILIES
def test_each_sequence_has_its_own_rope_scale(family: str) -> None:
    model = random_model(CONFIGS[family], seed=9)
    prompt = random_prompt(model.config, 20)
    alone = [run(model, prompt, generation(), FULL, rope_scale=scale) for scale in (1.0, 6.0)]
    assert not torch.allclose(alone[0].hidden[1], alone[1].hidden[1], atol=1e-3)
    engine = Engine(model)
    model.asked.clear()
    for scale in (1.0, 6.0):
        engine.add(prompt, generation(), FULL, rope_scale=scale)
    for tick in range(3):
        engine.step()
        both = torch.cat([own.hidden[tick] for own in alone])
        torch.testing.assert_close(model.asked[tick], both, atol=1e-5, rtol=1e-4)


def test_rope_is_stretched_once_prompt_and_response_pass_the_trained_length() -> None:
    config = replace(LLADA, trained_length=24, head_dim=8)
    engine = Engine(random_model(config))
    fits = engine.add(random_prompt(config, 16), generation(), FULL)
    longer = engine.add(random_prompt(config, 60), generation(), FULL)
    forced = engine.add(random_prompt(config, 60), generation(), FULL, rope_scale=2.5)
    assert engine[fits].settings.rope_scale == 1.0
    assert engine[longer].settings.rope_scale == ntk_scale(8, 100.0, 24, 68) > 1
    assert engine[forced].settings.rope_scale == 2.5


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ([], {}, "prompt is empty"),
        ([1, 61], {}, "token id 61 is outside the vocabulary"),
        ([-1], {}, "token id -1 is outside"),
        ([1], {"budget": 0}, "budget 0: expected at least 1"),
        ([1], {"budget": -3}, "budget -3"),
        ([1], {"rope_scale": 0.5}, "rope_scale 0.5: expected a factor of at least 1"),
        ([1], {"rope_scale": math.inf}, "rope_scale"),
        ([1], {"rope_scale": math.nan}, "rope_scale"),
        ([1], {"kv_dtype": "int4"}, "kv_dtype 'int4': expected one of auto, int8, fp8"),
    ],
)
def test_bad_input_is_refused(prompt: list[int], options: dict[str, float | str], message: str) -> None:
    engine = Engine(random_model(LLADA))
    with pytest.raises(InputError, match=message):
        engine.add(prompt, generation(), FULL, **options)
    assert engine.step() == []


def test_numbers_are_never_used_twice() -> None:
    engine = Engine(random_model(LLADA))
    first = engine.add([1], generation(), FULL)
    engine.remove(first)
    assert engine.add([1], generation(), FULL) != first
    with pytest.raises(KeyError):
        engine[first]


def test_steps_describe_what_happened() -> None:
    model = random_model(LLADA)
    engine = Engine(model)
    number = engine.add(random_prompt(LLADA, 9), generation(steps=4), FULL)
    left = 8
    for index in range(4):
        (step,) = engine.step()
        left -= 2
        assert (step.sequence, step.index, step.masks_left, step.finished) == (number, index, left, left == 0)
        assert list(step.positions) == sorted(step.positions)
        response = engine[number].response()
        assert tuple(response[position] for position in step.positions) == step.tokens
        assert all(0 < confidence <= 1 for confidence in step.confidences)
    assert engine.step() == []


@FAMILIES
def test_the_prompt_is_read_again_once_the_values_have_moved(family: str) -> None:
    """What `value_drift` adds up is what the values of consecutive steps say, and reaching it brings a refresh."""
    model = random_model(CONFIGS[family], seed=2)
    prompt = random_prompt(model.config, 20)
    watched = Engine(model)
    number = watched.add(prompt, generation(value_drift=1e9, response_interval=2), FULL)
    values, moved = [], []
    for _ in range(4):
        watched.step()
        cache = watched[number].branches[0].cache
        assert cache is not None
        layers = range(1, model.config.num_layers)
        held = [cache.state(layer).pairs for layer in layers]
        values.append([pairs.values[pairs._tail].flatten(1).clone() for pairs in held])
        moved.append(float(cache.moved))
    steps = [
        sum(1 - float(torch.cosine_similarity(a, b, dim=-1).mean()) for a, b in zip(*pair, strict=True)) / len(layers)
        for pair in pairwise(values)
    ]
    assert moved == pytest.approx([0, steps[0], sum(steps[:2]), sum(steps)], abs=1e-5)
    seen = run(model, prompt, generation(value_drift=sum(steps[:2]) - 1e-4, response_interval=2), FULL)
    refreshes = [step.refresh for step in seen.steps[:4]]
    assert refreshes == [Refresh.PROMPT, Refresh.PARTIAL, Refresh.RESPONSE, Refresh.PROMPT]
    # From there on it is counted anew.
    again = Engine(model)
    number = again.add(prompt, generation(value_drift=sum(steps[:2]) - 1e-4, response_interval=2), FULL)
    for step in range(4):
        again.step()
        assert (float(again[number].moved[0]) == 0) == (step in (0, 3))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("temperature", (0.0, 0.9)),
        ("remasking", ("low_confidence", "random")),
        ("confidence_eos_eot_inf", (False, True)),
        ("logits_eos_inf", (False, True)),
        ("alg", (None, "entropy")),
        ("alg", ("topk_margin", "entropy")),
        ("alg_temp", (0.0, 2.0)),
        ("top_p", (None, 0.3)),
        ("top_k", (None, 2)),
        ("min_confidence", (None, 0.99)),
    ],
)
def test_sequences_that_differ_in_one_setting_do_not_share_it(name: str, values: tuple[Any, Any]) -> None:
    """What two sequences sample together, with one product by the vocabulary matrix, is what each samples alone."""
    model = random_model(LLADA, seed=2)
    base = {"alg": "entropy", "temperature": 0.8} if name in ("alg_temp", "top_p", "top_k") else {}
    settings = [generation(seed=5, **{**base, name: value}) for value in values]

    def responses(together: list[Generation]) -> list[list[int]]:
        engine = Engine(model)
        numbers = [engine.add(random_prompt(LLADA, 20), each, FULL) for each in together]
        while engine.step():
            pass
        return [engine[number].response() for number in numbers]

    assert responses(settings) == [response for each in settings for response in responses([each])]


def test_a_failure_of_one_sequence_leaves_the_finished_ones_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(random_model(LLADA))
    first, second = (engine.add(random_prompt(LLADA, 9), generation(gen_length=length), FULL) for length in (4, 8))
    for _ in range(3):
        engine.step()
    right = engine[second].commit

    def failing(*_: object) -> None:
        raise CheckpointError("no numbers")

    monkeypatch.setattr(engine[second], "commit", failing)
    with pytest.raises(CheckpointError):
        engine.step()
    monkeypatch.setattr(engine[second], "commit", right)
    assert engine[first].finished
    # The step that the first one took in the call that raised is not lost.
    assert [step.sequence for step in engine.step()] == [first, second]


@FAMILIES
@pytest.mark.parametrize("most", [1, 2])
def test_prompts_take_turns_and_tokens_stay(family: str, most: int) -> None:
    """Five prompts are due at once, again and again, one of them for two policies; each is answered as it is alone.

    With and without guidance, a cache, doubt and drift.
    """
    model = random_model(CONFIGS[family], seed=5)
    prompts = [random_prompt(model.config, 20 + index, seed=index) for index in range(5)]
    asked = [
        (prompts[0], generation(prompt_interval=4), MASKKV, 3),
        (prompts[0], generation(prompt_interval=4), FULL, None),
        (prompts[1], generation(prompt_interval=4, cfg_scale=0.5), MASKKV, 4),
        (prompts[2], generation(prompt_interval=2, value_drift=0.01), MASKKV, 5),
        (prompts[3], generation(min_confidence=0.9), MASKKV, 5),
        (prompts[4], generation(), NONE, None),
    ]
    alone = [run(model, *own) for own in asked]
    engine = Engine(model, most_prompts=most)
    numbers = [engine.add(*own) for own in asked]
    seen: dict[int, list[Step]] = {number: [] for number in numbers}
    ticks = 0
    while steps := engine.step():
        ticks += 1
        model.rows_run.clear()
        whole = [step for step in steps if step.refresh in (None, Refresh.PROMPT)]
        assert len({tuple(engine[step.sequence].canvas.tokens[:20].tolist()) for step in whole}) <= most
        for step in steps:
            seen[step.sequence].append(step)
    for number, own in zip(numbers, alone, strict=True):
        assert [(s.refresh, s.positions, s.tokens) for s in seen[number]] == [
            (s.refresh, s.positions, s.tokens) for s in own.steps
        ]
        assert engine[number].response() == own.response
        assert engine[number].kept() == own.kept
    reads = sum(step.refresh in (None, Refresh.PROMPT) for own in seen.values() for step in own)
    # The two that share a prompt share their first reading of it.
    assert ticks >= (reads - 1) / most


def test_nobody_waits_for_ever() -> None:
    """A sequence without a cache reads everything at every step: others come between, in turn."""
    model = random_model(LLADA)
    engine = Engine(model, most_prompts=1)
    for index, policy in enumerate((NONE, NONE, MASKKV)):
        engine.add(random_prompt(LLADA, 12 + index), generation(), policy, None if policy is NONE else 3)
    order = [[step.sequence for step in engine.step()] for _ in range(7)]
    assert order == [[0], [1], [2], [0, 2], [1, 2], [0, 2], [1, 2]]


def test_whoever_waits_keeps_its_place_in_the_pass() -> None:
    """What runs together is not copied apart and together again when the prompt of one of them is read."""
    model = random_model(LLADA)
    engine = Engine(model, most_prompts=1)
    for index in range(3):
        engine.add(random_prompt(LLADA, 12 + index), generation(gen_length=12, prompt_interval=5), MASKKV, 3)
    joined = set()
    for tick in range(8):
        engine.step()
        if tick >= 3:
            joined.add(id(engine._passes._joint["auto"]))
    assert len(joined) == 1
    assert [engine[number].prompt_passes for number in range(3)] == [2, 2, 2]
