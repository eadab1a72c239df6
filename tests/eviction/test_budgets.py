import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import plain_allocate

from maskkv.eviction.allocation import allocate
from maskkv.eviction.budgets import UniformLayers
from maskkv.eviction.view import ModelView

share = st.one_of(st.just(0.0), st.floats(1e-6, 1e6), st.integers(1, 5).map(float))


@st.composite
def splits(draw: st.DrawFn) -> tuple[list[float], int, int]:
    shares, high = draw(st.lists(share, min_size=1, max_size=8)), draw(st.integers(0, 40))
    return shares, draw(st.integers(0, len(shares) * high)), high


@pytest.mark.parametrize(
    ("shares", "total", "high", "expected"),
    [
        ([3, 2, 1], 7, 100, [4, 2, 1]),  # 3.5, 2.33, 1.17
        ([1, 1, 1], 10, 100, [4, 3, 3]),  # a tie goes to the first
        ([1, 1, 1], 11, 100, [4, 4, 3]),
        ([8, 1, 1], 10, 4, [4, 3, 3]),  # 8 is cut to 4, the other 6 are shared evenly
        ([90, 6, 3, 1], 100, 50, [50, 30, 15, 5]),
        ([90, 9, 1], 100, 45, [45, 45, 10]),  # the second overflows only once the first is cut
        ([5, 0, 0], 4, 2, [2, 1, 1]),  # zero shares get what nobody else can hold
        ([0, 0, 0], 5, 9, [2, 2, 1]),  # all zero means equal
        ([1, 0], 3, 9, [3, 0]),
        ([2, 1], 0, 9, [0, 0]),
        ([2, 1], 18, 9, [9, 9]),
        ([0.3], 7, 7, [7]),
    ],
)
def test_worked_numbers(shares: list[float], total: int, high: int, expected: list[int]) -> None:
    assert allocate([float(part) for part in shares], total, high) == expected


@given(splits())
def test_sums_exactly_within_bounds(split: tuple[list[float], int, int]) -> None:
    shares, total, high = split
    amounts = allocate(shares, total, high)
    assert sum(amounts) == total
    assert all(isinstance(amount, int) and 0 <= amount <= high for amount in amounts)


@given(splits())
def test_more_share_never_gets_less_and_ties_go_to_the_first(split: tuple[list[float], int, int]) -> None:
    shares, total, high = split
    amounts = allocate(shares, total, high)
    for i, own in enumerate(shares):
        for j, other in enumerate(shares):
            if own > other * (1 + 1e-9) or (own == other and i < j):
                assert amounts[i] >= amounts[j]
            if own == other:
                assert abs(amounts[i] - amounts[j]) <= 1


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 60), st.integers(1, 40))
def test_like_exact_fractions(shares: list[int], total: int, high: int) -> None:
    """Up to a single pair: where two remainders are equal as fractions, floats may order them otherwise."""
    total = min(total, len(shares) * high)
    exact = plain_allocate([float(part) for part in shares], total, high)
    amounts = allocate([float(part) for part in shares], total, high)
    assert all(abs(a - b) <= 1 for a, b in zip(amounts, exact, strict=True))


@given(splits(), st.floats(0.01, 100))
def test_the_scale_of_shares_does_not_matter(split: tuple[list[float], int, int], scale: float) -> None:
    shares, total, high = split
    scaled = allocate([part * scale for part in shares], total, high)
    assert all(abs(a - b) <= 1 for a, b in zip(allocate(shares, total, high), scaled, strict=True))


@pytest.mark.parametrize(("total", "high"), [(-1, 5), (11, 5)])
def test_refuses_what_does_not_fit(total: int, high: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        allocate([1.0, 1.0], total, high)


def test_uniform_layers_need_no_importance() -> None:
    assert not UniformLayers().needs_importance
    assert UniformLayers()(ModelView(3, budget=8, evictable=100)) == [1.0, 1.0, 1.0]
