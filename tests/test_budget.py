"""Budgets as users give them."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskkv.budget import check_budget, pairs_of, read_budget
from maskkv.checks import quoted
from maskkv.errors import InputError


@pytest.mark.parametrize(
    ("budget", "length", "pairs"),
    [
        (None, 1000, None),
        (7, 3, 7),
        ("5%", 1000, 50),
        ("5%", 1001, 51),  # rounded up
        ("0.1%", 3, 1),  # and so at least 1
        (" 2.5 % ", 100, 3),
        ("100%", 77, 77),
        ("1.1%", 1000, 11),  # in floats 11.000000000000002, which would round up to 12
    ],
)
def test_pairs_of_a_prompt(budget, length, pairs):
    assert pairs_of(budget, length) == pairs


@given(st.integers(1, 10_000), st.integers(1, 10**6))
def test_a_part_is_the_least_number_that_is_no_less(hundredths, length):
    budget = f"{hundredths // 100}.{hundredths % 100:02}%"
    pairs = pairs_of(budget, length)
    assert pairs - 1 < Fraction(hundredths * length, 10_000) <= pairs


@pytest.mark.parametrize("number", [np.int64(5), torch.tensor(5), np.uint8(5)], ids=repr)
def test_whole_numbers_of_other_libraries_are_taken(number):
    assert type(check_budget(number)) is int
    assert check_budget(number) == 5


@pytest.mark.parametrize(
    "budget",
    [True, 2.5, float("nan"), "x", "", "256", "5", "%", "-5%", "0%", "0.0%", "101%", "1e1%", "٥%", b"5%", [5], {},
     object(), 10**30, 10**5000, -(10**5000)],
    ids=lambda value: quoted(value)[:20],
)  # fmt: skip
def test_anything_else_is_refused_in_one_line_that_says_what_would_be_right(budget):
    with pytest.raises(InputError) as refused:
        check_budget(budget)
    said = str(refused.value)
    assert "\n" not in said
    assert len(said) < 250
    assert "expected" in said


@pytest.mark.parametrize("pairs", [0, -1, np.int64(0)])
def test_less_than_a_pair_is_refused(pairs):
    with pytest.raises(InputError, match=f"budget {int(pairs)}: expected at least 1 pair per KV head and layer"):
        check_budget(pairs)


def test_a_command_line_spells_numbers():
    assert [read_budget(text) for text in ("256", " 3 ", "+4", "5%")] == [256, 3, 4, "5%"]
    for text, says in [("0", "budget 0: expected at least 1 pair"), ("x", "budget 'x': expected pairs, as in 256")]:
        with pytest.raises(InputError, match=says):
            read_budget(text)
