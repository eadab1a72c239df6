"""Calibration: the numbers of a profile, restated one vector at a time."""

import statistics

import pytest

from maskkv.calibrate import calibrate, documents, importance
from maskkv.checkpoints import weights
from maskkv.errors import InputError
from maskkv.mini import tasks, words
from tests.reference import LLADA, SlowModel, random_model, random_prompt

PROMPTS = [random_prompt(LLADA, length, seed=length) for length in (5, 9, 7)]


def slow_importance(model, prompt, gen_length, rope_scale=1.0):
    return SlowModel(model, rope_scale).run([*prompt, *[model.config.mask_id] * gen_length])[1]


def test_profile_is_mean_and_spread_over_prompts_with_masks_behind_them():
    model = random_model(LLADA)
    profile = calibrate(model, "tiny", PROMPTS, gen_length=4)
    layers = list(zip(*(slow_importance(model, prompt, 4) for prompt in PROMPTS), strict=True))
    assert profile.importance == pytest.approx([sum(layer) / 3 for layer in layers], abs=1e-5)
    assert profile.spread == pytest.approx([statistics.pstdev(layer) for layer in layers], abs=1e-5)
    assert (profile.model, profile.n, profile.prompt_length) == ("tiny", 3, 9)
    profile.check(weights.fingerprint(model), LLADA.num_layers)


def test_masks_behind_the_prompt_count():
    model = random_model(LLADA)
    with_few, with_many = (importance(model, PROMPTS[0], gen_length) for gen_length in (1, 12))
    assert with_few != pytest.approx(with_many, abs=1e-4)


def test_rope_is_stretched_as_asked():
    model = random_model(LLADA)
    measured = importance(model, PROMPTS[1], 4, rope_scale=7.0)
    assert measured == pytest.approx(slow_importance(model, PROMPTS[1], 4, rope_scale=7.0), abs=1e-5)
    assert measured != pytest.approx(importance(model, PROMPTS[1], 4), abs=1e-4)


def test_one_prompt_has_no_spread():
    assert calibrate(random_model(LLADA), "tiny", PROMPTS[:1]).spread == (0.0,) * LLADA.num_layers


@pytest.mark.parametrize("prompts", [[], [[]], [[1, LLADA.vocab_size]]], ids=["none", "empty", "outside"])
def test_unusable_prompts_are_refused(prompts):
    with pytest.raises(InputError):
        calibrate(random_model(LLADA), "tiny", prompts)


def test_generated_documents_fit_and_are_none_of_those_that_are_measured_on():
    made = documents(20, 300)
    assert len(set(made)) == 20
    assert all(len(document.split()) <= 300 for document in made)
    assert all(set(document.split()) <= set(words.VOCABULARY) for document in made)
    evaluated = {tasks.sample(task, 300, seed).prompt for task in tasks.TASKS for seed in range(20)}
    assert not evaluated & set(made)


def test_generated_documents_need_room():
    with pytest.raises(InputError, match="too short"):
        documents(13, 12)
