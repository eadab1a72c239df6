"""The other policies' formulas, with numbers to check by hand."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.views import attending, keeping, keyed, ranking

from maskkv.errors import InputError
from maskkv.eviction.budgets import UniformHeads, UniformLayers
from maskkv.eviction.scorers import Votes
from maskkv.policies import named
from maskkv.policies.adakv import TopOfLayer
from maskkv.policies.knorm import ShortKeys
from maskkv.policies.random import Drawn
from maskkv.policies.sparse_dllm import BlockQuery
from maskkv.policies.streamingllm import SinksThenLatest

KEYS = torch.randn(12, 2, 4, generator=torch.Generator().manual_seed(0))


def test_adakv_counts_each_heads_part_of_the_best() -> None:
    """The best 4 are 8, 7, 6 of head 0 and 5 of head 1; b = 2: 0.8 · 3 + 0.2 · 2 and 0.8 · 1 + 0.2 · 2."""
    scores = torch.tensor([[8.0, 1, 6, 7], [5.0, 4, 3, 2]])
    assert TopOfLayer()(keyed(KEYS, 8), scores, 4)(4) == pytest.approx([2.8, 1.2])
    assert TopOfLayer(head_base=1.0)(keyed(KEYS, 8), scores, 4)(4) == pytest.approx([2, 2])


def test_adakv_counts_the_best_of_as_many_as_are_asked_for() -> None:
    """Of the best 6 each head has 3; of the best 2, all that the layer gets in the end, head 0 has both."""
    scores = torch.tensor([[8.0, 1, 6, 7], [5.0, 4, 3, 2]])
    shares = TopOfLayer(head_base=0.0)(keyed(KEYS, 8), scores, 6)
    assert (shares(6), shares(2)) == ([3, 3], [2, 0])


def test_adakv_counts_a_tie_at_the_earlier_position() -> None:
    """All equal: of 5 pairs, positions 0 and 1 of both heads and position 2 of the first."""
    assert TopOfLayer(head_base=0.0)(keyed(KEYS, 8), torch.zeros(2, 4), 5)(5) == [3, 2]


def test_adakv_leaves_a_head_that_needs_one_pair_little_more() -> None:
    """Masks of head 0 give 6 pairs 1/8 each, those of head 1 nearly all to one: counts 5 and 1, so 4.6 and 1.4."""
    weights = torch.ones(2, 8, 8)
    weights[1, :, 0] = 1000
    policy = replace(named("adakv"), scorer=Votes("mask"))
    keep = keeping(policy, attending(weights, kv_heads=2, masked=[True] * 2), 6)
    assert keep.int().tolist() == [[1, 1, 1, 1, 1, 0], [1, 0, 0, 0, 0, 0]]


@given(st.lists(st.lists(st.integers(0, 6), min_size=5, max_size=5), min_size=3, max_size=3), st.integers(1, 15))
def test_adakv_like_lists(values: list[list[int]], pairs: int) -> None:
    flat = sorted((-value, position, head) for head, own in enumerate(values) for position, value in enumerate(own))
    counts = [sum(head == h for _, _, head in flat[:pairs]) for h in range(3)]
    keys = torch.zeros(7, 3, 2)
    budgets = TopOfLayer(head_base=0.25)(keyed(keys, 2), torch.tensor(values).float(), pairs)(pairs)
    assert budgets == pytest.approx([0.75 * count + 0.25 * pairs / 3 for count in counts])


def test_streamingllm_keeps_sinks_and_the_latest() -> None:
    view = keyed(KEYS, 2)
    assert ranking(SinksThenLatest()(view)) == [[0, 1, 2, 3, 9, 8, 7, 6, 5, 4]] * 2
    assert ranking(SinksThenLatest(sinks=0)(view)) == [[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]] * 2
    kept = keeping(named("streamingllm"), view, 12)
    assert [own.nonzero().flatten().tolist() for own in kept] == [[0, 1, 2, 3, 8, 9]] * 2


@pytest.mark.parametrize(("name", "rows"), [("mask-voting", [6, 7]), ("prompt-voting", range(5)), ("h2o", range(8))])
def test_who_votes(name: str, rows: list[int]) -> None:
    """The votes are the sum of those rows of the attention matrix, the softmax over prompt and response."""
    weights = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(1)) + 0.1
    view = attending(weights, kv_heads=2, masked=[False, True, True])
    scorer = named(name).scorer
    assert scorer is not None
    expected = (weights / weights.sum(-1, keepdim=True))[:, list(rows), :5].sum(1)
    torch.testing.assert_close(scorer(view), expected)


def test_knorm_keeps_short_keys() -> None:
    """Lengths 5, 1, 3 in head 0 and 1, 2, 13 in head 1."""
    keys = torch.tensor([[[3.0, 4], [1, 0]], [[1, 0], [0, 2]], [[0, -3], [5, 12]]])
    assert ShortKeys()(keyed(keys, 0)).tolist() == [[-5, -1, -3], [-1, -2, -13]]
    kept = keeping(named("knorm"), keyed(keys, 0), 4)
    assert kept.int().tolist() == [[0, 1, 1], [1, 1, 0]]


def test_key_lengths_are_those_before_the_rotation_span_by_span() -> None:
    """Keys 0 to 6 are as long as their number; the last two are the response's."""
    keys = torch.arange(7.0)[:, None, None].expand(7, 2, 1)
    view = replace(keyed(torch.full((7, 2, 1), 9.0), 2), chunk_rows=2, unrotated=lambda span: keys[span])
    assert view.key_lengths().tolist() == [[0, 1, 2, 3, 4]] * 2
    assert ranking(ShortKeys()(view)) == [[0, 1, 2, 3, 4]] * 2


def test_random_is_drawn_by_seed_and_layer_alone() -> None:
    scores = Drawn(seed=3)(keyed(KEYS, 2, layer=1))
    assert scores.equal(Drawn(seed=3)(keyed(2 * KEYS, 2, layer=1)))
    for other in (Drawn(seed=4)(keyed(KEYS, 2, layer=1)), Drawn(seed=3)(keyed(KEYS, 2, layer=2))):
        assert not scores.equal(other)
    assert not scores[0].equal(scores[1])
    assert not Drawn(seed=1)(keyed(KEYS, 2, layer=0)).equal(Drawn(seed=0)(keyed(KEYS, 2, layer=1)))


def test_random_does_not_disturb_what_else_is_drawn() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    Drawn()(keyed(KEYS, 2))
    assert torch.rand(3).equal(expected)


def test_sparse_dllm_is_the_mean_logit_of_the_mean_query() -> None:
    """Two query heads of one KV head; block of 2 rows: q̄ = (1, 1) and (3, 0), so q̄·k averages to k · (2, 0.5).

    Keys (1,0) (0,2) (0,0) (-1,0) (0,-4) score 2, 1, 0, -2, -2; pooled over 3: 2, 2, 1, 0, -2.
    """
    keys = torch.tensor([[1.0, 0], [0, 2], [0, 0], [-1, 0], [0, -4], [9, 9], [9, 9], [9, 9], [9, 9]])[:, None]
    queries = torch.zeros(9, 2, 2)
    queries[5:7] = torch.tensor([[[2.0, 1], [3, 1]], [[0, 1], [3, -1]]])
    queries[7:] = 100
    masked = torch.tensor([False, True, True, True])
    view = keyed(keys, 4)
    view = type(view)(0, 1, keys, keys, lambda span: queries[span], 5, masked, block_length=2)
    torch.testing.assert_close(BlockQuery()(view), torch.tensor([[2.0, 2, 1, 0, -2]]).double())
    assert ranking(BlockQuery()(view)) == [[0, 1, 2, 3, 4]]
    assert ranking(BlockQuery(kernel=1)(view)) == [[0, 1, 2, 3, 4]]


def test_sparse_dllm_keeps_the_same_pairs_in_every_head() -> None:
    queries = torch.randn(12, 4, 4, generator=torch.Generator().manual_seed(2))
    view = keyed(KEYS, 4)
    view = type(view)(0, 1, KEYS, KEYS, lambda span: queries[span], 8, view.masked, block_length=2)
    keep = keeping(named("sparse-dllm"), view, 6)
    assert keep[0].equal(keep[1])
    assert int(keep.sum()) == 6


def test_tables_2_and_7_by_name() -> None:
    for name in ("mask-voting", "prompt-voting", "h2o", "snapkv"):
        assert named(name).layer_budget == UniformLayers()
        assert named(name).head_budget == UniformHeads()
    assert named("mask-voting").scorer == named("maskkv").scorer == Votes("mask")


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (TopOfLayer, {"head_base": 1.1}),
        (TopOfLayer, {"head_base": float("nan")}),
        (SinksThenLatest, {"sinks": -1}),
        (BlockQuery, {"kernel": 2}),
    ],
)
def test_refuses(kind: type, changes: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected"):
        kind(**changes)
