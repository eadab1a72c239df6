import pytest
import torch
from torch import Tensor

from maskkv.errors import InputError
from maskkv.eviction.view import LayerView, check_voters

P, L, HEADS, KV_HEADS = 11, 5, 4, 2
MASKED = torch.tensor([False, True, True, False, True])
VOTERS = {
    "mask": [12, 13, 15],
    "mask-last:1": [15],
    "mask-last:2": [13, 15],
    "mask-last:9": [12, 13, 15],
    "mask-first:1": [12],
    "mask-first:9": [12, 13, 15],
    "mask-part:1/1": [12, 13, 15],
    "mask-part:1/3": [12],
    "mask-part:3/3": [15],
    "mask-part:1/2": [12, 13],
    "mask-part:2/2": [13, 15],
    "mask-part:7/9": [15],
    "block": list(range(11, 16)),
    "last:1": [10],
    "last:4": [7, 8, 9, 10],
    "last:99": list(range(11)),
    "prompt": list(range(11)),
    "all": list(range(16)),
}


def random_view(evictable: int = P, chunk_rows: int = 1024) -> tuple[LayerView, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    queries = 2 * torch.randn(P + L, HEADS, 8, generator=generator)
    keys, values = torch.randn(2, P + L, KV_HEADS, 8, generator=generator)
    view = LayerView(
        layer=0,
        num_layers=1,
        keys=keys,
        values=values,
        queries=lambda span: queries[span],
        evictable=evictable,
        masked=MASKED,
        chunk_rows=chunk_rows,
    )
    return view, queries, keys


@pytest.mark.parametrize("voters", VOTERS)
@pytest.mark.parametrize("chunk_rows", [1, 3, 1024])
@pytest.mark.parametrize("evictable", [P, P - 1])
def test_votes_are_the_voters_rows_of_the_softmax_matrix(voters: str, chunk_rows: int, evictable: int) -> None:
    """The softmax runs over prompt and response; query heads that share a KV head are summed."""
    view, queries, keys = random_view(evictable, chunk_rows)
    expected = torch.zeros(KV_HEADS, P + L)
    for head in range(HEADS):
        matrix = (queries[:, head] @ keys[:, head // 2].T / 8**0.5).softmax(-1)
        for row in VOTERS[voters]:
            expected[head // 2] += matrix[row]
    torch.testing.assert_close(view.mass(voters), expected)
    torch.testing.assert_close(view.votes(voters), expected[:, :evictable])


def test_asked_queries_are_the_voters_own() -> None:
    """Votes of the last masks must not project the queries of a long prompt."""
    view, queries, _ = random_view()
    spans: list[slice] = []

    def counted(span: slice) -> Tensor:
        spans.append(span)
        return queries[span]

    LayerView(0, 1, view.keys, view.values, counted, P, MASKED).votes("mask")
    assert spans == [slice(12, 16)]


def test_votes_are_counted_once() -> None:
    view, _, _ = random_view()
    assert view.mass("mask") is view.mass("mask")


def test_sizes() -> None:
    view, _, _ = random_view(P - 1)
    assert (view.kv_heads, view.prompt_length, view.evictable) == (KV_HEADS, P, P - 1)


@pytest.mark.parametrize(
    "voters",
    [
        "",
        "masks",
        "mask:3",
        "last",
        "last:0",
        "mask-last",
        "mask-last:-1",
        "last:1.5",
        "all:2",
        "mask ",
        "mask-first:0",
        "mask-part:0/4",
        "mask-part:5/4",
        "mask-part:1",
        "block:2",
        "mask-last:9999999999",
    ],
)
def test_unknown_voters_are_refused(voters: str) -> None:
    with pytest.raises(InputError, match="expected mask, mask-last:N"):
        check_voters(voters)
