"""SnapKV's score, with numbers to check by hand."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tests.views import attending, ranking
from torch import Tensor

from maskkv.errors import InputError
from maskkv.eviction.scorers import ObservationWindow, pool
from maskkv.eviction.view import LayerView
from maskkv.policies import adakv, pyramidkv, snapkv, squeezeattention


def worked_view(logit_shift: int = 0) -> LayerView:
    """Eight prompt rows and two masks; the last two prompt rows look at pairs 1 and 3. Rows sum to 16."""
    weights = torch.ones(1, 10, 10)
    weights[0, 6] = torch.tensor([1.0, 5, 1, 1, 1, 1, 1, 1, 2, 2])
    weights[0, 7] = torch.tensor([1.0, 1, 1, 3, 1, 1, 1, 1, 3, 3])
    return attending(weights, kv_heads=1, masked=[True, True], logit_shift=logit_shift)


def test_max_pooled_votes_of_the_window() -> None:
    """The two rows give 2, 6, 2, 4, 2, 2, 2, 2 sixteenths; the softmax runs over the response too."""
    scores = ObservationWindow(window=2, kernel=3)(worked_view())
    expected = torch.tensor([[6.0, 6, 6, 4, 4, 2, 2, 2]]).double() / 16
    torch.testing.assert_close(scores, expected, rtol=1e-6, atol=0)


def test_plateaus_are_settled_by_the_votes_before_pooling_then_by_position() -> None:
    """Of the three that pooled to 6 the one that had 6 itself comes first, of the two with 4 the one that had 4."""
    assert ranking(ObservationWindow(window=2, kernel=3)(worked_view())) == [[1, 0, 2, 3, 4, 5, 6, 7]]


def test_average_pooling_counts_zeros_past_the_ends() -> None:
    scores = ObservationWindow(window=2, kernel=3, pooling="avg")(worked_view())
    expected = torch.tensor([[8.0, 10, 12, 8, 8, 6, 6, 4]]).double() / 48
    torch.testing.assert_close(scores, expected, rtol=1e-6, atol=0)


def test_a_protected_window_comes_first_and_lends_no_votes() -> None:
    """Rows 7 and 6 whatever they have; pair 5 would otherwise pool its neighbour 6."""
    scores = ObservationWindow(window=2, kernel=3, protect_window=True)(worked_view())
    assert ranking(scores) == [[7, 6, 1, 0, 2, 3, 4, 5]]


def test_a_live_prompt_row_votes_and_is_nobodys_to_keep() -> None:
    scores = ObservationWindow(window=2, kernel=3)(worked_view(logit_shift=1))
    assert ranking(scores) == [[1, 0, 2, 3, 4, 5, 6]]
    protected = ObservationWindow(window=2, kernel=3, protect_window=True)(worked_view(logit_shift=1))
    assert ranking(protected) == [[6, 1, 0, 2, 3, 4, 5]]


@pytest.mark.parametrize("window", [8, 9, 100])
def test_a_window_of_the_prompt_or_more_is_the_prompt(window: int) -> None:
    view = worked_view()
    assert ObservationWindow(window=window, kernel=1)(view).equal(view.votes("prompt"))
    assert ranking(ObservationWindow(window=window, protect_window=True)(view)) == [[7, 6, 5, 4, 3, 2, 1, 0]]


def test_query_heads_are_joined_before_pooling() -> None:
    """Two query heads of one KV head, each with a peak: 2 4 4 2 2 2. Pooled before, it were 4 6 6 4 2 2."""
    weights = torch.ones(2, 8, 8)
    weights[0, 5], weights[1, 5] = torch.tensor([1.0, 3, 1, 1, 1, 1, 4, 4]), torch.tensor([1.0, 1, 3, 1, 1, 1, 4, 4])
    view = attending(weights, kv_heads=1, masked=[True, True])
    scores = ObservationWindow(window=1, kernel=3)(view)
    torch.testing.assert_close(scores, torch.tensor([[4.0, 4, 4, 4, 2, 2]]).double() / 16, rtol=1e-6, atol=0)


@example([[4, 0, 1, 2, 0, 3, 1, 0, 1], [0] * 9], 21, "avg", 1.0)  # wider than the prompt
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=9, max_size=9), min_size=2, max_size=2),
    st.sampled_from([3, 5, 7, 21]),
    st.sampled_from(["max", "avg"]),
    st.sampled_from([0.1, 1.0, -0.3]),
)
def test_pooling_like_lists(votes: list[list[int]], kernel: int, pooling: str, scale: float) -> None:
    scores = scale * torch.tensor(votes, dtype=torch.float32)
    pooled = pool(scores, kernel, pooling)
    half = kernel // 2
    expected = []
    for own in scores.tolist():
        spans = [own[max(0, j - half) : j + half + 1] for j in range(len(own))]
        expected.append([max(span) if pooling == "max" else sum(span) / kernel for span in spans])
    torch.testing.assert_close(pooled, torch.tensor(expected).double(), rtol=1e-5, atol=1e-6)
    if pooling == "max":
        order = [
            sorted(range(9), key=lambda j: (-best[j], -own[j], j))
            for best, own in zip(expected, scores.tolist(), strict=True)
        ]
        assert ranking(pooled) == order


def test_settling_ties_moves_nothing_past_its_neighbour() -> None:
    """Neighbouring fp32 numbers of either sign, zero and the smallest subnormal among them, stay apart."""
    one = torch.tensor(1.0)
    around = [one, one.nextafter(one + 1), torch.tensor(2.0**-149), torch.tensor(0.0), torch.tensor(-0.0), -one]
    scores = torch.stack([*around, -one.nextafter(one + 1)])
    pooled: Tensor = pool(scores[None].repeat_interleave(7, dim=1), 7)
    middles = pooled[0, 3::7]
    assert middles.float().equal(scores)
    assert sorted(middles.tolist(), reverse=True) == middles[[1, 0, 2, 3, 4, 5, 6]].tolist()


def test_the_defaults_are_the_originals_longbench_settings() -> None:
    window = ObservationWindow(window=32, kernel=7, pooling="max", protect_window=False)
    for module in (snapkv, pyramidkv, squeezeattention, adakv):
        assert module.POLICY.scorer == window


@pytest.mark.parametrize("changes", [{"window": 0}, {"kernel": 0}, {"kernel": 4}, {"kernel": -3}, {"pooling": "mean"}])
def test_refuses(changes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="expected"):
        ObservationWindow(**changes)
