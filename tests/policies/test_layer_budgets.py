"""Layer budgets, with numbers to check by hand, and the most that one may turn out to give."""

from dataclasses import replace
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.eviction.view import ModelView
from maskkv.policies import named
from maskkv.policies.maskkv import BoundaryAware
from maskkv.policies.pyramidkv import Pyramid
from maskkv.policies.squeezeattention import LayerGroups, cluster


def pyramid(num_layers: int, budget: int, evictable: int, **options: float) -> list[float]:
    return Pyramid(**options)(ModelView(num_layers, budget, evictable))


def test_pyramid() -> None:
    """Budget 20, β = 20: the last layer gets 1, the first 39, four steps of 9.5 between."""
    assert pyramid(5, 20, 1000) == pytest.approx([39, 29.5, 20, 10.5, 1])


def test_pyramid_below_a_short_prompt() -> None:
    """39 do not fit into 30: from 30 down to 10."""
    assert pyramid(5, 20, 30) == pytest.approx([30, 25, 20, 15, 10])


def test_pyramid_leaves_no_head_without_a_pair() -> None:
    """7.8, 5.9, 4, 2.1, 0.2: the last is raised to 1, and the others are lowered from 19.8 in all to 19."""
    assert pyramid(5, 4, 1000) == pytest.approx([7.8 * 19 / 19.8, 5.9 * 19 / 19.8, 4 * 19 / 19.8, 2.1 * 19 / 19.8, 1])
    assert pyramid(5, 1, 1000) == pytest.approx([1] * 5)


def test_pyramid_over_what_a_protected_window_leaves() -> None:
    """Of 20 pairs 4 are kept anyway: 4 + 31.2 down to 4 + 0.8."""
    assert pyramid(3, 20, 1000, protected=4) == pytest.approx([35.2, 20, 4.8])
    assert pyramid(3, 4, 1000, protected=32) == pytest.approx([4, 4, 4])


def test_pyramid_over_a_protected_window_below_a_short_prompt() -> None:
    """8 are kept anyway, and 23.4 more do not fit into 30: 8 + 22 down to 8 + 2."""
    assert pyramid(3, 20, 30, protected=8) == pytest.approx([30, 20, 10])


def test_pyramid_in_pairs() -> None:
    """Two KV heads: 78, 59, 40, 21, 2."""
    pairs = named("pyramidkv").layer_pairs(20, num_layers=5, kv_heads=2, evictable=1000)
    assert pairs == [78, 59, 40, 21, 2]


@given(st.integers(1, 40), st.integers(1, 300), st.integers(1, 300), st.sampled_from([1.0, 2.5, 20.0]))
def test_pyramid_falls_and_keeps_its_mean(num_layers: int, budget: int, more: int, slope: float) -> None:
    amounts = pyramid(num_layers, budget, budget + more, slope=slope)
    assert sum(amounts) == pytest.approx(num_layers * budget)
    assert all(1 - 1e-9 <= amount <= budget + more + 1e-9 for amount in amounts)
    assert all(a >= b - 1e-9 for a, b in pairwise(amounts))


@given(st.integers(2, 9), st.integers(1, 60), st.integers(1, 60))
def test_a_larger_budget_gives_no_layer_less(num_layers: int, budget: int, more: int) -> None:
    few, many = (pyramid(num_layers, own, 130) for own in (budget, budget + more))
    assert all(a <= b + 1e-9 for a, b in zip(few, many, strict=True))


def squeezed(*importance: float) -> list[float]:
    return LayerGroups()(ModelView(len(importance), 16, 100, importance))


def test_squeeze() -> None:
    """Cosines .1 .9 .88 .89 .5 .2 fall into {.1 .2}, {.5}, {.88 .89 .9}; the last three get 0.4, the others 4.8 / 3."""
    assert squeezed(0.9, 0.1, 0.12, 0.11, 0.5, 0.8) == pytest.approx([1.6, 0.4, 0.4, 0.4, 1.6, 1.6])


def test_squeeze_in_pairs() -> None:
    """Budget 10, 2 KV heads, 6 layers: 120 pairs, 8 to each squeezed layer and 32 to each other."""
    importance = (0.9, 0.1, 0.12, 0.11, 0.5, 0.8)
    pairs = named("squeezeattention").layer_pairs(10, num_layers=6, kv_heads=2, evictable=99, importance=importance)
    assert pairs == [32, 8, 8, 8, 32, 32]


def test_squeeze_pours_on_what_a_short_prompt_cannot_hold() -> None:
    """Two boundary layers far below: 4 of 6 are squeezed, the two would get 2.2 × 10 pairs per head but hold 12."""
    importance = (0.9, 0.01, 0.011, 0.012, 0.013, 0.5)
    pairs = named("squeezeattention").layer_pairs(10, num_layers=6, kv_heads=1, evictable=12, importance=importance)
    assert pairs[0] == pairs[5] == 12
    assert sum(pairs) == 60
    assert max(pairs[1:5]) - min(pairs[1:5]) <= 2


def test_squeeze_of_fewer_than_three_values() -> None:
    """Two groups: two layers squeezed to 0.4, the third gets 2.2. One: nobody has anything to give."""
    assert squeezed(0.1, 0.1, 0.5) == pytest.approx([0.4, 0.4, 2.2])
    assert squeezed(0.3, 0.3, 0.3) == [1.0] * 3
    assert squeezed(0.3) == [1.0]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(1, 3))
def test_clusters_are_the_best_of_all_groupings(values: list[int], most: int) -> None:
    def spread(labels: tuple[int, ...]) -> float:
        total = 0.0
        for label in set(labels):
            own = [value for value, its in zip(values, labels, strict=True) if its == label]
            total += sum((value - sum(own) / len(own)) ** 2 for value in own)
        return total

    found = cluster([float(value) for value in values], most)
    assert spread(tuple(found)) == pytest.approx(min(map(spread, product(range(most), repeat=len(values)))))
    assert [value for _, value in sorted(zip(found, values, strict=True))] == sorted(values)


def test_of_equal_cuts_the_earliest() -> None:
    assert cluster([0.0, 1.0, 2.0], 2) == [0, 1, 1]


def test_squeeze_needs_importance() -> None:
    assert LayerGroups().needs_importance
    assert not Pyramid().needs_importance
    with pytest.raises(ValueError, match="importance"):
        LayerGroups()(ModelView(3, 16, 100))


def test_the_most_that_squeeze_gives() -> None:
    """Of 6 layers, p = 0.4: the one that changes most may be alone, with 6 − 5 × 0.4; of three others 0.4 + 3.6 / 3."""
    known = ModelView(6, 16, 100, (0.3, 0.9, 0.3))
    assert LayerGroups().most(known) == pytest.approx([0.4 + 3.6 / 3, 4.0, 0.4 + 3.6 / 3, 4.0, 4.0, 4.0])


def test_the_most_that_maskkv_gives() -> None:
    """Of 32 layers, β = 0.4: 0.4 + 0.6 × 32 / 2 in the first and last, 0.4 + 0.6 × 32 / 30 in the middle."""
    most = BoundaryAware().most(ModelView(32, 16, 100, ()))
    assert most == pytest.approx([10.0, *[1.04] * 30, 10.0])
    assert BoundaryAware(boundary_layers=2).most(ModelView(4, 16, 100, ())) == [1.0] * 4


AWAITING = [
    *(replace(named("maskkv"), layer_budget=BoundaryAware(base, edge)) for base in (0.0, 0.4, 1.0) for edge in (1, 3)),
    *(replace(named("squeezeattention"), layer_budget=LayerGroups(squeezed)) for squeezed in (0.0, 0.4, 1.0)),
]


@pytest.mark.parametrize("policy", AWAITING, ids=lambda policy: str(policy.layer_budget))
@settings(max_examples=200)
@given(
    st.lists(st.one_of(st.sampled_from([0.0, 0.1, 0.100001, 1e-9]), st.floats(0, 2)), min_size=1, max_size=9),
    st.integers(1, 3),
    st.integers(1, 40),
    st.integers(1, 40),
    st.data(),
)
def test_no_layer_ever_gets_more_than_its_most(
    policy: Policy, importance: list[float], kv_heads: int, budget: int, more: int, data: st.DataObject
) -> None:
    """Whatever importance the layers not yet seen turn out to have, short prompts and rounding included."""
    sizes = {"num_layers": len(importance), "kv_heads": kv_heads, "evictable": budget + more}
    pairs = policy.layer_pairs(budget, **sizes, importance=importance)
    known = data.draw(st.integers(0, len(importance)))
    most = policy.most_pairs(budget, **sizes, importance=importance[:known])
    assert all(own <= limit for own, limit in zip(pairs, most, strict=True))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (Pyramid, {"slope": 0.5}),
        (Pyramid, {"slope": float("nan")}),
        (Pyramid, {"protected": -1}),
        (LayerGroups, {"squeezed": -0.1}),
        (LayerGroups, {"squeezed": 1.5}),
    ],
)
def test_refuses(kind: type, changes: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected"):
        kind(**changes)
