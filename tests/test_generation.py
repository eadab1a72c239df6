import dataclasses
import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import maskkv
from maskkv.errors import InputError


def as_users_import_it() -> Any:
    """Load the module without the tests' type checker, which would refuse wrong types before it can."""
    path = Path(maskkv.__path__[0]) / "generation.py"
    spec = importlib.util.spec_from_file_location("unchecked_generation", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


Generation = as_users_import_it().Generation


def test_defaults_are_the_papers_schedule() -> None:
    generation = Generation()
    assert (generation.prompt_interval, generation.response_interval, generation.transfer_ratio) == (50, 5, 0.25)
    assert (generation.gen_length, generation.block_length, generation.num_blocks) == (64, 8, 8)
    assert generation.steps is None
    assert generation.num_steps == 64


def test_num_steps_is_the_most_that_a_response_can_take() -> None:
    assert Generation(gen_length=32, steps=16).num_steps == 16
    assert Generation(gen_length=32, steps=16, threshold=0.9).num_steps == 32, "one token a step at worst"
    assert Generation(gen_length=32, steps=64, alg="origin").num_steps == 64


def test_a_generation_is_a_value() -> None:
    assert hash(Generation(gen_length=16)) == hash(Generation(gen_length=16))
    assert Generation(gen_length=16) != Generation(gen_length=16, seed=1)
    assert dataclasses.replace(Generation(), block_length=32).num_blocks == 2
    with pytest.raises(InputError, match="block_length=128"):
        dataclasses.replace(Generation(), block_length=128)


COUNTS = ("gen_length", "steps", "block_length", "prompt_interval", "response_interval", "top_k")


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -8, 8.0, True, "8", math.nan])
def test_counts_are_whole_numbers_of_at_least_one(name: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"^{name} must be a whole number of at least 1, not "):
        make(**{name: value})


RANGES = {
    "temperature": "of at least 0",
    "cfg_scale": "of at least 0",
    "alg_temp": "of at least 0",
    "transfer_ratio": "of at least 0 and at most 1",
    "threshold": "of at least 0 and at most 1",
    "min_confidence": "of at least 0 and at most 1",
    "factor": "above 0",
    "value_drift": "above 0",
    "top_p": "above 0 and at most 1",
    "eps": "above 0 and at most 1",
}


@pytest.mark.parametrize(("name", "limit"), RANGES.items())
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, -math.inf, True, "0.5"])
def test_real_numbers_are_finite_and_in_range(name: str, limit: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"^{name} must be a number {limit}, not {value!r}$"):
        make(**{name: value})


@pytest.mark.parametrize("name", ["transfer_ratio", "threshold", "min_confidence", "top_p", "eps"])
def test_fractions_stop_at_one(name: str) -> None:
    with pytest.raises(InputError, match=r"at most 1, not 1\.01"):
        make(**{name: 1.01})


@pytest.mark.parametrize("name", ["factor", "value_drift", "top_p", "eps"])
def test_some_numbers_may_not_be_zero(name: str) -> None:
    with pytest.raises(InputError, match="above 0"):
        make(**{name: 0.0})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gen_length": 4}, "block_length=8 is longer than gen_length=4: block_length=4 would fit"),
        (
            {"gen_length": 60},
            "gen_length must be a multiple of block_length=8: 56 or 64 would fit, not 60",
        ),
        (
            {"steps": 12},
            "steps must be a multiple of the 8 blocks (gen_length 64 / block_length 8): 8 or 16 would fit, not 12",
        ),
        (
            {"steps": 4},
            "steps must be a multiple of the 8 blocks (gen_length 64 / block_length 8): 8 would fit, not 4",
        ),
        ({"steps": 65}, "steps must be at most gen_length=64, since every step commits a token, not 65"),
        ({"remasking": "high"}, "remasking must be one of low_confidence, random, sequential, not 'high'"),
        ({"alg": "greedy"}, "alg must be one of maskgit_plus, topk_margin, entropy, origin, not 'greedy'"),
        ({"stop_at_eos": 1}, "stop_at_eos must be True or False, not 1"),
        ({"logits_eos_inf": None}, "logits_eos_inf must be True or False, not None"),
        ({"seed": -1}, "seed must be a whole number from 0 to 9223372036854775807, not -1"),
        ({"seed": 2**63}, "seed must be a whole number from 0 to 9223372036854775807, not 9223372036854775808"),
        (
            {"top_p": 0.9},
            "top_p=0.9 is an option of Dream's sampler: leave it out, or set alg to one of "
            "maskgit_plus, topk_margin, entropy, origin",
        ),
        (
            {"alg": "entropy", "remasking": "random"},
            "remasking='random' is an option of LLaDA's sampler: with alg='entropy' leave it out "
            "(alg='origin' is Dream's random order)",
        ),
        (
            {"alg": "entropy", "confidence_eos_eot_inf": True},
            "confidence_eos_eot_inf is an option of LLaDA's sampler: with alg='entropy' leave it out, "
            "or use logits_eos_inf",
        ),
        (
            {"alg": "origin", "alg_temp": 0.1},
            "alg='origin' does not rank positions, so alg_temp must be 0 there, not 0.1; alg='maskgit_plus' takes it",
        ),
        (
            {"alg": "origin", "steps": 10**12},
            "steps must be a whole number from 1 to 16777216, not 1000000000000",
        ),
        (
            {"threshold": 0.9, "factor": 1.0},
            "threshold=0.9 and factor=1.0 are two rules for the same choice: give one of them",
        ),
        (
            {"threshold": 0.9, "remasking": "random"},
            "threshold compares confidences, so remasking must be 'low_confidence', not 'random'",
        ),
        (
            {"factor": 1.0, "alg": "entropy"},
            "factor compares probabilities, so alg must be left out or 'maskgit_plus', not 'entropy'",
        ),
        (
            {"factor": 1.0, "alg": "maskgit_plus", "alg_temp": 0.1},
            "factor takes the surest positions, so alg_temp must be 0, not 0.1",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Generation(**fields)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["alg_temp", "eps", "top_p", "top_k"])
def test_dreams_options_need_dreams_sampler(name: str) -> None:
    value = {"alg_temp": 0.5, "eps": 0.01, "top_p": 0.5, "top_k": 5}[name]
    Generation(alg="entropy", **{name: value})
    with pytest.raises(InputError, match=rf"^{name}="):
        Generation(**{name: value})


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0, "transfer_ratio": 1, "cfg_scale": 2},
        {"transfer_ratio": 0.0, "prompt_interval": 1, "response_interval": 7},
        {"gen_length": 8, "steps": 1},
        {"gen_length": 7, "block_length": 7, "steps": 3},
        {"threshold": 1.0, "steps": 3},
        {"alg": "entropy", "steps": 128, "top_p": 1.0},
        {"remasking": "random", "confidence_eos_eot_inf": True, "logits_eos_inf": True},
    ],
)
def test_what_fits_is_taken(fields: dict[str, Any]) -> None:
    Generation(**fields)


@given(st.integers(1, 100), st.integers(1, 100), st.integers(1, 120))
def test_a_suggested_number_does_fit(gen_length: int, block_length: int, steps: int) -> None:
    """Follow the messages: each says a number that takes the user one step further, to a value that works."""
    fields = {"gen_length": gen_length, "block_length": block_length, "steps": steps}
    for _ in range(4):
        try:
            Generation(**fields)
            return
        except InputError as error:
            message = str(error)
        if message.startswith("block_length"):
            fields["block_length"] = gen_length
        elif "at most gen_length" in message:
            fields["steps"] = fields["gen_length"]
        else:
            fields[message.split(" ", 1)[0]] = int(message.split(": ")[1].split(" ", 1)[0])
    pytest.fail(f"four suggestions did not lead to a valid Generation: {message}")


def make(**fields: Any) -> Any:
    """Make a Generation of Dream's sampler, which knows every option that is tested here."""
    return Generation(**{"alg": "maskgit_plus", **fields})


@pytest.mark.parametrize(
    "rules", [{"one_pass": True, "min_confidence": 0.5}, {"value_drift": 0.1, "min_confidence": 0.5}]
)
def test_one_rule_says_when_the_prompt_is_read_again(rules: dict[str, float]) -> None:
    with pytest.raises(InputError, match="give one of them"):
        Generation(**rules)
