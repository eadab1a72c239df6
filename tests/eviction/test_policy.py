import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskkv.eviction.policy import Policy, top_pairs
from maskkv.eviction.scorers import Votes
from maskkv.policies.maskkv import BoundaryAware

VOTING = Policy(name="voting", paper="-", scorer=Votes("mask"))


def test_top_pairs_of_each_head_by_its_own_count() -> None:
    scores = torch.tensor([[0.1, 0.4, 0.3, 0.2], [9.0, 7.0, 8.0, 6.0]])
    kept = top_pairs(scores, torch.tensor([1, 3]))
    assert kept.tolist() == [[False, True, False, False], [True, True, True, False]]


def test_ties_go_to_the_earlier_position() -> None:
    scores = torch.tensor([[1.0, 2.0, 1.0, 2.0, 1.0]]).expand(3, 5)
    kept = top_pairs(scores, torch.tensor([1, 3, 0]))
    assert kept.int().tolist() == [[0, 1, 0, 0, 0], [1, 1, 0, 1, 0], [0, 0, 0, 0, 0]]


def test_long_plateaus_keep_their_order() -> None:
    """An unstable sort shuffles equal scores once there are more than a handful."""
    kept = top_pairs(torch.zeros(2, 5000), torch.tensor([3, 4000]))
    assert kept.nonzero().tolist() == [[0, i] for i in range(3)] + [[1, i] for i in range(4000)]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(0, 12))
def test_top_pairs_like_sorting(scores: list[int], count: int) -> None:
    count = min(count, len(scores))
    best = sorted(range(len(scores)), key=lambda position: (-scores[position], position))[:count]
    kept = top_pairs(torch.tensor([scores]).float(), torch.tensor([count]))
    assert kept[0].nonzero().flatten().tolist() == sorted(best)


@pytest.mark.parametrize("budget", [None, 9, 10, 1000])
def test_a_budget_of_the_prompt_or_more_keeps_everything(budget: int | None) -> None:
    policy = Policy(name="p", paper="-", scorer=Votes("mask"), layer_budget=BoundaryAware())
    assert policy.layer_pairs(budget, num_layers=3, kv_heads=2, evictable=9) == [18, 18, 18]
    assert not policy.needs_importance(budget, 9)
    assert policy.needs_importance(8, 9)


def test_without_a_scorer_nothing_is_evicted() -> None:
    policy = Policy(name="p", paper="-", layer_budget=BoundaryAware())
    assert policy.layer_pairs(1, num_layers=2, kv_heads=2, evictable=9) == [18, 18]
    assert not policy.needs_importance(1, 9)


def test_layer_pairs_spend_the_whole_budget() -> None:
    """10 pairs a head, 2 heads, 4 layers: 80 pairs; shares .34 .16 .16 .34 are 27.2, 12.8, 12.8, 27.2."""
    policy = Policy(name="p", paper="-", scorer=Votes("mask"), layer_budget=BoundaryAware())
    pairs = policy.layer_pairs(10, num_layers=4, kv_heads=2, evictable=50, importance=(0.5, 0.1, 0.2, 0.7))
    assert pairs == [27, 13, 13, 27]


def test_layers_are_clamped_to_the_prompt_and_the_surplus_is_poured_on() -> None:
    """At most 2 × 12 pairs fit in a layer: 27.2 becomes 24, and the 6.4 over go to the middle layers."""
    policy = Policy(name="p", paper="-", scorer=Votes("mask"), layer_budget=BoundaryAware())
    pairs = policy.layer_pairs(10, num_layers=4, kv_heads=2, evictable=12, importance=(0.5, 0.1, 0.2, 0.7))
    assert pairs == [24, 16, 16, 24]


def test_uniform_layers_get_the_budget_each() -> None:
    assert VOTING.layer_pairs(3, num_layers=4, kv_heads=2, evictable=9) == [6, 6, 6, 6]
