"""What fails for one of several sequences is its own affair: the others' tokens are those of a run without it."""

import gc
import weakref
from dataclasses import replace
from functools import cache
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.faults import PLACES, Asked, FaultError, Planted, Ran, planted, run
from tests.reference import CONFIGS, RecordingTransformer, random_model, random_prompt

from maskkv import policies
from maskkv.cache import EvictingCache
from maskkv.cache.state import LiveState
from maskkv.decoding.engine import Engine, Step
from maskkv.decoding.passes import Passes
from maskkv.decoding.sequence import RunningSequence
from maskkv.eviction.policy import Policy
from maskkv.eviction.profile import LayerProfile
from maskkv.generation import Generation
from maskkv.mixing import mix

MASKKV, SQUEEZE = policies.named("maskkv"), policies.named("squeezeattention")
VICTIM = 1
"""The second sequence; its budget is 4."""


def told(steps: list[Step]) -> list[tuple[object, ...]]:
    return [(step.index, step.refresh, step.positions, step.tokens, step.masks_left, step.finished) for step in steps]


def assert_same(number: int, seen: Ran, undisturbed: Ran) -> None:
    assert told(seen.steps[number]) == told(undisturbed.steps[number])
    for one, other in zip(seen.steps[number], undisturbed.steps[number], strict=True):
        assert one.confidences == pytest.approx(other.confidences, abs=1e-5)
    assert seen.ended[number] == undisturbed.ended[number]


def assert_harmless(seen: Ran, undisturbed: Ran, fault: Planted) -> None:
    """Whoever is concerned was told so, once, and took the steps before it; nobody else noticed."""
    for number, steps in undisturbed.steps.items():
        if number not in seen.failed:
            assert_same(number, seen, undisturbed)
            continue
        own = told(seen.steps[number])
        assert own == told(steps)[: len(own)]
        assert isinstance(seen.failed[number], fault.error)
        assert number not in seen.ended
    if fault.who == "one":
        assert set(seen.failed) <= {VICTIM}
    if fault.who == "together" or (fault.who == "once" and fault.place in ("joining", "live")):
        assert not seen.failed


def four(family: str, **changes: Any) -> list[Asked]:
    """Four sequences; the first two read one and the same prompt, and draw at random."""
    config = CONFIGS[family]
    base = {"gen_length": 8, "block_length": 4, "stop_at_eos": False, "prompt_interval": 5, "response_interval": 2}
    options = [
        {"temperature": 0.8, "seed": 3},
        {"temperature": 0.8, "seed": 3},
        {"alg": "entropy", "temperature": 0.7, "alg_temp": 0.3, "value_drift": 0.05},
        {"cfg_scale": 0.5, "min_confidence": 0.3},
    ]
    kept = [MASKKV, MASKKV, SQUEEZE, mix(MASKKV, revote=False)]
    return [
        Asked(
            random_prompt(config, 20 + own, own),
            Generation(**{**base, **options[index], **changes}),
            kept[index],
            3 + index,
        )
        for index, own in enumerate((0, 0, 2, 3))
    ]


@cache
def clean(family: str) -> Ran:
    return run(model(family), four(family))


@cache
def model(family: str) -> RecordingTransformer:
    return random_model(CONFIGS[family], seed=4, chunk_rows=13)


CASES = [
    (place, who, "llada" if (index + shift) % 2 else "dream")
    for index, place in enumerate(PLACES)
    for shift, who in enumerate(("one", "all", "together", "once"))
]
FIRST = {"branches", "importance", "vote"}
EARLY = {*FIRST, "joining"}
"""Places that are hardly come by after the first prompt refresh, and the first pass for many."""


@pytest.mark.parametrize(("place", "who", "family"), CASES)
def test_a_failure_is_one_sequences_own(place: str, who: Any, family: str) -> None:
    """Wherever it happens; what fails only for many together stops nobody."""
    asked, undisturbed = four(family), clean(family)
    fault = Planted(place, who, 0 if place in EARLY else 3, victim=asked[VICTIM].budget)
    seen = run(model(family), asked, fault)
    assert_harmless(seen, undisturbed, fault)
    if who == "one":
        assert set(seen.failed) == {VICTIM}
    if who == "all":
        # Not everybody's prompt is read again.
        assert len(seen.failed) == 4 or (place == "outputs" and seen.failed)
    # These are done for one at a time.
    assert fault.raised or (who == "together" and place in {*FIRST, "commit"})


@pytest.mark.parametrize("place", ["outputs", "live", "propose", "host", "commit"])
@pytest.mark.parametrize("error", [FaultError, KeyboardInterrupt])
def test_after_an_error_is_raised_the_engine_goes_on(place: str, error: type[BaseException]) -> None:
    """With the plain call; what others did in the step that raised is not lost."""
    fault = Planted(place, "one" if error is FaultError else "once", 3, victim=4, error=error, most=2)
    seen = run(model("llada"), four("llada"), fault, told=False)
    assert seen.raised > 0
    for number in seen.steps:
        assert_same(number, seen, clean("llada"))


def test_steps_that_could_not_be_returned_come_with_the_next_or_go_with_their_sequence() -> None:
    engine = Engine(model("llada"))
    first, second, third = (
        engine.add(each.prompt, each.generation, each.policy, each.budget) for each in four("llada")[1:]
    )
    engine[second].sampler.commit = Mock(side_effect=FaultError)
    for _ in range(2):
        with pytest.raises(FaultError):
            engine.step()
    assert engine[first].index == engine[third].index == 2
    engine.remove(second)
    engine.remove(third)
    assert [(step.sequence, step.index) for step in engine.step()] == [(first, 0), (first, 1), (first, 2)]


def test_those_that_cannot_run_together_do_not_try_at_every_step() -> None:
    """They stay apart until their prompt is read again: with each attempt it is read once more for nothing."""
    asked = [replace(each, generation=replace(each.generation, prompt_interval=50)) for each in four("llada")[:2]]
    fault = Planted("live", "together", 2, victim=0)
    own = model("llada")
    own.rows_run.clear()
    seen = run(own, asked, fault)
    assert (fault.raised, seen.failed) == (1, {})
    assert own.rows_run.count(28) == 1 + 2, "one prompt, read for both at once, and once more for each"


@pytest.mark.parametrize("who", ["one", "once"])
def test_they_run_together_again(who: Any) -> None:
    """At once without the one to blame; with nobody to blame when their prompt has been read again."""
    schedule = {"gen_length": 8, "block_length": 8, "stop_at_eos": False, "prompt_interval": 5}
    own = model("llada")
    engine = Engine(own)
    for index in range(3):
        engine.add(random_prompt(own.config, 20 + index), Generation(**schedule), MASKKV, 3 + index)
    fault = Planted("live", who, 2, victim=4)
    rows = []
    with planted(fault, engine):
        for fault.tick in range(7):
            own.rows_run.clear()
            engine.step(lambda number, _: None)
            rows.append(sorted(own.rows_run))
    whole, left = [28, 29, 30], 2 if who == "one" else 3
    # In the third step each reads its prompt again, repeats the second step and takes its own; a victim fails before.
    assert rows[:3] == [whole, [24], [*[8] * (3 + left), 24, *whole]]
    assert rows[5] == (whole[::2] if who == "one" else whole)
    assert rows[3] == rows[4] == ([16] if who == "one" else [8] * 3)
    assert rows[6] == [8 * left]


def test_a_refresh_that_fails_holds_nothing() -> None:
    """Neither what was chosen already nor what waits, even while the error is kept."""
    engine = Engine(model("llada"))
    number = engine.add(random_prompt(CONFIGS["llada"], 20), Generation(gen_length=4, block_length=4), MASKKV, 3)
    held: list[weakref.ref[Any]] = []

    def choose(cache: EvictingCache, view: Any) -> None:
        right(cache, view)
        held.append(weakref.ref(cache._waiting[view.layer]))
        if view.layer == 2:
            raise FaultError

    right = EvictingCache.choose
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EvictingCache, "choose", choose)
        with pytest.raises(FaultError) as caught:
            engine.step()
    assert caught.value is not None
    assert [each() for each in held] == [None] * 3
    assert engine[number].cache_bytes == 0


def test_what_was_joined_is_released_before_anybody_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the memory of all would be held twice."""
    engine, held = Engine(model("llada")), []
    numbers = [engine.add(each.prompt, each.generation, each.policy, each.budget) for each in four("llada")]
    right = Passes.alone

    def alone(passes: Passes, sequence: RunningSequence) -> list[torch.Tensor]:
        held.append([engine[number].cache_bytes for number in numbers])
        return right(passes, sequence)

    monkeypatch.setattr(Passes, "alone", alone)
    fault = Planted("live", "once", 2, victim=0)
    with planted(fault, engine):
        for fault.tick in range(3):
            engine.step()
    assert held[0] == [0, 0, 0, 0]
    assert held[1][0] > 0


def test_no_memory_to_part_with_is_no_failure() -> None:
    """Whoever stays when another leaves is copied out of what was joined; if that fails, it is made anew."""
    family = "llada"
    engine = Engine(model(family))
    numbers = [engine.add(each.prompt, each.generation, each.policy, each.budget) for each in four(family)]
    steps = [step for _ in range(3) for step in engine.step()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LiveState, "leave", Mock(side_effect=torch.OutOfMemoryError))
        engine.remove(numbers[1])
    while done := engine.step():
        steps += done
    for number in (numbers[0], *numbers[2:]):
        assert told([step for step in steps if step.sequence == number]) == told(clean(family).steps[number])


SCHEDULES = st.fixed_dictionaries(
    {
        "prompt_interval": st.integers(2, 9),
        "response_interval": st.integers(1, 4),
        "transfer_ratio": st.sampled_from([0.0, 0.25, 0.6]),
        "seed": st.integers(0, 99),
        "stop_at_eos": st.booleans(),
        "cfg_scale": st.sampled_from([0.0, 0.0, 0.7]),
    }
)
RULES = [{}, {}, {"one_pass": True}, {"min_confidence": 0.4}, {"value_drift": 0.05}]
SAMPLING = [
    {},
    {"temperature": 0.8},
    {"remasking": "random"},
    {"threshold": 0.4},
    {"alg": "entropy", "temperature": 0.7, "alg_temp": 0.3, "top_p": 0.9},
    {"alg": "origin", "temperature": 1.2},
    {"alg": "maskgit_plus"},
]
POLICIES = [policies.named(name) for name in policies.names()] + [
    mix(MASKKV, revote=False),
    mix(MASKKV, evicted="host"),
    mix(MASKKV, evicted="host", recall_interval=2, index="int8"),
]


@st.composite
def sequences(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, int], Policy, str]:
    own = {"gen_length": 8, "block_length": draw(st.sampled_from([4, 8])), **draw(SCHEDULES)}
    own |= draw(st.sampled_from(RULES)) | draw(st.sampled_from(SAMPLING))
    # The length of the prompt, and what it is: some are equal.
    prompt = draw(st.sampled_from([(12, 0), (12, 0), (9, 1), (17, 2)]))
    return own, prompt, draw(st.sampled_from(POLICIES)), draw(st.sampled_from(["auto", "auto", "int8"]))


@given(
    family=st.sampled_from(sorted(CONFIGS)),
    several=st.lists(sequences(), min_size=2, max_size=4),
    place=st.sampled_from(PLACES),
    who=st.sampled_from(["one", "one", "together", "once", "all"]),
    at=st.integers(0, 7),
    profiled=st.booleans(),
    most_prompts=st.sampled_from([None, 1]),
)
@settings(max_examples=6)
def test_whatever_fails_the_others_do_not_notice(
    family: str,
    several: list[tuple[dict[str, Any], tuple[int, int], Policy, str]],
    place: str,
    who: Any,
    at: int,
    profiled: bool,
    most_prompts: int | None,
) -> None:
    asked = [
        Asked(random_prompt(CONFIGS[family], *prompt), Generation(**own), policy, 3 + index, kv_dtype)
        for index, (own, prompt, policy, kv_dtype) in enumerate(several)
    ]
    layers = CONFIGS[family].num_layers
    profile = LayerProfile("tiny", "0", 1, 9, (0.5, 0.1, 0.3, 0.2)[:layers], (0.0,) * layers) if profiled else None
    options = {"profile": profile, "most_prompts": most_prompts}
    fault = Planted(place, who, at, victim=4)
    assert_harmless(run(model(family), asked, fault, **options), run(model(family), asked, **options), fault)


@pytest.mark.parametrize(("place", "who"), [("importance", "once"), ("outputs", "once"), ("outputs", "together")])
def test_what_is_tried_again_keeps_to_the_profile(place: str, who: Any) -> None:
    """Of equal prompts in one pass: a second try that measured the importance itself would keep other pairs."""
    layers = CONFIGS["llada"].num_layers
    options = {"profile": LayerProfile("tiny", "0", 1, 9, (0.01, 1.5, 0.02, 0.9)[:layers], (0.0,) * layers)}
    fault = Planted(place, who, 0, victim=4)
    seen = run(model("llada"), four("llada"), fault, **options)
    assert fault.raised
    assert not seen.failed
    assert_harmless(seen, run(model("llada"), four("llada"), **options), fault)


def test_an_error_that_is_kept_keeps_nothing_of_the_sequence_alive() -> None:
    engine, errors = Engine(model("llada")), []
    asked = four("llada")
    for each in asked:
        engine.add(each.prompt, each.generation, each.policy, each.budget)
    with planted(Planted("commit", "one", 0, victim=asked[VICTIM].budget), engine):
        gone = weakref.ref(engine[VICTIM])
        engine.step(lambda _, error: errors.append(error))
    assert len(errors) == 1
    gc.collect()
    assert gone() is None
