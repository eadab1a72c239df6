from dataclasses import replace

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


@pytest.mark.parametrize("tally", ["sum", "max", "rising"])
@pytest.mark.parametrize("voters", ["mask", "last:4", "prompt", "all"])
@pytest.mark.parametrize("chunk_rows", [1, 3, 1024])
@pytest.mark.parametrize("block", [1, 4, 8])
def test_voters_of_a_block_causal_model_give_nothing_to_later_blocks(
    block: int, chunk_rows: int, voters: str, tally: str
) -> None:
    view, queries, keys = random_view(8, chunk_rows)
    view = replace(view, causal_block=block)
    expected = torch.zeros(KV_HEADS, P + L)
    for head in range(HEADS):
        scores = queries[:, head] @ keys[:, head // 2].T / 8**0.5
        for place, row in enumerate(VOTERS[voters]):
            own = scores[row].clone()
            own[[other for other in range(P + L) if other // block > row // block]] = -torch.inf
            weight = (place + 1) / len(VOTERS[voters]) if tally == "rising" else 1
            if tally == "max":
                expected[head // 2] = torch.maximum(expected[head // 2], own.softmax(0))
            else:
                expected[head // 2] += weight * own.softmax(0)
    torch.testing.assert_close(view.mass(voters, tally), expected)


@pytest.mark.parametrize("voters", ["mask", "last:4", "all"])
@pytest.mark.parametrize("chunk_rows", [1, 3, 1024])
def test_votes_are_counted_by_maximum_or_with_weights(voters: str, chunk_rows: int) -> None:
    """The n voters in order weigh 1/n … 1, or 1 … 1/n; the maximum is over voters and the heads of a group."""
    view, queries, keys = random_view(chunk_rows=chunk_rows)
    rows, expected = VOTERS[voters], {tally: torch.zeros(KV_HEADS, P + L) for tally in ("max", "rising", "falling")}
    for head in range(HEADS):
        matrix = (queries[:, head] @ keys[:, head // 2].T / 8**0.5).softmax(-1)
        for index, row in enumerate(rows):
            own = head // 2
            expected["max"][own] = torch.maximum(expected["max"][own], matrix[row])
            expected["rising"][own] += (index + 1) / len(rows) * matrix[row]
            expected["falling"][own] += (len(rows) - index) / len(rows) * matrix[row]
    for tally, mass in expected.items():
        torch.testing.assert_close(view.mass(voters, tally), mass)
        torch.testing.assert_close(view.votes(voters, tally), mass[:, :P])


def test_the_block_holds_the_first_mask() -> None:
    """Masks are at 1, 2 and 4 of 5: blocks of 2 start at row 11, 13 and 15, and the first has a mask."""
    view, _, _ = random_view()
    blocks = {length: replace(view, block_length=length).rows("block").tolist() for length in (1, 2, 3, 5, None)}
    assert blocks == {1: [12], 2: [11, 12], 3: [11, 12, 13], 5: [*range(11, 16)], None: [*range(11, 16)]}


def test_parts_of_the_masks_cover_them_all() -> None:
    view, _, _ = random_view()
    for parts in range(1, 9):
        found = [view.rows(f"mask-part:{part}/{parts}").tolist() for part in range(1, parts + 1)]
        assert sorted({row for part in found for row in part}) == VOTERS["mask"]
        assert all(found)


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
