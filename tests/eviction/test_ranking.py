from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from maskkv.errors import InputError
from maskkv.eviction.ranking import Choice, Ranking


def ranked(scores: Tensor, shares: Sequence[float]) -> Ranking:
    return Ranking.of(scores, lambda pairs: [float(share) for share in shares])


def test_the_best_of_each_head_by_its_own_count() -> None:
    choice, places = ranked(torch.tensor([[0.1, 0.4, 0.3, 0.2], [9.0, 7.0, 8.0, 6.0]]), [1, 3]).best(4)
    assert choice.counts == (1, 3)
    assert choice.positions() == [[1], [0, 1, 2]]
    assert choice.cells.tolist() == [1, 4, 5, 6]
    assert choice.rows().tolist() == [2, 1, 3, 5], "two heads side by side: position 1 of head 0 is row 2"
    assert choice.holders().tolist() == [1, 2, 1, 0]
    assert places.tolist() == [0, 4, 6, 5], "head 1 ranks its positions 0, 2, 1, 3"


def test_ties_go_to_the_earlier_position() -> None:
    scores = torch.tensor([[1.0, 2.0, 1.0, 2.0, 1.0]]).expand(3, 5)
    assert ranked(scores, [1, 3, 0]).best(4)[0].positions() == [[1], [0, 1, 3], []]


def test_long_plateaus_keep_their_order() -> None:
    """An unstable sort shuffles equal scores once there are more than a handful."""
    choice, _ = ranked(torch.zeros(2, 5000), [3, 4000]).best(4003)
    assert choice.positions() == [list(range(3)), list(range(4000))]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(0, 12))
def test_like_sorting(scores: list[int], count: int) -> None:
    count = min(count, len(scores))
    best = sorted(range(len(scores)), key=lambda position: (-scores[position], position))[:count]
    assert ranked(torch.tensor([scores]).float(), [1]).best(count)[0].positions() == [sorted(best)]


def test_everything() -> None:
    every = Choice.everything(2, 3, torch.device("cpu"))
    assert every.is_everything
    assert every.positions() == [[0, 1, 2]] * 2
    assert every.rows().tolist() == [0, 2, 4, 1, 3, 5]
    assert not ranked(torch.zeros(2, 3), [1, 2]).best(5)[0].is_everything


heads = st.integers(1, 4)


@given(heads, st.integers(1, 12), st.data())
def test_what_is_left_after_narrowing_gives_the_same_choice(kv_heads: int, evictable: int, data: st.DataObject) -> None:
    """Whatever is chosen in the end, up to the number narrowed to; a head may get fewer pairs of more (rounding)."""
    share = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))
    shares = data.draw(st.lists(share, min_size=kv_heads, max_size=kv_heads))
    scores = torch.tensor(
        data.draw(st.lists(st.integers(0, 4), min_size=kv_heads * evictable, max_size=kv_heads * evictable))
    )
    whole = ranked(scores.float().view(kv_heads, evictable), shares)
    most = data.draw(st.integers(0, kv_heads * evictable))
    less = data.draw(st.integers(0, most))
    narrow, places = whole.narrowed(most)
    again, further = narrow.narrowed(less)
    assert torch.equal(whole.cells[places], narrow.cells)
    assert torch.equal(narrow.cells[further], again.cells)
    for ranking, limit in ((narrow, most), (again, less)):
        for pairs in range(limit + 1):
            expected, _ = whole.best(pairs)
            choice, own = ranking.best(pairs)
            assert torch.equal(choice.cells, expected.cells)
            assert choice.counts == expected.counts
            assert torch.equal(ranking.cells[own], choice.cells)


def test_little_more_is_held_than_needed() -> None:
    """Two heads of equal shares, at most 6 of 200 pairs: 3 each, one for rounding and one for the last digit."""
    assert ranked(torch.rand(2, 100), [1, 1]).narrowed(6)[0].lengths == (5, 5)


def test_more_than_was_held_is_refused() -> None:
    narrow, _ = ranked(torch.rand(2, 100), [1, 1]).narrowed(6)
    with pytest.raises(InputError, match=r"heads keep \[15, 15\] pairs of a layer of which only \[5, 5\] were held"):
        narrow.best(30)
