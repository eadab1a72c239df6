"""A prompt that begins as an earlier one did is read from where both part, and nothing else changes."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.faults import FaultError, Planted, planted
from tests.reference import CONFIGS, SDAR, RecordingTransformer, random_model, random_prompt

from maskkv import policies
from maskkv.cache import EvictingCache, Prefix
from maskkv.decoding.engine import Engine
from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.eviction.view import LayerView
from maskkv.generation import Generation
from maskkv.mixing import mix

FULL, MASKKV, SNAPKV, NONE = (policies.named(name) for name in ("full", "maskkv", "snapkv", "none"))
LOOKS_BACK = ("h2o", "knorm", "prompt-voting")
"""What these rank by is not held: they ask every row."""


@cache
def sdar(block: int = 4, chunk_rows: int = 1024) -> RecordingTransformer:
    return random_model(replace(SDAR, causal_block=block), seed=3, chunk_rows=chunk_rows)


@dataclass
class Turn:
    prompt: list[int]
    policy: Policy = FULL
    budget: int | None = None
    kv_dtype: str = "auto"
    length: int = 12
    rope_scale: float | None = None


@dataclass
class Answered:
    steps: list[tuple[object, ...]]
    confidences: list[float]
    logits: list[torch.Tensor]
    response: list[int]
    kept: list[list[list[int]]]
    reused: int
    rows: int
    """Rows that ran when the prompt was read: the last time, if a policy asked for more of them."""


def answer(model: RecordingTransformer, turn: Turn, prefix: Prefix | None = None, **more: object) -> Answered:
    generation = Generation(gen_length=turn.length, block_length=model.config.causal_block or 4, **more)
    engine, ran = Engine(model), []
    number = engine.add(
        turn.prompt, generation, turn.policy, turn.budget, turn.rope_scale, turn.kv_dtype, prefix=prefix
    )
    model.asked.clear()
    hook = model.layers[0].register_forward_pre_hook(lambda _, given: ran.append(len(given[0])))
    steps = engine.step()
    hook.remove()
    while not steps[-1].finished:
        steps += engine.step()
    with torch.inference_mode():
        logits = [model.head(model.norm(hidden)) for hidden in model.asked]
    each = engine[number]
    told = [(step.refresh, step.positions, step.tokens, step.masks_left) for step in steps]
    sure = [confidence for step in steps for confidence in step.confidences]
    return Answered(told, sure, logits, each.response(), each.kept(), each.reused, ran[-1])


def assert_same(one: Answered, other: Answered) -> None:
    assert (one.steps, one.response, one.kept) == (other.steps, other.response, other.kept)
    assert one.confidences == pytest.approx(other.confidences, abs=1e-5)
    for ours, theirs in zip(one.logits, other.logits, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def assert_reuse_changes_nothing(
    model: RecordingTransformer, turns: Sequence[Turn], prefix: Prefix | None = None
) -> list[Answered]:
    prefix, seen = Prefix() if prefix is None else prefix, []
    for turn in turns:
        alone, behind = answer(model, turn), answer(model, turn, prefix)
        assert_same(behind, alone)
        assert behind.rows == alone.rows - behind.reused
        seen.append(behind)
    return seen


def conversation(model: RecordingTransformer, first: list[int], turn: Turn, count: int = 3) -> list[Turn]:
    """Return turns whose prompts are all that was said before, and a message."""
    turns, prompt = [], first
    for index in range(count):
        turns.append(replace(turn, prompt=prompt))
        prompt = [*prompt, *answer(model, turns[-1]).response, *random_prompt(SDAR, 7, 90 + index)]
    return turns


@settings(deadline=None, max_examples=8)
@given(st.data())
def test_a_prompt_is_read_from_where_it_parts(data: st.DataObject) -> None:
    block = data.draw(st.sampled_from([1, 2, 3, 4, 6, 8]))
    model = sdar(block, data.draw(st.sampled_from([3, 1024])))
    name = data.draw(st.sampled_from(["full", "maskkv", "snapkv", "streamingllm", "squeezeattention", "adakv", "h2o"]))
    budgets = st.sampled_from([None, 1, 5, 11, 500])
    kinds = st.sampled_from(["auto", "int8"])
    lengths = st.integers(1, 3).map(lambda blocks: blocks * block)
    first = Turn(
        random_prompt(SDAR, data.draw(st.integers(1, 40)), 5),
        policies.named(name),
        data.draw(budgets),
        data.draw(kinds),
        data.draw(lengths),
    )
    prefix = Prefix(data.draw(st.sampled_from(["host", "device"])))
    said = [*first.prompt, *answer(model, first, prefix).response]
    part = data.draw(st.integers(0, len(said)))
    tail = random_prompt(SDAR, data.draw(st.integers(0 if part else 1, 20)), 6)
    if tail and part < len(said):
        tail[0] = (said[part] + 1) % 50
    second = replace(
        first,
        prompt=[*said[:part], *tail],
        budget=data.draw(budgets),
        kv_dtype=data.draw(kinds),
        length=data.draw(lengths),
    )
    alone, behind = answer(model, second), answer(model, second, prefix)
    assert_same(behind, alone)
    # Blocks of the prompt alone if what followed read pairs that were not exact; never the last, which has masks.
    exact = first.kv_dtype == "auto" and not first.policy.evicts(first.budget, len(first.prompt) // block * block)
    last = (len(said) - 1 if exact else len(first.prompt)) // block * block
    held = min(part // block * block, len(second.prompt) // block * block, last)
    if second.policy.evicts(second.budget, len(second.prompt) // block * block):
        assert behind.reused <= held
        if name in ("maskkv", "streamingllm"):
            assert behind.reused == held
    else:
        assert behind.reused == held
    assert prefix.tokens[: len(second.prompt) // block * block] == second.prompt[: len(second.prompt) // block * block]


CASES = [
    *((name, 6, "auto") for name in sorted(policies.names())),
    *(("maskkv", 6, "int8"), ("snapkv", 6, "int8"), ("maskkv", None, "int8"), ("maskkv", None, "auto")),
]


FIRST = {("full", 6, "auto"), ("maskkv", 6, "auto"), ("snapkv", 6, "int8"), ("h2o", 6, "auto")}


@pytest.mark.parametrize(
    ("name", "budget", "kv_dtype"),
    [pytest.param(*case, marks=() if case in FIRST else pytest.mark.slow) for case in CASES],
)
def test_three_turns_in_a_row(name: str, budget: int | None, kv_dtype: str) -> None:
    model, turn = sdar(), Turn([], policies.named(name), budget, kv_dtype)
    seen = assert_reuse_changes_nothing(model, conversation(model, random_prompt(SDAR, 21), turn))
    evicts = budget is not None and turn.policy.can_evict
    if not turn.policy.cached or (evicts and name in LOOKS_BACK):
        expected = [0, 0, 0]
    elif evicts and name in ("snapkv", "adakv", "pyramidkv", "squeezeattention"):
        # Their window, the last 32 rows of the prompt, runs again.
        expected = [0, 8, 24]
    else:
        # Of the first turn 20 rows of the prompt, or with its answer 32.
        expected = [0, 32, 48] if kv_dtype == "auto" and not evicts else [0, 20, 40]
    assert [each.reused for each in seen] == expected


def test_the_budget_may_change_in_between() -> None:
    """What layers are important is asked of all rows, those of an answer included."""
    model = sdar()
    turns = conversation(model, random_prompt(SDAR, 30), Turn([]), count=4)
    for turn, (policy, budget) in zip(turns, [(MASKKV, 200), (MASKKV, 6), (SNAPKV, 9), (MASKKV, 30)], strict=True):
        turn.policy, turn.budget = policy, budget
    seen = assert_reuse_changes_nothing(model, turns)
    assert seen[1].reused > 30
    assert all(each.reused for each in seen[1:])


def test_pairs_that_come_back_are_the_same() -> None:
    model = sdar()
    recalling = Turn([], mix(MASKKV, evicted="host", recall_interval=1), 5)
    seen = assert_reuse_changes_nothing(model, conversation(model, random_prompt(SDAR, 21), recalling))
    assert [each.reused for each in seen] == [0, 20, 40]


@pytest.mark.parametrize(
    "stop", [1, 4, 5, 9, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3, 6, 7, 8, 10, 11))]
)
def test_only_finished_blocks_count(stop: int) -> None:
    """An answer may end anywhere: at an end token, or because somebody stopped it after so many steps."""
    model, prompt, prefix = sdar(), random_prompt(SDAR, 14), Prefix()
    whole = answer(model, Turn(prompt)).response
    engine = Engine(model)
    number = engine.add(prompt, Generation(gen_length=12, block_length=4), FULL, prefix=prefix)
    for _ in range(stop):
        engine.step()
    done = int((~engine[number].canvas.masked).sum()) + len(prompt)
    engine.remove(number)
    assert prefix.tokens == [*prompt, *whole][: len(prefix.tokens)]
    assert len(prefix.tokens) % 4 == 0
    assert done - 5 <= len(prefix.tokens) <= done
    assert_reuse_changes_nothing(model, [Turn([*prompt, *whole, 3])], prefix)


def test_an_end_token_inside_a_block_ends_what_is_held() -> None:
    prompt = random_prompt(SDAR, 14)
    told = answer(sdar(), Turn(prompt)).response
    model = random_model(replace(SDAR, eos_ids=(told[8],)), seed=3)
    prefix, place = Prefix(), told.index(told[8])
    answer(model, Turn(prompt), prefix)
    assert prefix.tokens == [*prompt, *told][: (14 + place) // 4 * 4]
    assert_reuse_changes_nothing(model, [Turn([*prompt, *told[: place + 1], 5, 6])], prefix)


def test_another_answer_takes_the_place_of_the_first() -> None:
    """The same prompt answered again, then a conversation that goes on from the second answer."""
    model, prompt, prefix = sdar(), random_prompt(SDAR, 18), Prefix()
    answer(model, Turn(prompt), prefix)
    held = prefix.tokens
    again = answer(model, Turn(prompt, MASKKV, 3), prefix)
    assert again.reused == 16
    # Which does not read all pairs, so nothing of it is held, and what is held stays.
    assert prefix.tokens == held
    drawn = answer(model, Turn(prompt), prefix, temperature=2.0, seed=5)
    assert prefix.tokens == [*prompt, *drawn.response][: len(prefix.tokens)] != held
    (seen,) = assert_reuse_changes_nothing(model, [Turn([*prompt, *drawn.response, 1, 2])], prefix)
    assert seen.reused == 28


def test_another_stretch_of_positions_reuses_nothing() -> None:
    model, prefix = sdar(), Prefix()
    first, other = (replace(each, policy=MASKKV, budget=5) for each in conversation(model, [4] * 9, Turn([]), 2))
    assert_reuse_changes_nothing(model, [first], prefix)
    seen = assert_reuse_changes_nothing(model, [replace(other, rope_scale=4.0)] * 2, prefix)
    assert [each.reused for each in seen] == [0, len(other.prompt) // 4 * 4]
    assert assert_reuse_changes_nothing(model, [other], prefix)[0].reused == 0


def test_sequences_that_part_may_share_a_prefix() -> None:
    """Whoever's rows are held, each finds its own or reads them."""
    model, prefix = sdar(), Prefix()
    prompts = [random_prompt(SDAR, 17), [*random_prompt(SDAR, 9), *random_prompt(SDAR, 12, 8)], random_prompt(SDAR, 17)]
    turns = [Turn(prompt, policy, 6) for prompt, policy in zip(prompts, (FULL, MASKKV, MASKKV), strict=True)]
    expected = [answer(model, turn) for turn in turns]
    engine = Engine(model)
    generation = Generation(gen_length=12, block_length=4)
    numbers = [engine.add(turn.prompt, generation, turn.policy, turn.budget, prefix=prefix) for turn in turns]
    for _ in range(40):
        engine.step()
    for number, own in zip(numbers, expected, strict=True):
        assert (engine[number].response(), engine[number].kept()) == (own.response, own.kept)
    assert_reuse_changes_nothing(model, [Turn([*turn.prompt, 1, 2, 3]) for turn in turns], prefix)


@cache
def told(policy: Policy) -> tuple[Turn, Turn, Turn, Answered]:
    """Return three turns and the answer to the second; nothing is evicted of the first."""
    first, second, third = conversation(sdar(), random_prompt(SDAR, 18), Turn([], policy, 500))
    second.budget = third.budget = 6
    return first, second, third, answer(sdar(), second)


@pytest.mark.parametrize("at", [0, 6])
@pytest.mark.parametrize("place", ["outputs", "live", "host"])
@pytest.mark.parametrize("policy", [MASKKV, *(pytest.param(each, marks=pytest.mark.slow) for each in (FULL, SNAPKV))])
def test_after_a_failure_pairs_are_made_anew(policy: Policy, place: str, at: int) -> None:
    model, prefix = sdar(), Prefix()
    first, second, third, expected = told(policy)
    answer(model, first, prefix)
    engine, fault = Engine(model), Planted(place, "all", at, victim=0, most=2)
    number = engine.add(second.prompt, Generation(gen_length=12, block_length=4), policy, second.budget, prefix=prefix)
    with planted(fault, engine):
        while not engine[number].finished:
            with suppress(FaultError):
                engine.step()
            fault.tick += 1
    assert (engine[number].response(), engine[number].kept()) == (expected.response, expected.kept)
    assert_reuse_changes_nothing(model, [third], prefix)


def test_a_pass_that_fails_leaves_only_what_it_had_found() -> None:
    model, prefix, first = sdar(), Prefix(), random_prompt(SDAR, 21)
    answer(model, Turn(first), prefix)
    engine = Engine(model)
    other = [*first[:9], (first[9] + 1) % 50, *first[10:]]
    engine.add(other, Generation(gen_length=12, block_length=4), FULL, prefix=prefix)
    with planted(Planted("outputs", "all", 0, victim=0), engine), pytest.raises(FaultError):
        engine.step()
    assert prefix.tokens == first[:8]


def test_each_of_two_prefixes_takes_the_pairs_of_one_prompt() -> None:
    engine, prefixes, prompt = Engine(sdar()), [Prefix(), Prefix()], random_prompt(SDAR, 21)
    for prefix in prefixes:
        engine.add(prompt, Generation(gen_length=12, block_length=4), MASKKV, 5, prefix=prefix)
    engine.step()
    assert [prefix.tokens for prefix in prefixes] == [prompt[:20]] * 2


def test_all_rows_count_in_the_layers_importance() -> None:
    """Those that an answer's blocks had when they were finished are those of a prompt that spells them out."""
    model, together, apart = sdar(), Prefix(), Prefix()
    first, second = conversation(model, random_prompt(SDAR, 21), Turn([]), 2)
    for turn in (first, second):
        answer(model, turn, together)
    whole = Turn(together.tokens)
    answer(model, whole, apart)
    found = [prefix._cosines.first(len(whole.prompt)) for prefix in (together, apart)]
    torch.testing.assert_close(*found, atol=1e-6, rtol=0)
    learnt: list[tuple[float, ...]] = []
    with pytest.MonkeyPatch.context() as patch:
        right = EvictingCache.learn
        patch.setattr(EvictingCache, "learn", lambda own, each: (learnt.append(tuple(each)), right(own, each))[1])
        for prefix in (None, together):
            answer(model, Turn([*whole.prompt, 1, 2], MASKKV, 6), prefix)
    half = len(learnt) // 2
    assert half == SDAR.num_layers + 1
    for ours, theirs in zip(learnt[:half], learnt[half:], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)


@dataclass(frozen=True)
class LooksBackLater:
    """Ask for rows of the prompt in the last layer only, when others have chosen."""

    def __call__(self, view: LayerView) -> torch.Tensor:
        return view.votes("mask" if view.layer < view.num_layers - 1 else "last:30")


def test_a_scorer_may_ask_for_rows_that_have_not_run() -> None:
    model = sdar()
    turn = Turn([], Policy("own", "", LooksBackLater()), 5)
    seen = assert_reuse_changes_nothing(model, conversation(model, random_prompt(SDAR, 30), turn))
    assert [each.reused for each in seen] == [0, 16, 36], "from the block that the first of 30 rows is in"


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_it_is_for_block_causal_models(family: str) -> None:
    said = (
        f"prefix reuse is for block-causal models: on {CONFIGS[family].family} every pair depends on the whole prompt"
    )
    with pytest.raises(InputError, match=said):
        Engine(random_model(CONFIGS[family])).add([1, 2, 3], Generation(), FULL, prefix=Prefix())


def test_it_is_for_one_model() -> None:
    prefix = Prefix()
    answer(sdar(), Turn([1, 2, 3, 4, 5]), prefix)
    with pytest.raises(InputError, match="holds pairs of another model: expected one prefix for each model"):
        answer(random_model(SDAR, seed=3), Turn([1, 2, 3, 4, 5]), prefix)


def test_where_it_is_held_is_one_of_two_places() -> None:
    with pytest.raises(InputError, match="a prefix is held in 'disk': expected host or device"):
        Prefix("disk")


def test_without_a_cache_it_is_left_alone() -> None:
    model, prefix = sdar(), Prefix()
    assert_reuse_changes_nothing(model, [Turn(random_prompt(SDAR, 21), NONE)] * 2, prefix)
    assert (prefix.tokens, prefix.nbytes) == ([], 0)


@pytest.mark.parametrize(("policy", "rows"), [(FULL, 36), (MASKKV, 20)])
def test_it_takes_all_pairs_and_a_number_per_row_and_layer(policy: Policy, rows: int) -> None:
    """There is room for an answer that reads all of them, and none for one that does not."""
    prefix = Prefix()
    answer(sdar(), Turn(random_prompt(SDAR, 21), policy, 6), prefix)
    layers, pair = SDAR.num_layers, 2 * SDAR.num_kv_heads * SDAR.head_dim
    assert prefix.nbytes == 4 * rows * layers * (pair + 1)


@pytest.mark.parametrize("where", ["host", "device"])
def test_it_fits_into_half_of_what_is_free(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, prefix = sdar(), Prefix(where)
    row = 4 * 2 * SDAR.num_layers * SDAR.num_kv_heads * SDAR.head_dim
    free: list[Any] = []
    monkeypatch.setattr("maskkv.memory.available", lambda device: free.append(device) or 20 * row)
    assert prefix.fits(model, 10)
    assert not prefix.fits(model, 11)
    answer(model, Turn(random_prompt(SDAR, 21), MASKKV, 6), prefix)
    assert prefix.fits(model, 30)
    assert not prefix.fits(model, 32)


def test_a_longer_answer_to_the_same_prompt_keeps_what_is_held() -> None:
    """Room is made for it, and the rows of the first answer move along."""
    model, prompt, prefix = random_model(SDAR), random_prompt(SDAR, 12), Prefix()

    def response(tokens: list[int], length: int, held: Prefix | None) -> tuple[list[int], int]:
        engine = Engine(model)
        asked = Generation(gen_length=length, block_length=4, stop_at_eos=False)
        number = engine.add(tokens, asked, policies.named("full"), prefix=held)
        while not engine[number].finished:
            engine.step()
        return engine[number].response(), engine[number].reused

    response(prompt, 8, prefix)
    turn = [*prompt, *response(prompt, 40, prefix)[0], 9]
    (again, reused), (alone, none) = response(turn, 8, prefix), response(turn, 8, None)
    assert again == alone
    assert reused > 12 > none == 0
