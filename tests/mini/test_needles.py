"""Needles stand where they are asked for, and nothing else tells the answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskkv import mini
from maskkv.mini import words
from maskkv.mini.needles import needle

lengths = st.integers(14, 1100)
depths = st.integers(0, 100)
seeds = st.integers(0, 10**6)


@given(lengths, depths, seeds)
def test_the_needle_is_at_its_depth_of_the_scenery(length, depth, seed):
    made = needle(length, depth, seed)
    before, _, behind = made.document.partition(made.answer)
    scenery = len(before.split()) + len(behind.split())
    assert abs(len(before.split()) - int((length - 14) * depth / 100)) <= 3
    assert length - 6 <= len(made.prompt.split()) <= length
    assert scenery == len(made.prompt.split()) - 14


@given(lengths, seeds)
def test_the_ends_are_exact(length, seed):
    first, last = needle(length, 0, seed), needle(length, 100, seed)
    assert first.document.startswith(first.answer)
    assert last.document.endswith(last.answer)


@given(lengths, depths, seeds)
def test_the_question_asks_for_the_only_fact(length, depth, seed):
    made = needle(length, depth, seed)
    assert made.document.split().count("holds") == 1
    assert made.question == f"question : {' '.join(made.answer.split()[:2])} what ?"
    assert made.prompt.endswith(f"{made.question} answer :")
    assert set(made.prompt.split()) <= set(words.VOCABULARY)
    assert mini.score(made, made.answer) == 1.0


def test_the_same_arguments_make_the_same_prompt_and_others_another():
    assert needle(200, 50, 3) == needle(200, 50, 3)
    assert needle(200, 50, 3).document != needle(200, 50, 4).document


def test_a_length_without_room_for_the_fact_is_refused():
    with pytest.raises(ValueError, match="at least 14 words"):
        needle(13, 50, 0)
