"""What a scan ranks by is the softmax weight, however the keys are cut."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskkv.ops import scan as module
from maskkv.ops.scan import scan
from maskkv.ops.selection import best


def weights(queries: torch.Tensor, keys: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
    """Return every row's and query head's softmax over pairs and what is beside them: kv_heads × rows × pairs."""
    kv_heads, pairs, head_dim = keys.shape
    group = queries.shape[1] // kv_heads
    found = []
    for head in range(kv_heads):
        every = torch.cat((keys[head], beside[:, head])).double()
        own = queries[:, head * group : (head + 1) * group].double().flatten(0, 1)
        found.append((own @ every.T / head_dim**0.5).softmax(-1)[:, :pairs])
    return torch.stack(found)


@given(data=st.data())
def test_scores_are_in_the_order_of_the_weights(data: st.DataObject) -> None:
    rows, group, kv_heads = (data.draw(st.integers(1, 5)) for _ in range(3))
    pairs, live = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 6))
    scale = data.draw(st.sampled_from([0.1, 1.0, 30.0]))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    queries, keys = scale * torch.randn(rows, kv_heads * group, 4), torch.randn(kv_heads, pairs, 4)
    beside, tally = torch.randn(live, kv_heads, 4), data.draw(st.sampled_from(["max", "sum"]))
    voters = data.draw(st.none() | st.lists(st.booleans(), min_size=rows, max_size=rows).map(torch.tensor))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TILE_ELEMENTS", data.draw(st.sampled_from([1, 7, 64, 1 << 20])))
        scores = scan(queries, keys, beside, tally=tally, voters=voters)
    every = weights(queries, keys, beside)
    if voters is not None:
        every = every * voters.repeat_interleave(group)[:, None]
    expected = every.amax(1) if tally == "max" else every.sum(1)
    found = scores.double().exp() if tally == "max" else scores.double()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)


def test_weights_that_fp32_cannot_hold_still_rank() -> None:
    """A softmax would give both pairs the weight 0."""
    queries, beside = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[400.0, 0.0]]])
    keys = torch.tensor([[[0.0, 0.0], [100.0, 0.0]]])
    scores = scan(queries, keys, beside)
    assert scores[0, 1] > scores[0, 0]


def test_a_single_row_that_wants_one_pair_gets_it() -> None:
    """Thirty rows want pair 0 a little, one wants pair 5 much: the sum takes 0, the largest weight 5."""
    keys = torch.zeros(1, 8, 2)
    keys[0, 0], keys[0, 5] = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 9.0])
    queries = torch.tensor([[2.0, 0.0]] * 30 + [[0.0, 2.0]])[:, None]
    chosen = {
        tally: best(scan(queries, keys, torch.zeros(1, 1, 2), tally=tally), torch.tensor([[1]]), 1).nonzero().tolist()
        for tally in ("max", "sum")
    }
    assert chosen == {"max": [[0, 5]], "sum": [[0, 0]]}


@given(data=st.data())
def test_the_best_are_those_of_a_stable_sort(data: st.DataObject) -> None:
    heads, pairs = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 12))
    values = st.lists(st.sampled_from([-3.0, 0.0, 1.0, 1.5]), min_size=pairs, max_size=pairs)
    scores = torch.tensor(data.draw(st.lists(values, min_size=heads, max_size=heads)))
    counts = data.draw(st.lists(st.integers(0, pairs), min_size=heads, max_size=heads))
    most = max(counts)
    if most == 0:
        return
    marked = best(scores, torch.tensor(counts)[:, None], most)
    for own, row, count in zip(scores.tolist(), marked.tolist(), counts, strict=True):
        expected = sorted(range(pairs), key=lambda place, own=own: (-own[place], place))[:count]
        assert [place for place in range(pairs) if row[place]] == sorted(expected)
