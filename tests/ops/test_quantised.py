from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.ops.test_segments import loop_kernel
from tests.views import selected
from torch import Tensor
from torch.nn.attention import varlen

from maskkv.checks import KV_DTYPES
from maskkv.ops.quantised import CODES, Quantised
from maskkv.ops.quantised_kv import QuantisedKV
from maskkv.ops.ragged import RaggedKV
from maskkv.ops.segments import Rows

KINDS = pytest.mark.parametrize("kind", ["int8", "fp8"])
ROUNDED = 1 + 2.0**-8
"""A scale is rounded to bf16."""

SMALLEST = 448 * torch.finfo(torch.bfloat16).tiny
"""Below it the scale would have fewer than bf16's digits, and the numbers may become anything down to zero."""


def random_heads(rows: int, heads: int, seed: int, head_dim: int = 8) -> Tensor:
    return torch.randn(rows, heads, head_dim, generator=torch.Generator().manual_seed(seed))


def pack(keys: Tensor, values: Tensor, keep: Tensor, kind: str | None = None) -> Any:
    flat, chosen = (keys.flatten(0, 1), values.flatten(0, 1)), selected(keep, len(keys))
    return RaggedKV.pack(*flat, chosen) if kind is None else QuantisedKV.pack(*flat, chosen, kind)


def restored(vectors: Quantised) -> Tensor:
    return vectors.codes.double() * vectors.scales.double()


magnitudes = st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=6, max_size=6), min_size=1, max_size=8)


@settings(max_examples=100)
@example([[0.0, 1.1754943508222875e-38, -1e-40, 3e-36, 6e-36, 0.0]])
@given(magnitudes)
def test_int8_is_off_by_half_a_scale_at_most(rows: list[list[float]]) -> None:
    vectors = torch.tensor(rows)
    off = (restored(Quantised.of(vectors, "int8")) - vectors.double()).abs()
    assert (off <= vectors.double().abs().amax(1, keepdim=True) / 254 * ROUNDED + SMALLEST).all()


@settings(max_examples=100)
@example([[0.0, 1.1754943508222875e-38, -1e-40, 3e-36, 6e-36, 0.0]])
@given(magnitudes)
def test_fp8_is_off_by_a_sixteenth_at_most(rows: list[list[float]]) -> None:
    vectors = torch.tensor(rows)
    off = (restored(Quantised.of(vectors, "fp8")) - vectors.double()).abs()
    scale = vectors.double().abs().amax(1, keepdim=True) / 448
    assert (off <= torch.maximum(vectors.double().abs() / 16, scale * 2.0**-10) * ROUNDED + SMALLEST).all()


def test_a_worked_vector() -> None:
    vectors = torch.tensor([[127.0, -63.5, 0.4, 0.6], [0.0, 0.0, 0.0, 0.0]])
    quantised = Quantised.of(vectors, "int8")
    assert quantised.scales.flatten().tolist() == [1.0, 0.0]
    assert quantised.codes.tolist() == [[127, -64, 0, 1], [0, 0, 0, 0]]
    assert Quantised.of(vectors, "fp8").codes.float()[0, 0] == 448


@KINDS
def test_each_vector_has_its_own_scale(kind: str) -> None:
    """A large neighbour must not cost a small vector its digits."""
    vectors = torch.tensor([[1000.0, -500.0], [0.001, -0.0005]])
    torch.testing.assert_close(restored(Quantised.of(vectors, kind)).float(), vectors, rtol=0.01, atol=0)


cases = st.tuples(
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 3), st.integers(0, 3)), min_size=1, max_size=4),
    st.integers(0, 50),
)


@settings(max_examples=60)
@given(cases, st.sampled_from(["int8", "fp8"]), st.integers(1, 2))
def test_like_exact_pairs_that_were_rounded_before(
    case: tuple[int, list[tuple[int, int, int]], int], kind: str, group: int
) -> None:
    """Joined sequences with heads that keep 0 pairs or more; kept pairs are rounded, what is written later is not."""
    heads, members, seed = case
    exact, quantised = [], []
    for index, (prompt, tail, _) in enumerate(members):
        keys = random_heads(prompt + tail, heads, seed + 10 * index)
        values = random_heads(prompt + tail, heads, seed + 10 * index + 1)
        keep = torch.rand(heads, prompt, generator=torch.Generator().manual_seed(seed + index)) < 0.5
        quantised.append(pack(keys, values, keep, kind))
        for each in (keys, values):
            flat = each[:prompt].reshape(-1, 8)
            each[:prompt] = restored(Quantised.of(flat, kind)).float().view(prompt, heads, 8)
        exact.append(pack(keys, values, keep))
    oracle, joined = exact[0].join(exact[1:]), quantised[0].join(quantised[1:])
    live = sum(tail for _, tail, _ in members)
    fresh = torch.tensor([row for row in range(live) if (row + seed) % 2], dtype=torch.long)
    new_keys, new_values = random_heads(len(fresh), heads, seed + 5), random_heads(live, heads, seed + 6)
    for pairs in (oracle, joined):
        pairs.write_keys(new_keys, fresh)
        pairs.write_values(new_values)
    assert torch.equal(joined.tail[1], oracle.values[oracle._tail])
    counts = [count for _, _, count in members]
    queries = random_heads(sum(counts), heads * group, seed + 7)
    torch.testing.assert_close(joined.attend(queries, Rows(counts)), oracle.attend(queries, Rows(counts)))
    # 8 codes and a scale of 2 bytes for a kept vector of 8, 4 bytes a number for the live rows.
    kept = sum(oracle.lengths) - live * heads
    assert joined.nbytes == sum(part.nbytes for part in quantised) == 2 * (kept * (8 + 2) + live * heads * 8 * 4)


@settings(max_examples=30)
@given(cases, st.sampled_from(["int8", "fp8"]), st.integers(1, 2))
def test_one_call_reads_what_buckets_read(
    case: tuple[int, list[tuple[int, int, int]], int], kind: str, group: int
) -> None:
    """As on CUDA, with a loop for the kernel; lengths may change afterwards, as many pairs in all."""
    heads, members, seed = case
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for prompt, tail, _ in members:
        keys, values = (random_heads(prompt + tail, heads, seed + offset) for offset in (1, 2))
        parts.append(pack(keys, values, torch.rand(heads, prompt, generator=generator) < 0.5, kind))
    whole = parts[0].join(parts[1:])
    counts = [count for _, _, count in members]
    if not any(counts):
        return
    queries = random_heads(sum(counts), heads * group, seed + 7)
    for lengths in (whole.lengths, [length for part in parts for length in reversed(part.lengths)]):
        whole.relay(lengths)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(varlen, "varlen_attn", loop_kernel)
            patch.setattr(QuantisedKV, "relays_in_place", True)
            whole.prepare(Rows(counts), heads * group)
            in_one_call = whole.attend(queries, Rows(counts))
        torch.testing.assert_close(in_one_call, whole.attend(queries, Rows(counts)))


@KINDS
def test_joining_moves_and_leaving_copies(kind: str) -> None:
    keep = torch.ones(2, 4, dtype=torch.bool)
    parts = [pack(random_heads(6, 2, seed), random_heads(6, 2, seed + 1), keep, kind) for seed in (0, 2)]
    queries = random_heads(2, 2, 9)
    alone = [part.attend(queries, Rows([2])) for part in parts]
    whole = parts[0].join(parts[1:])
    torch.testing.assert_close(whole.attend(torch.cat((queries, queries)), Rows([2, 2])), torch.cat(alone))
    parts[1].leave()
    for tensor in (parts[1].keys.codes, parts[1].values.scales, parts[1].tail):
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
    whole.tail.zero_()
    torch.testing.assert_close(parts[1].attend(queries, Rows([2])), alone[1])
    assert not parts[0].tail.any()


def test_all_keys_may_be_written_at_once() -> None:
    pairs = pack(random_heads(5, 2, 0), random_heads(5, 2, 1), torch.ones(2, 2, dtype=torch.bool), "int8")
    new = random_heads(3, 2, 2)
    pairs.write_keys(new, None)
    assert torch.equal(pairs.tail[0], new)


def test_there_are_codes_for_every_dtype_that_may_be_asked_for() -> None:
    assert ("auto", *CODES) == KV_DTYPES
