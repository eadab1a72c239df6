"""What tasks of lm-evaluation-harness ask for, in maskkv's words."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskkv.errors import InputError
from maskkv.eval.lm_eval.requests import cut, read
from maskkv.generation import Generation

SCHEDULE = Generation(gen_length=256, block_length=8, temperature=0.5)


@pytest.mark.parametrize(
    ("given_length", "gen_length"),
    [
        ({}, 256),
        ({"max_gen_toks": 32}, 32),
        ({"max_gen_toks": 33}, 40),
        ({"max_gen_toks": 1}, 8),
        ({"max_new_tokens": 16}, 16),
        ({"max_tokens": 16, "max_gen_toks": 24}, 24),
        ({"max_gen_toks": None, "max_completion_tokens": 16}, 16),
        ({"max_gen_toks": 30, "block_length": 10}, 30),
    ],
)
def test_lengths_are_rounded_up_to_whole_blocks(given_length, gen_length):
    assert read(given_length, SCHEDULE).generation.gen_length == gen_length


@pytest.mark.parametrize(
    ("options", "usual", "temperature"),
    [
        ({}, 0.5, 0.5),  # what the user chose
        ({"do_sample": None, "temperature": None}, 0.5, 0.5),
        ({"do_sample": False}, 0.0, 0.0),
        ({"do_sample": False, "temperature": 0.0}, 0.0, 0.0),
        ({"do_sample": False, "temperature": 1, "top_p": 0.9, "top_k": 3}, 0.0, 0.0),  # as the harness's LongBench
        ({"temperature": 0}, 0.0, 0.0),
        ({"temperature": 0.7}, 0.5, 0.7),
        ({"temperature": 1}, 0.5, 1.0),
        ({"do_sample": True, "temperature": 0.7}, 0.5, 0.7),
        ({"do_sample": True, "num_beams": 1}, 0.5, 0.5),
        ({"do_sample": "False"}, 0.0, 0.0),
        ({"do_sample": " false ", "temperature": "0.0"}, 0.0, 0.0),
        ({"do_sample": "None", "temperature": "0.7"}, 0.0, 0.7),
        ({"do_sample": "TRUE", "temperature": "2"}, 0.0, 2.0),
        ({"do_sample": "true", "num_beams": "1"}, 0.0, 1.0),
    ],
)
def test_sampling(options, usual, temperature):
    assert read(options, replace(SCHEDULE, temperature=usual)).generation.temperature == temperature


@pytest.mark.parametrize(
    ("options", "usual", "says"),
    [
        ({"do_sample": False}, 0.5, "do_sample=false does not sample and temperature=0.5 does: leave one of them out"),
        ({"do_sample": "False", "temperature": 1}, 0.5, "do_sample=false does not sample and temperature=0.5 does"),
        ({"do_sample": False, "temperature": 0.7}, 0.0, "do_sample=false does not sample and temperature=0.7 does"),
        ({"do_sample": False, "temperature": "0.7"}, 0.0, "do_sample=false does not sample and temperature=0.7 does"),
        ({"temperature": 0}, 0.5, "temperature=0 does not sample and temperature=0.5 does"),
        ({"do_sample": True, "temperature": 0.0}, 0.5, "do_sample=true samples and temperature=0 does not"),
        ({"do_sample": "true", "temperature": "0"}, 0.0, "do_sample=true samples and temperature=0 does not"),
        ({"do_sample": "perhaps"}, 0.0, "do_sample must be true or false, not 'perhaps'"),
        ({"do_sample": 1}, 0.0, "do_sample must be true or false, not 1"),
        ({"temperature": "nan"}, 0.0, "temperature must be a number of at least 0, not nan"),
        ({"temperature": "inf"}, 0.0, "temperature must be a number of at least 0, not inf"),
        ({"temperature": "true"}, 0.0, "temperature must be a number of at least 0, not True"),
        ({"temperature": 10**400}, 0.0, "temperature must be a number of at least 0, not 1000"),
    ],
)
def test_sampling_and_not_sampling_at_once_is_refused(options, usual, says):
    with pytest.raises(InputError) as caught:
        read(options, replace(SCHEDULE, temperature=usual))
    assert says in str(caught.value)


def test_sampling_without_any_temperature_is_at_one():
    assert read({"do_sample": True}, Generation()).generation.temperature == 1.0


def test_texts_mean_what_they_say():
    spelled = {"max_gen_toks": "16", "threshold": "0.9", "stop_at_eos": "False", "steps": "none", "until": ["7"]}
    asked = read(spelled, Generation(steps=8))
    assert asked.generation == Generation(gen_length=16, threshold=0.9, stop_at_eos=False, steps=None)
    assert asked.until == ("7",)


def test_other_options_are_fields_of_generation():
    made = read({"threshold": 0.9, "seed": 3, "max_gen_toks": 16}, Generation()).generation
    assert made == Generation(gen_length=16, threshold=0.9, seed=3)
    sampled = {"do_sample": True, "temperature": 0.7, "top_p": 0.95, "alg": "entropy"}
    assert read(sampled, Generation()).generation.top_p == 0.95


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_gen_toks": 0}, "max_gen_toks must be a whole number of at least 1, not 0"),
        ({"max_gen_toks": True}, "not True"),
        ({"max_new_tokens": "many"}, "not 'many'"),
        ({"num_beams": 4}, "num_beams=4: a diffusion language model has no beam search"),
        (
            {"typical_p": 1},
            "unknown generation option 'typical_p': expected one of until, max_gen_toks, do_sample, steps",
        ),
        ({"gen_length": 8}, "unknown generation option 'gen_length'"),
        ({"until": 3}, "until must be a text or a list of texts, not 3"),
        ({"until": ["x", None]}, "until must be a text or a list of texts"),
        ({"temperature": -1}, "temperature must be a number of at least 0"),
        ({"temperature": "hot"}, "temperature must be a number of at least 0, not 'hot'"),
        ({"block_length": 0}, "block_length must be a whole number of at least 1"),
        ({"do_sample": True, "top_p": 0.9}, "top_p=0.9 is an option of Dream's sampler"),
    ],
)
def test_what_cannot_be_done_is_refused(options, says):
    with pytest.raises(InputError) as caught:
        read(options, SCHEDULE)
    assert says in str(caught.value)


def test_stops_are_texts_and_empty_ones_stop_nothing():
    assert read({"until": "\n"}, SCHEDULE).until == ("\n",)
    assert read({"until": ["Q:", "", "\n\n"]}, SCHEDULE).until == ("Q:", "\n\n")
    assert read({"until": None}, SCHEDULE).until == ()


@given(st.text("abc"), st.lists(st.text("abc", min_size=1, max_size=3)))
def test_a_text_ends_before_the_first_of_its_stops(text, until):
    ends = [end for end in range(len(text)) if any(text[end:].startswith(stop) for stop in until)]
    assert cut(text, tuple(until)) == text[: min(ends, default=len(text))]
