import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from maskkv.ops.ragged import RaggedKV


def random_heads(rows: int, heads: int, seed: int) -> Tensor:
    return torch.randn(rows, heads, 4, generator=torch.Generator().manual_seed(seed))


def segment(ragged: RaggedKV, head: int) -> tuple[Tensor, Tensor]:
    span = slice(ragged.offsets[head], ragged.offsets[head + 1])
    return ragged.keys[span], ragged.values[span]


def softmax_read(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return (queries @ keys.T / keys.shape[1] ** 0.5).softmax(-1) @ values


keep_masks = st.integers(1, 3).flatmap(
    lambda heads: st.integers(0, 6).flatmap(
        lambda prompt: st.lists(
            st.lists(st.booleans(), min_size=prompt, max_size=prompt), min_size=heads, max_size=heads
        )
    )
)


@settings(max_examples=60)
@given(keep_masks, st.integers(1, 4), st.integers(1, 2), st.integers(0, 100))
def test_like_a_list_per_head(keep: list[list[bool]], tail: int, group: int, seed: int) -> None:
    heads, prompt = len(keep), len(keep[0])
    keys, values = random_heads(prompt + tail, heads, seed), random_heads(prompt + tail, heads, seed + 1)
    mask = torch.tensor(keep, dtype=torch.bool).view(heads, prompt)
    ragged = RaggedKV(keys, values, mask)

    rows = [[r for r in range(prompt) if keep[h][r]] + list(range(prompt, prompt + tail)) for h in range(heads)]
    wanted_keys = [keys[rows[h], h] for h in range(heads)]
    wanted_values = [values[rows[h], h] for h in range(heads)]

    fresh = torch.tensor([row for row in range(tail) if (row + seed) % 2], dtype=torch.long)
    new_keys, new_values = random_heads(len(fresh), heads, seed + 2), random_heads(tail, heads, seed + 3)
    ragged.write_keys(new_keys, fresh)
    ragged.write_values(new_values)
    for h in range(heads):
        kept = sum(keep[h])
        for place, row in enumerate(fresh.tolist()):
            wanted_keys[h][kept + row] = new_keys[place, h]
        wanted_values[h][kept:] = new_values[:, h]
        assert torch.equal(segment(ragged, h)[0], wanted_keys[h])
        assert torch.equal(segment(ragged, h)[1], wanted_values[h])
    assert torch.equal(ragged.tail_values(), new_values)
    assert ragged.nbytes == sum(len(own) for own in rows) * 2 * 4 * 4
    assert ragged.offsets == [sum(len(own) for own in rows[:h]) for h in range(heads + 1)]

    queries = random_heads(3, heads * group, seed + 4)
    read = ragged.attend(queries)
    for head in range(heads * group):
        own = head // group
        expected = softmax_read(queries[:, head], wanted_keys[own], wanted_values[own])
        torch.testing.assert_close(read[:, head], expected)


def test_writing_all_keys() -> None:
    ragged = RaggedKV(random_heads(5, 2, 0), random_heads(5, 2, 1), torch.tensor([[True, False], [True, True]]))
    new = random_heads(3, 2, 2)
    ragged.write_keys(new, None)
    assert torch.equal(segment(ragged, 0)[0][1:], new[:, 0])
    assert torch.equal(segment(ragged, 1)[0][2:], new[:, 1])


def test_keeps_no_view_of_what_it_was_given() -> None:
    keys, values = random_heads(6, 2, 0), random_heads(6, 2, 1)
    ragged = RaggedKV(keys, values, torch.ones(2, 4, dtype=torch.bool))
    before = ragged.keys.clone()
    keys.zero_()
    assert torch.equal(ragged.keys, before)
    assert ragged.keys.untyped_storage().nbytes() == 6 * 2 * 4 * 4


@pytest.mark.parametrize("lengths", [(2, 2), (1, 3)])
def test_no_queries_read_nothing(lengths: tuple[int, int]) -> None:
    keep = torch.tensor([[column < length for column in range(3)] for length in lengths])
    ragged = RaggedKV(random_heads(5, 2, 0), random_heads(5, 2, 1), keep)
    assert ragged.attend(random_heads(0, 6, 2)).shape == (0, 6, 4)
