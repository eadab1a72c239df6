import math
from collections.abc import Callable
from itertools import accumulate, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import varlen

from maskkv.ops import segments
from maskkv.ops.segments import (
    Bucket,
    BucketedAttention,
    Folding,
    Read,
    attend_packed,
    bucketed,
    equal_widths,
)
from maskkv.ops.widths import CALL_PAIRS, _merged, own_widths

HEAD_DIM = 8


def random_rows(rows: int, *shape: int, seed: int) -> Tensor:
    return torch.randn(rows, *shape, HEAD_DIM, generator=torch.Generator().manual_seed(seed))


def padded_attention(queries: Tensor, keys: Tensor, values: Tensor, lengths: list[int], counts: list[int]) -> Tensor:
    """Pad every segment to the longest, mask, and take one softmax: the oracle."""
    kv_heads, longest = len(lengths) // len(counts), max(lengths)
    padded = [torch.zeros(len(lengths), longest, HEAD_DIM) for _ in range(2)]
    mask = torch.full((len(lengths), longest), -torch.inf)
    for segment, (own_keys, own_values) in enumerate(zip(keys.split(lengths), values.split(lengths), strict=True)):
        padded[0][segment, : lengths[segment]] = own_keys
        padded[1][segment, : lengths[segment]] = own_values
        mask[segment, : lengths[segment]] = 0
    sequence = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    head = torch.arange(queries.shape[1]) // (queries.shape[1] // kv_heads)
    own = sequence[:, None] * kv_heads + head
    scores = torch.einsum("rhd,rhpd->rhp", queries, padded[0][own]) / HEAD_DIM**0.5 + mask[own]
    return torch.einsum("rhp,rhpd->rhd", scores.softmax(-1), padded[1][own])


def loop_kernel(
    query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int, max_k: int
) -> Tensor:
    """Do what `varlen_attn` does, sequence by sequence, and check what it demands."""
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert max_q == cu_seq_q.diff().max()
    assert max_k >= cu_seq_k.diff().max()
    read = torch.empty_like(query)
    for index in range(len(cu_seq_q) - 1):
        rows, pairs = (slice(int(cu[index]), int(cu[index + 1])) for cu in (cu_seq_q, cu_seq_k))
        scores = torch.einsum("rhd,phd->hrp", query[rows], key[pairs]) / query.shape[-1] ** 0.5
        read[rows] = torch.einsum("hrp,phd->rhd", scores.softmax(-1), value[pairs])
    return read


def taken(keys: Tensor, values: Tensor) -> Callable[[Bucket], Read]:
    return lambda bucket: (bucket.take(keys), bucket.take(values), bucket.mask)


cases = st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 4)).flatmap(
    lambda shape: st.tuples(
        st.just(shape),
        st.lists(st.integers(1, 40), min_size=shape[0] * shape[2], max_size=shape[0] * shape[2]),
        st.lists(st.integers(0, 3), min_size=shape[2], max_size=shape[2]).filter(any),
        st.sampled_from([30, 200, 1 << 14]),
    )
)


@settings(max_examples=60)
@given(cases)
def test_both_ways_read_what_the_padded_oracle_reads(
    case: tuple[tuple[int, int, int], list[int], list[int], int],
) -> None:
    (kv_heads, group, _), lengths, counts, tile = case
    live = [count % 2 + 3 for count in counts]
    queries = random_rows(sum(counts), kv_heads * group, seed=1)
    keys, values = random_rows(sum(lengths), seed=2), random_rows(sum(lengths), seed=3)
    expected = padded_attention(queries, keys, values, lengths, counts)
    device = torch.device("cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "TILE_PAIRS", tile)
        patch.setattr(varlen, "varlen_attn", loop_kernel)
        in_buckets = BucketedAttention(lengths, counts, live, device, {})(queries, taken(keys, values))
        folding = Folding.of(counts, kv_heads * group, kv_heads, device)
        offsets = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
        # The longest that is told need only be no less than the longest there is.
        in_one_call = attend_packed(queries, keys, values, folding, offsets, sum(lengths))
    torch.testing.assert_close(in_buckets, expected)
    torch.testing.assert_close(in_one_call, expected)


@settings(max_examples=60)
@given(st.lists(st.integers(16, 320).map(lambda width: width // 16 * 16), max_size=40), st.sampled_from([1, 500]))
def test_buckets_have_one_width_and_stay_small(widths: list[int], tile: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "TILE_PAIRS", tile)
        buckets = equal_widths(widths)
    assert sorted(index for bucket in buckets for index in bucket) == list(range(len(widths)))
    for bucket in buckets:
        assert len({widths[index] for index in bucket}) == 1
        assert len(bucket) == 1 or len(bucket) * widths[bucket[0]] <= tile


@given(st.lists(st.lists(st.integers(0, 5000), min_size=3, max_size=3), min_size=1, max_size=5))
def test_a_sequence_is_filled_up_alone_as_among_others_and_by_little(sequences: list[list[int]]) -> None:
    """What a kernel sums over has the same length then, so that no batch mate changes the last bit."""
    together = own_widths([length for own in sequences for length in own], 3)
    assert together == [width for own in sequences for width in own_widths(own, 3)]
    for own in sequences:
        widths = own_widths(own, 3)
        assert all(length <= width for length, width in zip(own, widths, strict=True))
        # Never dearer than a call for each length, filled up a little.
        alone = [max(16 * -(-length // 16), math.ceil(length * 1.125)) for length in own]
        assert sum(widths) + CALL_PAIRS * len(set(widths)) <= sum(alone) + CALL_PAIRS * len(set(own))


@given(st.lists(st.integers(1, 120), min_size=1, max_size=6))
def test_widths_are_merged_where_that_reads_least(sixteens: list[int]) -> None:
    """Of all ways to cut the sorted widths into groups, each raised to its largest."""
    widths = sorted(16 * each for each in sixteens)
    ways = []
    for cuts in product((False, True), repeat=len(widths) - 1):
        groups = [[widths[0]]]
        for width, cut in zip(widths[1:], cuts, strict=True):
            groups = [*groups, [width]] if cut else [*groups[:-1], [*groups[-1], width]]
        ways.append(sum(len(group) * group[-1] + CALL_PAIRS for group in groups))
    found = _merged(widths)
    assert sum(found) + CALL_PAIRS * len(set(found)) == min(ways)
    assert all(own <= raised for own, raised in zip(widths, found, strict=True))


def test_equal_neighbours_are_read_where_they_lie() -> None:
    pairs, device = random_rows(20, seed=0), torch.device("cpu")
    (whole,) = bucketed([5, 5, 5, 5], [5, 5, 5, 5], range(4), 1, device)
    assert whole.mask is None
    assert whole.take(pairs).data_ptr() == pairs.data_ptr()
    (apart,) = bucketed([5, 5, 5, 5], [5, 5, 5, 5], [0, 2], 1, device)
    assert apart.mask is None
    assert torch.equal(apart.take(pairs), torch.stack([pairs[:5], pairs[10:15]]))
    (uneven,) = bucketed([5, 7], [16, 16], range(2), 1, device)
    assert uneven.mask.sum(-1).flatten().tolist() == [5, 7]


def test_a_neighbour_that_is_not_finite_changes_nothing() -> None:
    """A segment is filled up with its own last pair, so that what follows it cannot leak through a mask."""
    queries, keys, values = random_rows(2, 1, seed=0), random_rows(12, seed=1), random_rows(12, seed=2)
    attend = BucketedAttention([5, 7], [1, 1], [3, 3], torch.device("cpu"), {})
    before = attend(queries, taken(keys, values))
    keys[5:], values[5:] = torch.nan, torch.nan
    assert torch.equal(attend(queries, taken(keys, values))[0], before[0])
