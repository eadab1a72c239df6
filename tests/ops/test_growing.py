"""Segments that grow block by block, in slots that were free, joined with others or alone."""

import pytest
import torch
import torch.nn.attention.varlen as varlen
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ops.test_quantised import loop_kernel
from tests.views import selected
from torch import Tensor

from maskkv.ops.quantised_kv import QuantisedKV
from maskkv.ops.ragged import RaggedKV
from maskkv.ops.segmented_kv import SegmentedKV
from maskkv.ops.segments import Rows

KINDS = ("auto", "int8")
SIZE = 8


def numbers(rows: int, heads: int, seed: int) -> Tensor:
    return torch.randn(rows, heads, SIZE, generator=torch.Generator().manual_seed(seed))


def pack(keys: Tensor, values: Tensor, keep: Tensor, room: int, kind: str) -> SegmentedKV:
    chosen, flat = selected(keep, len(keys)), (keys.flatten(0, 1), values.flatten(0, 1))
    return RaggedKV.pack(*flat, chosen, room) if kind == "auto" else QuantisedKV.pack(*flat, chosen, kind, room)


def read(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return (queries @ keys.T / SIZE**0.5).softmax(-1) @ values


class Lists:
    """One sequence as a list per head: its kept pairs as they are stored, its finished blocks, its live rows."""

    def __init__(self, keys: Tensor, values: Tensor, keep: Tensor, live: int, kind: str) -> None:
        stored = pack(keys, values, keep, 0, kind)
        self.kept = []
        for head in range(keep.shape[0]):
            rows = [row for row in range(keep.shape[1]) if keep[head, row]]
            if isinstance(stored, QuantisedKV):
                start = sum(stored.lengths[:head])
                span = slice(start, start + len(rows))
                self.kept.append((stored.keys.all(torch.float32)[span], stored.values.all(torch.float32)[span]))
            else:
                self.kept.append((keys[rows, head], values[rows, head]))
        self.done = keys[:0], values[:0]
        self.live = keys[-live:], values[-live:]

    def advance(self) -> None:
        self.done = tuple(torch.cat(both) for both in zip(self.done, self.live, strict=True))  # type: ignore[assignment]

    def read(self, queries: Tensor) -> Tensor:
        group = queries.shape[1] // len(self.kept)
        out = torch.empty_like(queries)
        for head in range(queries.shape[1]):
            own = self.kept[head // group]
            keys, values = (
                torch.cat((kept, done[:, head // group], live[:, head // group]))
                for kept, done, live in zip(own, self.done, self.live, strict=True)
            )
            out[:, head] = read(queries[:, head], keys, values)
        return out


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3), st.integers(0, 3)), min_size=1, max_size=3),
    st.integers(1, 3),
    st.integers(1, 2),
    st.sampled_from(KINDS),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_like_a_list_per_head(
    members: list[tuple[int, int, int]], heads: int, group: int, kind: str, in_one_call: bool, random: object
) -> None:
    """Each sequence has its prompt, block and number of blocks to come; who moves on when is random."""
    seed = random.randrange(10**6)  # type: ignore[attr-defined]
    parts, lists = [], []
    for index, (prompt, live, blocks) in enumerate(members):
        keys, values = (numbers(prompt + live, heads, seed + 10 * index + each) for each in range(2))
        keep = torch.rand(heads, prompt, generator=torch.Generator().manual_seed(seed + index)) < 0.5
        parts.append(pack(keys, values, keep, blocks * live, kind))
        lists.append(Lists(keys, values, keep, live, kind))
    with pytest.MonkeyPatch.context() as patch:
        if in_one_call:
            patch.setattr(varlen, "varlen_attn", loop_kernel)
            patch.setattr(QuantisedKV, "relays_in_place", True)
            patch.setattr(RaggedKV, "relays_in_place", True)
        whole = parts[0].join(parts[1:])
        left, rows = [blocks for *_, blocks in members], Rows([live for _, live, _ in members])
        for turn in range(5):
            fresh = [numbers(len(each.live[0]), heads, seed + 100 * turn + place) for place, each in enumerate(lists)]
            for each, own in zip(lists, fresh, strict=True):
                each.live = own, own + 1
            whole.write_keys(torch.cat(fresh), None)
            whole.write_values(torch.cat(fresh) + 1)
            queries = [numbers(len(own), heads * group, seed + place) for place, own in enumerate(fresh)]
            wanted = torch.cat([each.read(own) for each, own in zip(lists, queries, strict=True)])
            torch.testing.assert_close(whole.attend(torch.cat(queries), rows), wanted, atol=1e-5, rtol=1e-4)
            for place, each in enumerate(lists):
                own_keys = torch.cat((each.done[0], each.live[0]))
                if len(parts) == 1:
                    torch.testing.assert_close(whole.own_keys(), own_keys)
                else:
                    torch.testing.assert_close(parts[place].own_keys(), own_keys)
                own_pairs = (whole if len(parts) == 1 else parts[place]).live_pairs()
                torch.testing.assert_close(own_pairs, each.live)
                if left[place] and random.random() < 0.6:  # type: ignore[attr-defined]
                    left[place] -= 1
                    parts[place].advance()
                    each.advance()
            if len(parts) > 1:
                whole.follow(parts)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_segments_are_read_where_they_lie(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free slots between segments do not make a copy of the pairs necessary."""
    keep = torch.ones(2, 6, dtype=torch.bool)
    held = pack(numbers(8, 2, 0), numbers(8, 2, 1), keep, 4, kind)
    held.attend(numbers(2, 2, 2), Rows([2]))
    held.advance()
    queries = numbers(2, 2, 3)
    expected = held.attend(queries, Rows([2]))
    monkeypatch.setattr(Tensor, "index_select", None)
    assert torch.equal(held.attend(queries, Rows([2])), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_room_for_so_many_blocks(kind: str) -> None:
    held = pack(numbers(8, 2, 0), numbers(8, 2, 1), torch.ones(2, 6, dtype=torch.bool), 4, kind)
    held.advance()
    held.advance()
    with pytest.raises(AssertionError, match="there is room for every block"):
        held.advance()
