import math
from dataclasses import replace

import pytest
import torch
from tests.views import attending

from maskkv.errors import InputError
from maskkv.eviction.budgets import UniformLayers
from maskkv.eviction.policy import Policy
from maskkv.eviction.ranking import Ranking
from maskkv.eviction.scorers import Votes
from maskkv.eviction.view import ModelView
from maskkv.policies.maskkv import BoundaryAware

VOTING = Policy(name="voting", paper="-", scorer=Votes("mask"))


class Own:
    """A layer budget of a user's."""

    needs_importance = True
    given: tuple[float, ...] = (1.0, 3.0)

    def __init__(self, *most: float) -> None:
        self.shares = list(most)

    def __call__(self, view: ModelView) -> list[float]:
        return list(self.given)

    def most(self, view: ModelView) -> list[float]:
        return self.shares


@pytest.mark.parametrize(
    "given", [(1.0,), (1.0, 2.0, 3.0), (1.0, -0.5), (1.0, math.nan), (1.0, math.inf), (1.7e308, 1.7e308)]
)
def test_shares_of_a_users_own_are_checked(given: tuple[float, ...]) -> None:
    """Of shares that are no numbers any split comes out, and it need not spend the budget."""
    layers = Own()
    layers.given = given
    policy = replace(VOTING, name="own", layer_budget=layers)
    expected = "policy 'own', Own: expected 2 shares of at least 0 with a finite sum, not "
    with pytest.raises(InputError, match=f"^{expected}"):
        policy.layer_pairs(5, num_layers=2, kv_heads=2, evictable=9)
    ranking = Ranking.of(torch.rand(2, 9), lambda pairs: list(given))
    for ask in (ranking.best, ranking.narrowed):
        with pytest.raises(InputError, match=r"^head budget: expected 2 shares of at least 0"):
            ask(6)


def test_a_users_own_bound_is_checked() -> None:
    sizes = {"num_layers": 2, "kv_heads": 2, "evictable": 9}
    policy = Policy(name="own", paper="-", scorer=Votes("mask"), layer_budget=Own(1.5, math.inf))
    assert policy.most_pairs(2, **sizes, importance=()) == [8, 18], "1.5 × 2 × 2 and two for rounding, or all there are"
    for most in ((1.0,), (1.0, -0.5), (1.0, math.nan)):
        with pytest.raises(InputError, match="policy 'own': expected `most` to be 2 shares of at least 0"):
            replace(policy, layer_budget=Own(*most)).most_pairs(2, **sizes, importance=())
    with pytest.raises(InputError, match="policy 'own': UniformLayers needs importance, so it needs `most` too"):
        replace(policy, layer_budget=UniformLayers()).most_pairs(2, **sizes, importance=())
    view = attending(torch.ones(2, 12, 12), kv_heads=2, masked=[True] * 3)
    with pytest.raises(InputError, match="policy 'own': expected a head budget to return a function"):
        replace(policy, head_budget=lambda view, scores, most: [1.0, 1.0]).rank(view, 4)


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
    assert not policy.can_evict
    assert not policy.evicts(1, 9)


@pytest.mark.parametrize(("budget", "evicts"), [(None, False), (1, True), (8, True), (9, False), (1000, False)])
def test_a_budget_below_the_prompt_evicts(budget: int | None, evicts: bool) -> None:
    assert VOTING.can_evict
    assert VOTING.evicts(budget, 9) is evicts


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
