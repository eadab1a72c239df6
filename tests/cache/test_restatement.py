"""The engine against a slow restatement of dLLM-Cache and MaskKV, step by step, on both families."""

import pytest
import torch
from tests.reference import (
    CONFIGS,
    SlowEviction,
    SlowStep,
    random_model,
    random_prompt,
    slow_run,
)

from maskkv import policies
from maskkv.cache import Refresh
from maskkv.decoding.engine import Engine
from maskkv.eviction.budgets import UniformHeads, UniformLayers
from maskkv.eviction.policy import Policy
from maskkv.eviction.profile import LayerProfile
from maskkv.eviction.scorers import Votes
from maskkv.generation import Generation
from maskkv.mixing import mix
from maskkv.policies.maskkv import BoundaryAware, PromptPreference

FAMILIES = pytest.mark.parametrize("family", ["llada", "dream"])
FULL, MASKKV = policies.named("full"), policies.named("maskkv")


def schedule(prompt_interval: int, response_interval: int, transfer_ratio: float, **more: object) -> Generation:
    return Generation(
        **{"gen_length": 12, "block_length": 4, "stop_at_eos": False, **more},
        prompt_interval=prompt_interval,
        response_interval=response_interval,
        transfer_ratio=transfer_ratio,
    )


def profile(importance: tuple[float, ...]) -> LayerProfile:
    return LayerProfile("tiny", "0" * 64, 1, 32, importance, (0.0,) * len(importance))


def assert_engine_agrees(
    family: str,
    generation: Generation,
    policy: Policy,
    eviction: SlowEviction | None,
    *,
    prompt_length: int = 20,
    chunk_rows: int = 1024,
    rope_scale: float = 1.0,
) -> list[SlowStep]:
    config = CONFIGS[family]
    model = random_model(config, seed=3, chunk_rows=chunk_rows)
    prompt = random_prompt(config, prompt_length, seed=4)
    expected = slow_run(model, prompt, generation, eviction, rope_scale)
    given = profile(eviction.importance) if eviction and eviction.importance else None
    engine = Engine(model, given)
    budget = None if eviction is None else eviction.budget
    number = engine.add(prompt, generation, policy, budget, rope_scale)
    for index, slow in enumerate(expected):
        model.asked.clear()
        (step,) = engine.step()
        assert step.index == index
        (asked,) = model.asked  # the branches' rows go through the vocabulary matrix together
        torch.testing.assert_close(asked.double(), torch.cat(slow.hidden), atol=1e-5, rtol=1e-4)
        assert engine[number].kept() == slow.kept
        assert (step.positions, step.tokens) == (slow.positions, slow.tokens)
        assert step.confidences == pytest.approx(slow.confidences, abs=1e-4)
    assert step.finished
    return expected


@FAMILIES
@pytest.mark.parametrize(
    ("prompt_interval", "response_interval", "transfer_ratio"),
    [(6, 3, 0.25), (50, 50, 0.5), (5, 3, 0.25), (4, 2, 0.0), (7, 4, 0.1), (3, 7, 0.9), (50, 6, 1.0)],
)
def test_full_is_dllm_cache(family: str, prompt_interval: int, response_interval: int, transfer_ratio: float) -> None:
    generation = schedule(prompt_interval, response_interval, transfer_ratio)
    assert_engine_agrees(family, generation, FULL, None)


@FAMILIES
@pytest.mark.parametrize(
    ("prompt_interval", "response_interval", "transfer_ratio", "budget"),
    [(6, 3, 0.25, 5), (5, 3, 0.3, 2), (4, 2, 0.0, 7), (7, 4, 0.9, 15), (50, 50, 0.5, 1), (3, 50, 0.1, 18)],
)
def test_maskkv_with_a_profile_evicts_layer_by_layer(
    family: str, prompt_interval: int, response_interval: int, transfer_ratio: float, budget: int
) -> None:
    importance = (0.5, 0.1, 0.2, 0.7)[: CONFIGS[family].num_layers]
    generation = schedule(prompt_interval, response_interval, transfer_ratio)
    steps = assert_engine_agrees(family, generation, MASKKV, SlowEviction(budget, importance))
    sizes = {len(rows) for layer in steps[0].kept for rows in layer}
    assert len(sizes) > 1, "the case is to be one of unequal segments"


@FAMILIES
def test_maskkv_without_a_profile_measures_this_prompt(family: str) -> None:
    assert_engine_agrees(family, schedule(6, 3, 0.25), MASKKV, SlowEviction(5))


@FAMILIES
def test_first_choice_stays_without_revote(family: str) -> None:
    generation = schedule(4, 2, 0.25)
    kept_first = assert_engine_agrees(family, generation, mix(MASKKV, revote=False), SlowEviction(3, revote=False))
    kept_anew = assert_engine_agrees(family, generation, MASKKV, SlowEviction(3))
    assert kept_first[-1].kept == kept_first[0].kept
    assert kept_anew[-1].kept != kept_anew[0].kept, "the case is to be one where a new vote differs"


@FAMILIES
@pytest.mark.parametrize("chunk_rows", [1, 7, 13])
def test_chunks_change_nothing(family: str, chunk_rows: int) -> None:
    generation = schedule(5, 2, 0.25)
    assert_engine_agrees(family, generation, MASKKV, SlowEviction(4), chunk_rows=chunk_rows)


@FAMILIES
def test_guidance_keeps_a_cache_per_branch(family: str) -> None:
    generation = schedule(5, 3, 0.25, cfg_scale=1.5)
    assert_engine_agrees(family, generation, FULL, None)
    assert_engine_agrees(family, generation, MASKKV, SlowEviction(4))


@FAMILIES
def test_several_tokens_a_step(family: str) -> None:
    generation = schedule(4, 2, 0.25, gen_length=15, block_length=5, steps=6)
    assert_engine_agrees(family, generation, MASKKV, SlowEviction(4))


@FAMILIES
def test_stretched_positions(family: str) -> None:
    assert_engine_agrees(family, schedule(6, 3, 0.25), MASKKV, SlowEviction(4), rope_scale=7.0)


@FAMILIES
@pytest.mark.parametrize(
    ("layer_base", "head_base", "boundary_layers"), [(None, None, 1), (0.4, None, 1), (None, 0.1, 1), (0.0, 0.7, 2)]
)
def test_every_mix_of_budgets(
    family: str, layer_base: float | None, head_base: float | None, boundary_layers: int
) -> None:
    policy = Policy(
        name="mixed",
        paper="-",
        scorer=Votes("mask"),
        layer_budget=UniformLayers() if layer_base is None else BoundaryAware(layer_base, boundary_layers),
        head_budget=UniformHeads() if head_base is None else PromptPreference(head_base),
    )
    importance = (0.5, 0.1, 0.2, 0.7)[: CONFIGS[family].num_layers]
    eviction = SlowEviction(4, importance, layer_base, head_base, boundary_layers)
    if family == "llada" and boundary_layers == 2:
        # Three layers have no middle then: every layer gets the same.
        eviction = SlowEviction(4, importance, None, head_base)
    assert_engine_agrees(family, schedule(5, 2, 0.25), policy, eviction)


@FAMILIES
@pytest.mark.parametrize("transfer_ratio", [0.0, 0.25, 1.0])
def test_a_prompt_of_one_token(family: str, transfer_ratio: float) -> None:
    """On a model with logit_shift this prompt has nothing to evict, and all its rows are live."""
    generation = schedule(6, 3, transfer_ratio)
    assert_engine_agrees(family, generation, MASKKV, SlowEviction(1), prompt_length=1)


def test_refreshes_follow_the_clock() -> None:
    model = random_model(CONFIGS["llada"])
    engine = Engine(model)
    engine.add(random_prompt(model.config, 9), schedule(5, 3, 0.25), FULL)
    prompt, response, partial = Refresh.PROMPT, Refresh.RESPONSE, Refresh.PARTIAL
    seen = [engine.step()[0].refresh for _ in range(12)]
    assert seen == [
        prompt, partial, partial, response, partial, prompt, response, partial, partial, response, prompt, partial,
    ]  # fmt: skip
