"""MaskKV's equations, with numbers to check by hand."""

import math

import pytest
import torch
from tests.views import keeping

from maskkv.eviction.scorers import Votes
from maskkv.eviction.view import LayerView, ModelView
from maskkv.policies import maskkv
from maskkv.policies.maskkv import BoundaryAware, PromptPreference

IMPORTANCE = (0.5, 0.1, 0.2, 0.7)


def layers(*importance: float) -> ModelView:
    return ModelView(len(importance), budget=8, evictable=100, importance=importance)


def worked_view(evictable: int = 4) -> LayerView:
    """Two heads, 4 prompt rows, a response of mask, decoded, mask.

    In head 0 every pair weighs 1. In head 1 the masks' pairs weigh 3, the decoded one 5, and prompt row 2 weighs 2.
    """
    weights = torch.ones(7, 2)
    weights[:, 1] = torch.tensor([1.0, 1, 2, 1, 3, 5, 3])
    keys = torch.zeros(7, 2, 4)
    keys[..., 0] = 2 * weights.log()  # scores are q·k/√4 = ln(weight)
    queries = torch.zeros(7, 2, 4)
    queries[..., 0] = 1
    return LayerView(
        layer=0,
        num_layers=1,
        keys=keys,
        values=torch.zeros(7, 2, 4),
        queries=lambda span: queries[span],
        evictable=evictable,
        masked=torch.tensor([True, False, True]),
    )


def test_votes_eq_6_7() -> None:
    """Two masks vote: head 0 gives each pair 2 × 1/7, head 1 row 2 gets 2 × 2/16."""
    votes = Votes("mask")(worked_view())
    expected = torch.tensor([[2 / 7] * 4, [2 / 16, 2 / 16, 4 / 16, 2 / 16]])
    torch.testing.assert_close(votes, expected)


def test_pooled_votes_rank_all_heads_alike() -> None:
    votes = Votes("mask", pooled=True)(worked_view())
    own = Votes("mask")(worked_view())
    torch.testing.assert_close(votes, (own[0] + own[1]).expand(2, 4))


def test_layer_budgets_eq_8_13() -> None:
    """β=0.4: each layer's base is 0.1. Boundary 1.2 and middle 0.3 share 0.6 as 0.48 and 0.12, by halves."""
    assert BoundaryAware()(layers(*IMPORTANCE)) == pytest.approx([0.34, 0.16, 0.16, 0.34])


def test_two_boundary_layers_at_each_end() -> None:
    """Six layers: boundary 0.5+0.1+0.2+0.2, middle 0.6+0.4; β=0: half of all to each group."""
    shares = BoundaryAware(layer_base=0.0, boundary_layers=2)(layers(0.5, 0.1, 0.6, 0.4, 0.2, 0.2))
    assert shares == pytest.approx([0.125, 0.125, 0.25, 0.25, 0.125, 0.125])


def test_base_of_one_is_uniform() -> None:
    assert BoundaryAware(layer_base=1.0)(layers(*IMPORTANCE)) == pytest.approx([0.25] * 4)


@pytest.mark.parametrize("importance", [(0.9, 0.1), (0.5,), (0.0,) * 4])
def test_no_middle_or_no_importance_is_uniform(importance: tuple[float, ...]) -> None:
    shares = BoundaryAware()(layers(*importance))
    assert len(shares) == len(importance)
    assert len(set(shares)) == 1


def test_layer_budgets_need_importance() -> None:
    assert BoundaryAware().needs_importance
    with pytest.raises(ValueError, match="importance"):
        BoundaryAware()(ModelView(4, budget=8, evictable=100))


@pytest.mark.parametrize("evictable", [4, 3])
def test_preference_eq_14(evictable: int) -> None:
    """Head 0: 4 / (4 + 2). Head 1: 5 / (5 + 6). The decoded token counts on neither side.

    A prompt row that stays live is read like any other, so it counts although it is nobody's to evict.
    """
    preference = PromptPreference().preference(worked_view(evictable))
    assert preference.tolist() == pytest.approx([2 / 3, 5 / 11])


def test_head_budgets_eq_15() -> None:
    """α=0.1: 0.05 to each head, and 0.9 split as 2/3 to 5/11, that is 22/37 to 15/37."""
    view = worked_view()
    shares = PromptPreference()(view, view.votes("mask"), 5)(5)
    assert shares == pytest.approx([0.05 + 0.9 * 22 / 37, 0.05 + 0.9 * 15 / 37])
    assert math.fsum(shares) == pytest.approx(1)


def test_head_base_of_one_is_uniform() -> None:
    view = worked_view()
    assert PromptPreference(head_base=1.0)(view, view.votes("mask"), 5)(5) == pytest.approx([0.5, 0.5])


def test_keep_eq_16() -> None:
    """5 pairs at 0.585 and 0.415 are 2.93 and 2.07: head 0 keeps its first 3 (all tie), head 1 rows 0 and 2."""
    keep = keeping(maskkv.POLICY, worked_view(), 5)
    assert keep.int().tolist() == [[1, 1, 1, 0], [1, 0, 1, 0]]


def test_defaults_are_the_papers() -> None:
    assert (
        Votes("mask"),
        BoundaryAware(layer_base=0.4, boundary_layers=1),
        PromptPreference(head_base=0.1),
        True,
    ) == (maskkv.POLICY.scorer, maskkv.POLICY.layer_budget, maskkv.POLICY.head_budget, maskkv.POLICY.revote)
