"""Votes and their alternatives, with numbers to check by hand."""

import pytest
import torch
from tests.views import attending, ranking
from torch import Tensor

from maskkv.errors import InputError
from maskkv.eviction.scorers import Votes
from maskkv.eviction.view import LayerView


def worked_view() -> LayerView:
    """Two heads, five prompt rows and three masks, whose rows sum to 20."""
    weights = torch.ones(2, 8, 8)
    weights[0, 5] = torch.tensor([1.0, 9, 1, 1, 1, 2, 2, 3])
    weights[0, 6] = torch.tensor([1.0, 1, 1, 6, 4, 2, 2, 3])
    weights[0, 7] = torch.tensor([1.0, 1, 1, 6, 4, 2, 2, 3])
    weights[1, 5:] = torch.tensor([6.0, 1, 1, 1, 4, 2, 2, 3])
    view = attending(weights, kv_heads=2, masked=[True, True, True])
    view.values[:5, 0] *= torch.tensor([1.0, 1, 8, 1, 2])[:, None]
    return view


def scores(view: LayerView, **options: object) -> Tensor:
    return 20 * Votes("mask", **options)(view)


def test_sum() -> None:
    expected = torch.tensor([[3.0, 11, 3, 13, 9], [18, 3, 3, 3, 12]])
    torch.testing.assert_close(scores(worked_view()), expected)


def test_max() -> None:
    expected = torch.tensor([[1.0, 9, 1, 6, 4], [6, 1, 1, 1, 4]])
    torch.testing.assert_close(scores(worked_view(), tally="max"), expected)


def test_later_or_earlier_masks_weigh_more() -> None:
    """Weights 1/3, 2/3, 1 or the other way round."""
    rising, falling = scores(worked_view(), tally="rising")[0], scores(worked_view(), tally="falling")[0]
    torch.testing.assert_close(rising, torch.tensor([2.0, 3 + 2 / 3 + 1, 2, 1 / 3 + 4 + 6, 1 / 3 + 8 / 3 + 4]))
    torch.testing.assert_close(falling, torch.tensor([2.0, 9 + 2 / 3 + 1 / 3, 2, 1 + 4 + 2, 1 + 8 / 3 + 4 / 3]))


def test_value_weighted() -> None:
    """All values of length 8^½ but in head 0 those of pairs 2 and 4, 8 and 2 times as long."""
    expected = 8**0.5 * torch.tensor([[3.0, 11, 24, 13, 18], [18, 3, 3, 3, 12]])
    torch.testing.assert_close(scores(worked_view(), value_weighted=True), expected)


def test_pooled_over_heads() -> None:
    torch.testing.assert_close(scores(worked_view(), pooled=True), torch.tensor([[21.0, 14, 6, 16, 21]] * 2))


def test_pooled_over_neighbours() -> None:
    """Head 0: 11 11 13 13 13, ties by 3, 11 and by 3, 13, 9; head 1: 18 18 3 12 12."""
    pooled = scores(worked_view(), kernel=3)
    expected = torch.tensor([[11.0, 11, 13, 13, 13], [18, 18, 3, 12, 12]]).double()
    torch.testing.assert_close(pooled, expected, rtol=1e-6, atol=0)
    assert ranking(pooled) == [[3, 4, 2, 1, 0], [0, 1, 4, 3, 2]]


def test_everything_at_once_goes_in_that_order() -> None:
    """In units of 8^½: the largest votes weighted are 1 9 8 6 8 and 6 1 1 1 4, together 7 10 9 7 12."""
    pooled = scores(worked_view(), tally="max", value_weighted=True, pooled=True, kernel=3)
    expected = 8**0.5 * torch.tensor([[10.0, 10, 10, 12, 12]] * 2).double()
    torch.testing.assert_close(pooled, expected, rtol=1e-6, atol=0)
    assert ranking(pooled) == [[4, 3, 1, 2, 0]] * 2


def test_scoring_leaves_the_view_as_it_is() -> None:
    view = worked_view()
    before = view.votes("mask").clone()
    for options in ({}, {"tally": "max"}, {"value_weighted": True}, {"pooled": True}, {"kernel": 3}):
        scores(view, **options)
    assert view.votes("mask").equal(before)


@pytest.mark.parametrize("options", [{"tally": "mean"}, {"kernel": 2}, {"kernel": 0}])
def test_refuses(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match="expected"):
        Votes("mask", **options)


def test_a_kernel_wider_than_the_prompt_takes_no_longer():
    assert torch.equal(scores(worked_view(), kernel=10**12 + 1), scores(worked_view(), kernel=101))
