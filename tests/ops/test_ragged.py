import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.views import selected
from torch import Tensor

from maskkv.ops.ragged import RaggedKV
from maskkv.ops.segments import Rows


def random_heads(rows: int, heads: int, seed: int) -> Tensor:
    return torch.randn(rows, heads, 4, generator=torch.Generator().manual_seed(seed))


def segment(ragged: RaggedKV, index: int) -> tuple[Tensor, Tensor]:
    span = slice(ragged.starts[index], ragged.starts[index + 1])
    return ragged.keys[span], ragged.values[span]


def pack(keys: Tensor, values: Tensor, keep: Tensor) -> RaggedKV:
    return RaggedKV.pack(keys.flatten(0, 1), values.flatten(0, 1), selected(keep, len(keys)))


def softmax_read(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return (queries @ keys.T / keys.shape[1] ** 0.5).softmax(-1) @ values


def keep_masks(heads: int) -> st.SearchStrategy[list[list[bool]]]:
    return st.integers(0, 6).flatmap(
        lambda prompt: st.lists(
            st.lists(st.booleans(), min_size=prompt, max_size=prompt), min_size=heads, max_size=heads
        )
    )


sequences = st.integers(1, 3).flatmap(
    lambda heads: st.lists(st.tuples(keep_masks(heads), st.integers(1, 4)), min_size=1, max_size=4)
)


@settings(max_examples=60)
@given(sequences, st.integers(1, 2), st.integers(0, 100))
def test_like_a_list_per_head(members: list[tuple[list[list[bool]], int]], group: int, seed: int) -> None:
    """Several sequences, joined; every other live row gets new keys, all get new values."""
    heads = len(members[0][0])
    parts, wanted_keys, wanted_values = [], [], []
    for index, (keep, tail) in enumerate(members):
        prompt = len(keep[0])
        keys = random_heads(prompt + tail, heads, seed + 10 * index)
        values = random_heads(prompt + tail, heads, seed + 10 * index + 1)
        parts.append(pack(keys, values, torch.tensor(keep, dtype=torch.bool).view(heads, prompt)))
        for h in range(heads):
            rows = [r for r in range(prompt) if keep[h][r]] + list(range(prompt, prompt + tail))
            wanted_keys.append(keys[rows, h])
            wanted_values.append(values[rows, h])
    joined = parts[0].join(parts[1:])
    tails = [tail for _, tail in members]
    live = [(index, row) for index, tail in enumerate(tails) for row in range(tail)]
    fresh = torch.tensor([place for place in range(len(live)) if (place + seed) % 2], dtype=torch.long)
    new_keys, new_values = random_heads(len(fresh), heads, seed + 2), random_heads(len(live), heads, seed + 3)
    joined.write_keys(new_keys, fresh)
    joined.write_values(new_values)
    for h in range(heads):
        for place, (index, row) in enumerate(live):
            own = index * heads + h
            wanted_values[own][len(wanted_values[own]) - tails[index] + row] = new_values[place, h]
        for place, key in zip(fresh.tolist(), new_keys[:, h], strict=True):
            index, row = live[place]
            own = index * heads + h
            wanted_keys[own][len(wanted_keys[own]) - tails[index] + row] = key
    for own in range(len(wanted_keys)):
        assert torch.equal(segment(joined, own)[0], wanted_keys[own])
        assert torch.equal(segment(joined, own)[1], wanted_values[own])
        part = parts[own // heads]
        assert torch.equal(segment(part, own % heads)[0], wanted_keys[own]), "a part is a view of the whole"
        assert torch.equal(segment(part, own % heads)[1], wanted_values[own])
    assert torch.equal(joined.values[joined._tail], new_values)
    assert sum(part.nbytes for part in parts) == joined.nbytes == sum(map(len, wanted_keys)) * 2 * 4 * 4

    counts = [(index + seed) % 3 for index in range(len(parts))]
    queries = random_heads(sum(counts), heads * group, seed + 4)
    read = joined.attend(queries, Rows(counts))
    for row, index in enumerate(index for index, count in enumerate(counts) for _ in range(count)):
        for head in range(heads * group):
            own = index * heads + head // group
            expected = softmax_read(queries[row, head], wanted_keys[own], wanted_values[own])
            torch.testing.assert_close(read[row, head], expected)


def test_writing_all_keys() -> None:
    ragged = pack(random_heads(5, 2, 0), random_heads(5, 2, 1), torch.tensor([[True, False], [True, True]]))
    new = random_heads(3, 2, 2)
    ragged.write_keys(new, None)
    assert torch.equal(segment(ragged, 0)[0][1:], new[:, 0])
    assert torch.equal(segment(ragged, 1)[0][2:], new[:, 1])


def test_keeps_no_view_of_what_it_was_given() -> None:
    keys, values = random_heads(6, 2, 0), random_heads(6, 2, 1)
    ragged = pack(keys, values, torch.ones(2, 4, dtype=torch.bool))
    before = ragged.keys.clone()
    keys.zero_()
    assert torch.equal(ragged.keys, before)
    assert ragged.keys.untyped_storage().nbytes() == 6 * 2 * 4 * 4


def test_joining_moves_and_leaving_copies() -> None:
    keep = torch.ones(2, 4, dtype=torch.bool)
    parts = [pack(random_heads(6, 2, seed), random_heads(6, 2, seed + 1), keep) for seed in (0, 2)]
    whole = parts[0].join(parts[1:])
    for part in parts:
        assert part.keys.untyped_storage().data_ptr() == whole.keys.untyped_storage().data_ptr()
    before = parts[1].values.clone()
    parts[1].leave()
    whole.values.zero_()
    assert torch.equal(parts[1].values, before)
    assert parts[1].values.untyped_storage().nbytes() == parts[1].values.nbytes
    assert not parts[0].values.any()
    alone = parts[1].join([])
    assert alone is parts[1]
    address = alone.keys.data_ptr()
    alone.leave()
    assert alone.keys.data_ptr() == address, "what is no view is not copied"


@pytest.mark.parametrize("lengths", [(2, 2), (1, 3)])
def test_no_queries_read_nothing(lengths: tuple[int, int]) -> None:
    keep = torch.tensor([[column < length for column in range(3)] for length in lengths])
    ragged = pack(random_heads(5, 2, 0), random_heads(5, 2, 1), keep)
    assert ragged.attend(random_heads(0, 6, 2), Rows([0])).shape == (0, 6, 4)


def test_segments_are_laid_out_once_until_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether all live rows read or some of them: what is looked up is made by the first."""
    keep = torch.tensor([[True, False, False], [True, True, True]])
    ragged = pack(random_heads(8, 2, 0), random_heads(8, 2, 1), keep)
    queries = random_heads(5, 2, 2)
    expected = ragged.attend(queries, Rows([5]))
    made = list(ragged._buckets.values())
    torch.testing.assert_close(ragged.attend(queries[:2], Rows([2])), expected[:2])
    assert list(ragged._buckets.values()) == made
    with monkeypatch.context() as patch:
        patch.setattr(torch, "arange", None)
        patch.setattr(torch, "tensor", None)
        assert torch.equal(ragged.attend(queries, Rows([5])), expected)
    ragged.relay(ragged.lengths[::-1])
    assert not torch.equal(ragged.attend(queries, Rows([5])), expected)
