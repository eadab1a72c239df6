"""Vectors in 4 bits: worked numbers, and how far off they are."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from maskkv.ops.nibbles import Nibbles


def test_worked_numbers() -> None:
    """The largest magnitude is 7 scales; 14, -7 and 3 at a scale of 2 are the codes 7, -4 (rounded to even) and 2."""
    stored = Nibbles.of(torch.tensor([[14.0, -7.0, 3.0, 0.0]]))
    assert stored.scales.tolist() == [[2.0]]
    assert stored.codes.tolist() == [[15 | (2 + 8) << 4, (-4 + 8) | 8 << 4]]
    assert stored.all(torch.float32).tolist() == [[14.0, -8.0, 4.0, 0.0]]
    assert stored.nbytes == 2 + 2


def test_zeros_stay_zeros() -> None:
    assert Nibbles.of(torch.zeros(3, 4)).all(torch.bfloat16).tolist() == torch.zeros(3, 4).tolist()


@given(seed=st.integers(0, 99), scale=st.sampled_from([1e-6, 1.0, 1e4]), dim=st.sampled_from([2, 8, 64]))
def test_a_number_is_off_by_half_a_scale_at_most(seed: int, scale: float, dim: int) -> None:
    torch.manual_seed(seed)
    vectors = scale * torch.randn(5, dim)
    stored = Nibbles.of(vectors)
    # The scale is rounded to bf16, which moves the outermost code by up to 7/256 of a scale.
    assert ((stored.all(torch.float32) - vectors).abs() <= 0.53 * stored.scales.float()).all()
