"""What is alive is counted once, from the operation that makes it to the moment it is freed."""

import gc

import pytest
import torch
import torch.nn.functional as F

from maskkv.bench.memory import LiveBytes

KIB = 256
"""fp32 elements of a KiB."""


@pytest.mark.parametrize("inference", [False, True])
def test_views_share_their_storage_and_a_freed_tensor_no_longer_counts(inference: bool) -> None:
    with torch.inference_mode(inference), LiveBytes() as live:
        x = torch.zeros(2 * KIB)
        assert live.now == 2048
        view = x.view(2, -1)[0]
        assert live.now == 2048
        del x
        assert live.now == 2048, "a view keeps the whole storage"
        copy = view.clone()
        assert live.now == 3072
        del view
        assert live.now == 1024
        copy += 1
        assert live.now == 1024
    assert (live.now, live.peak) == (1024, 3072)
    del copy
    assert live.now == 0, "freed after the context"


def test_temporaries_of_an_expression_are_in_the_peak() -> None:
    x = torch.ones(KIB)
    with LiveBytes() as live:
        y = (x * 2) * 3 + x
    # x*2 with (x*2)*3, then (x*2)*3 with the sum.
    assert (live.now, live.peak) == (y.nbytes, 2 * y.nbytes)


def test_what_was_there_before_counts_only_as_baseline() -> None:
    weight = torch.ones(KIB, 4)
    with LiveBytes() as live:
        weight.t().add_(1)
        weight[2:].detach().mul_(2)
    assert (live.now, live.peak) == (0, 0)
    with LiveBytes(baseline=[weight, weight.t()]) as live:
        y = weight + 1
        del weight
        assert live.now == y.nbytes
    assert live.peak == 2 * y.nbytes


def test_parts_of_composite_operations_are_seen_in_inference_mode() -> None:
    a, b = torch.rand(100, KIB), torch.rand(100, KIB)
    with torch.inference_mode(), LiveBytes() as live:
        F.cosine_similarity(a, b, dim=-1)
    # torch writes the normalised vectors, whose size is the inputs', before it returns one number per row.
    assert live.peak >= a.nbytes


def test_results_are_those_without_the_context() -> None:
    x, w = torch.rand(7, 5), torch.rand(3, 5)

    def compute() -> torch.Tensor:
        y = F.linear(x, w).softmax(-1)
        y[y > 0.5] = 0
        read = F.scaled_dot_product_attention(y[None], y[None], y[None])[0]
        return torch.cat([read, y.sort(dim=0).values])

    with torch.inference_mode(), LiveBytes():
        inside = compute()
    assert torch.equal(inside, compute())


def test_several_outputs_resizing_and_the_peak_of_a_part() -> None:
    with LiveBytes() as live:
        values, indices = torch.rand(KIB).sort()
        assert live.now == 1024 + 2048
        del values
        live.reset_peak()
        assert live.peak == 2048
        indices.resize_(4 * KIB)
        assert live.now == live.peak == 8192


def test_alive_names_what_is_left() -> None:
    with LiveBytes() as live:
        small = torch.zeros(3, 4)
        large = torch.ones(5, 6)
        gc.collect()
    assert [(each.shape, each.nbytes) for each in live.alive()] == [((5, 6), 120), ((3, 4), 48)]
    assert live.alive()[0].operation == "aten.ones.default"
    assert sum(each.nbytes for each in live.alive()) == live.now == small.nbytes + large.nbytes
