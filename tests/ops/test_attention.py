import pytest
import torch
from torch import Tensor

from maskkv.ops import attention as module
from maskkv.ops.attention import attention, attention_mass, attention_peak, fold_groups, unfold_groups

SHAPES = pytest.mark.parametrize(
    ("rows", "pairs", "heads", "kv_heads"), [(1, 1, 1, 1), (5, 9, 4, 4), (7, 23, 6, 2), (3, 17, 8, 1)]
)


def random_heads(rows: int, heads: int, seed: int) -> Tensor:
    return 2 * torch.randn(rows, heads, 8, generator=torch.Generator().manual_seed(seed))


def explicit(queries: Tensor, keys: Tensor) -> Tensor:
    """Return the softmax matrix of every query head: [heads, rows, pairs]."""
    group = queries.shape[1] // keys.shape[1]
    matrices = []
    for head in range(queries.shape[1]):
        scores = queries[:, head].double() @ keys[:, head // group].double().T / 8**0.5
        matrices.append(scores.exp() / scores.exp().sum(1, keepdim=True))
    return torch.stack(matrices)


@SHAPES
def test_attention_is_softmax_times_values(rows: int, pairs: int, heads: int, kv_heads: int) -> None:
    queries, keys = random_heads(rows, heads, 0), random_heads(pairs, kv_heads, 1)
    values = random_heads(pairs, kv_heads, 2)
    matrices, group = explicit(queries, keys), heads // kv_heads
    expected = torch.stack([matrices[h] @ values[:, h // group].double() for h in range(heads)], dim=1)
    torch.testing.assert_close(attention(queries, keys, values).double(), expected, atol=1e-5, rtol=1e-5)


@SHAPES
@pytest.mark.parametrize("tile_elements", [1, 30, 100, 1 << 24])
def test_attention_mass_is_the_matrix_summed(
    rows: int, pairs: int, heads: int, kv_heads: int, tile_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TILE_ELEMENTS", tile_elements)
    queries, keys = random_heads(rows, heads, 0), random_heads(pairs, kv_heads, 1)
    by_query_head = explicit(queries, keys).sum(1)
    expected = by_query_head.view(kv_heads, heads // kv_heads, pairs).sum(1)
    mass = attention_mass(queries, keys)
    torch.testing.assert_close(mass.double(), expected, atol=1e-5, rtol=1e-5)
    assert mass.sum(1).tolist() == pytest.approx([rows * heads // kv_heads] * kv_heads, rel=1e-5)


@SHAPES
@pytest.mark.parametrize("tile_elements", [1, 30, 1 << 24])
def test_weighted_mass_and_peak_are_the_matrixs(
    rows: int, pairs: int, heads: int, kv_heads: int, tile_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TILE_ELEMENTS", tile_elements)
    queries, keys = random_heads(rows, heads, 0), random_heads(pairs, kv_heads, 1)
    weights = torch.arange(1.0, rows + 1)
    matrices = explicit(queries, keys).view(kv_heads, heads // kv_heads, rows, pairs)
    weighted = (matrices * weights[:, None]).sum((1, 2))
    torch.testing.assert_close(attention_mass(queries, keys, weights).double(), weighted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(attention_peak(queries, keys).double(), matrices.amax((1, 2)), atol=1e-5, rtol=1e-5)


def test_attention_mass_survives_huge_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of ±10,000 overflow a plain exponential; all mass goes to the one best key."""
    monkeypatch.setattr(module, "TILE_ELEMENTS", 2)
    queries = torch.full((2, 1, 4), 100.0)
    keys = torch.tensor([-100.0, 100.0, 0.0])[:, None, None].expand(3, 1, 4)
    assert attention_mass(queries, keys).tolist() == [[0.0, 2.0, 0.0]]


def test_attention_mass_is_summed_in_fp32() -> None:
    """512 votes of about 1 in bf16 would stall at 256."""
    queries, keys = torch.zeros(512, 1, 4).bfloat16(), torch.zeros(1, 1, 4).bfloat16()
    mass = attention_mass(queries, keys)
    assert mass.dtype == torch.float32
    assert mass.item() == 512


@pytest.mark.parametrize("rows", [0, 1, 5])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (3, 1)])
def test_folding_and_back(rows: int, heads: int, kv_heads: int) -> None:
    queries = random_heads(rows, heads, 0)
    folded = fold_groups(queries, kv_heads)
    assert folded.shape == (kv_heads, rows * heads // kv_heads, 8)
    assert torch.equal(unfold_groups(folded, heads), queries)


def test_query_heads_that_share_a_kv_head_are_neighbours() -> None:
    """Heads 0–2 read KV head 0, heads 3–5 KV head 1 (published GQA order)."""
    queries = torch.arange(6.0).view(1, 6, 1).expand(2, 6, 1)
    assert fold_groups(queries, 2)[:, :, 0].tolist() == [[0, 0, 1, 1, 2, 2], [3, 3, 4, 4, 5, 5]]


def test_folding_several_sequences_is_folding_each() -> None:
    queries = random_heads(6, 4, 0)
    folded = fold_groups(queries, 2, 3)
    assert torch.equal(folded, torch.cat([fold_groups(own, 2) for own in queries.split(2)]))
    assert torch.equal(unfold_groups(folded, 4, 3), queries)
