import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskkv.ops.rope import Rotation, ntk_scale, rotate, rotation


@pytest.mark.parametrize("head_dim", [2, 8, 128])
def test_rotation_turns_complex_numbers(head_dim: int) -> None:
    """Element j of the first half and element j of the second are the two parts of one complex number."""
    half, theta = head_dim // 2, 500.0
    positions = torch.tensor([0, 3, 1, 40, 7])
    heads = torch.randn(5, 3, head_dim, generator=torch.Generator().manual_seed(0))
    turned = rotate(heads, rotation(positions, head_dim, theta, torch.float32))
    frequencies = theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = positions.double()[:, None, None] * frequencies
    expected = torch.complex(heads[..., :half], heads[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    torch.testing.assert_close(turned[..., :half].double(), expected.real, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(turned[..., half:].double(), expected.imag, atol=1e-5, rtol=1e-5)


def test_worked_example() -> None:
    """Position 2, two frequencies (1 and 1/10): angles 2 and 0.2."""
    turned = rotate(torch.tensor([[[1.0, 0.0, 0.0, 1.0]]]), rotation(torch.tensor([2]), 4, 100.0, torch.float32))
    expected = torch.tensor([[[math.cos(2), -math.sin(0.2), math.sin(2), math.cos(0.2)]]])
    torch.testing.assert_close(turned, expected)


@given(st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 3000))
def test_products_depend_on_distance_only(a: int, b: int, shift: int) -> None:
    q, k = torch.randn(2, 1, 1, 16, generator=torch.Generator().manual_seed(1))

    def product(i: int, j: int) -> float:
        turn = [rotation(torch.tensor([p]), 16, 1e4, torch.float32) for p in (i, j)]
        return float((rotate(q, turn[0]) * rotate(k, turn[1])).sum())

    assert product(a, b) == pytest.approx(product(a + shift, b + shift), abs=5e-3)


def test_taking_rows() -> None:
    whole, three = rotation(torch.arange(10), 8, 100.0, torch.float32), torch.tensor([7, 0, 3])
    heads = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0))
    taken_rows = ((whole[2:5], [2, 3, 4]), (whole[three], [7, 0, 3]), (whole[torch.arange(3, 9)][1:4], [4, 5, 6]))
    for taken, rows in taken_rows:
        own = rotation(torch.tensor(rows), 8, 100.0, torch.float32)
        assert torch.equal(rotate(heads, taken), rotate(heads, own))


def test_joining() -> None:
    parts = [rotation(torch.arange(start, stop), 8, 100.0, torch.float32) for start, stop in ((0, 3), (7, 9))]
    heads = torch.randn(5, 2, 8, generator=torch.Generator().manual_seed(0))
    apart = torch.cat([rotate(heads[:3], parts[0]), rotate(heads[3:], parts[1])])
    assert torch.equal(rotate(heads, Rotation.join(parts)), apart)


def test_the_two_dtype_rules_differ_and_keep_the_heads_dtype() -> None:
    """LLaDA rotates bf16 heads in fp32 and rounds once; Dream rounds cosines, sines and every product."""
    heads = torch.randn(64, 2, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    positions = torch.arange(1000, 1064)
    llada = rotate(heads, rotation(positions, 16, 1e4, torch.float32))
    dream = rotate(heads, rotation(positions, 16, 1e4, torch.bfloat16))
    assert llada.dtype == dream.dtype == torch.bfloat16
    exact = rotation(positions, 16, 1e4, torch.float32)
    # Angles are fp32 in both: computed in bf16, position 1063 would round to 1064.
    assert torch.equal(rotation(positions, 16, 1e4, torch.bfloat16).cos, exact.cos.bfloat16())
    assert torch.equal(llada, rotate(heads.float(), exact).bfloat16())
    first, second = heads.chunk(2, -1)
    cos, sin = exact.cos.bfloat16()[:, None], exact.sin.bfloat16()[:, None]
    by_hand = torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
    assert torch.equal(dream, by_hand)
    assert not torch.equal(llada, dream)


@pytest.mark.parametrize(
    ("theta", "trained", "length", "scale"),
    [
        (5e5, 4096, 8192, 4),
        (5e5, 4096, 16384, 14),
        (5e5, 4096, 24576, 31),
        (5e5, 4096, 32768, 55),
        (1e6, 2048, 4096, 5),
    ],
)
def test_ntk_scale_is_that_of_the_published_table(theta: float, trained: int, length: int, scale: float) -> None:
    assert ntk_scale(128, theta, trained, length) == scale


def test_ntk_scale_leaves_trained_lengths_alone() -> None:
    assert ntk_scale(128, 5e5, 4096, 4096) == 1.0
    assert ntk_scale(128, 5e5, 4096, 1) == 1.0


@given(st.integers(1, 40000), st.integers(1, 40000))
def test_ntk_scale_grows_with_the_length(a: int, b: int) -> None:
    short, long = sorted((a, b))
    assert 1 <= ntk_scale(128, 1e6, 2048, short) <= ntk_scale(128, 1e6, 2048, long)
