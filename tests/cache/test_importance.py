"""Importance is one minus the mean cosine of the residual streams before and after attention (Eq. 8)."""

import pytest
import torch

from maskkv.cache import ImportanceProbe
from maskkv.cache.importance import _ROWS

CPU = torch.device("cpu")


def random_rows(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed))


def test_every_row_of_every_span_counts_the_same() -> None:
    """Spans may be longer than the rows that are compared at a time; layers are told apart."""
    probe = ImportanceProbe(3, CPU)
    before, after = random_rows(_ROWS + 40, 1), random_rows(_ROWS + 40, 2)
    after[-40:] = -before[-40:]
    probe.compare(0, before[:30], after[:30])
    probe.compare(0, before[30:], after[30:])
    probe.compare(1, before[-40:], after[-40:])
    cosines = torch.cosine_similarity(before.double(), after.double(), dim=1)
    assert probe.importance == pytest.approx([1 - float(cosines.mean()), 2.0], abs=1e-6)


def test_a_narrow_stream_is_compared_in_fp32() -> None:
    probe = ImportanceProbe(1, CPU)
    before, after = random_rows(50, 1).bfloat16(), random_rows(50, 2).bfloat16()
    probe.compare(0, before, after)
    cosines = torch.cosine_similarity(before.double(), after.double(), dim=1)
    assert probe.importance == pytest.approx([1 - float(cosines.mean())], abs=1e-6)


def test_a_layer_that_changes_nothing_has_no_importance_rather_than_less_than_none() -> None:
    """Rounding makes some cosines larger than 1; budgets are split by importance, so none may be negative."""
    probe = ImportanceProbe(200, CPU)
    rounded = []
    for layer in range(200):
        same = random_rows(1, layer)
        probe.compare(layer, same, same)
        rounded.append(float(torch.cosine_similarity(same, same)))
    assert max(rounded) > 1, "the case occurs"
    assert min(probe.importance) == 0
    assert max(probe.importance) < 1e-6
