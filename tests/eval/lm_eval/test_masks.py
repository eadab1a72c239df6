"""Masked copies are drawn so that every number of masks, and every choice of so many tokens, is equally likely."""

import math
from collections import Counter
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskkv.errors import InputError
from maskkv.eval.lm_eval.likelihood import Likelihood
from maskkv.eval.lm_eval.masks import draw, draw_dream, draw_llada, generator_for, spread
from tests.reference import DREAM, LLADA


@settings(max_examples=40)
@given(length=st.integers(1, 40), copies=st.integers(1, 40))
def test_every_number_of_masks_is_equally_likely_for_every_copy(length, copies):
    by_copy = zip(*(spread(first, length, copies) for first in range(1, length + 1)), strict=True)
    assert all(sorted(counts) == list(range(1, length + 1)) for counts in by_copy)


def test_numbers_of_masks_are_evenly_spread():
    assert spread(1, 8, 4) == [1, 3, 5, 7]
    assert spread(7, 8, 4) == [7, 1, 3, 5]
    assert spread(2, 3, 6) == [2, 3, 3, 1, 1, 2]  # half a mask apart, halves rounded up
    assert spread(1, 1, 3) == [1, 1, 1]


def test_rounding_halves_to_even_numbers_would_prefer_some():
    """What is different from the published rule, and why: of three tokens, a single mask would be as rare as can be."""
    published = Counter((round(first + 4 * 3 / 8) - 1) % 3 + 1 for first in (1, 2, 3))
    assert published == {2: 1, 1: 2}
    assert Counter(spread(first, 3, 8)[4] for first in (1, 2, 3)) == {1: 1, 2: 1, 3: 1}


@pytest.mark.parametrize("one", [draw_llada, draw_dream])
def test_all_choices_of_as_many_tokens_are_equally_likely(one):
    chosen = Likelihood(mc_num=8, mc_batch_size=8)
    seen = Counter(
        tuple(row.nonzero().flatten().tolist())
        for seed in range(400)
        for row in one(3, chosen, torch.Generator().manual_seed(seed)).masked
    )
    for size in (1, 2):
        counts = [seen[choice] for choice in combinations(range(3), size)]
        even = sum(counts) / 3
        assert all(abs(count - even) < 5 * math.sqrt(even) for count in counts)
    # As many copies have one mask as two or three; of Dream's a fourth has none.
    sizes = Counter(len(choice) for choice in seen.elements())
    even = seen.total() / (3 if one is draw_llada else 4)
    assert all(abs(sizes[size] - even) < 5 * math.sqrt(even) for size in (1, 2, 3))


def test_copies_weigh_one_over_the_part_that_is_masked():
    made = draw_llada(6, Likelihood(mc_num=4), torch.Generator().manual_seed(0))
    assert (made.weights * made.masked.sum(1) / 6).tolist() == pytest.approx([1.0] * 4)
    parts = 1 / draw_dream(6, Likelihood(mc_num=4, sampling_eps=0.2), torch.Generator().manual_seed(0)).weights
    assert parts.min() >= 0.2
    assert parts.max() <= 1
    torch.testing.assert_close(parts.sort().values.diff(), torch.full((3,), 0.2, dtype=torch.float64))


@pytest.mark.parametrize("estimator", ["llada", "dream"])
def test_batches_are_drawn_one_after_the_other(estimator):
    chosen = Likelihood(mc_num=12, mc_batch_size=4, estimator=estimator)
    made = draw(5, chosen, generator_for(7, [1, 2]))
    generator = generator_for(7, [1, 2])
    one = draw_dream if estimator == "dream" else draw_llada
    for batch in range(3):
        own = one(5, chosen, generator)
        rows = slice(4 * batch, 4 * batch + 4)
        assert torch.equal(made.masked[rows], own.masked)
        assert torch.equal(made.weights[rows], own.weights)


def test_seed_and_context_decide_what_is_drawn():
    drawn = [
        torch.randint(2**40, (), generator=generator_for(*each)).item()
        for each in ((0, [1, 2]), (1, [1, 2]), (0, [1, 3]), (0, [12]), (2**63 - 1, [1]))
    ]
    assert len(set(drawn)) == 5
    assert torch.randint(2**40, (), generator=generator_for(0, (1, 2))).item() == drawn[0]


def test_more_copies_in_a_batch_than_there_are_count_as_that_many():
    assert Likelihood(mc_num=1).batch == 1
    assert Likelihood(mc_num=48, mc_batch_size=64).batch == 48
    assert draw(5, Likelihood(mc_num=1), generator_for(0, [1])).masked.shape == (1, 5)


def test_what_is_left_open_is_the_publisher_s():
    assert Likelihood().resolved(LLADA) == Likelihood(estimator="llada", max_length=4096)
    assert Likelihood().resolved(replace(DREAM, trained_length=2048)) == Likelihood(estimator="dream", max_length=2048)
    given_ = Likelihood(estimator="llada", max_length=99)
    assert given_.resolved(DREAM) == given_


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"mc_num": 0}, "mc_num must be a whole number of at least 1, not 0"),
        ({"mc_num": 1.5}, "mc_num must be a whole number"),
        ({"mc_batch_size": 0}, "mc_batch_size must be a whole number of at least 1, not 0"),
        ({"mc_num": 100}, "mc_num must be a multiple of mc_batch_size=32: 96 or 128 would fit, not 100"),
        ({"estimator": "exact"}, "estimator must be one of llada, dream, blocks, not 'exact'"),
        ({"sampling_eps": 1.5}, "sampling_eps must be a number of at least 0 and at most 1, not 1.5"),
        ({"is_check_greedy": "perhaps"}, "is_check_greedy must be True or False, not 'perhaps'"),
        ({"add_bos_token": 1}, "add_bos_token must be True or False, not 1"),
        ({"max_length": 1}, "max_length must be a whole number of at least 2, not 1"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_settings_that_cannot_be_used_are_refused(given_, says):
    with pytest.raises(InputError) as caught:
        Likelihood(**given_)
    assert says in str(caught.value)
