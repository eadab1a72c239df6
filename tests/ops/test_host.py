import torch

from maskkv.ops import host


class Elsewhere(torch.Tensor):
    """Be on no host, so that something has to be copied."""

    is_cpu = False


def test_each_tensor_arrives_exactly_and_in_its_place() -> None:
    """Of every dtype, with the largest whole numbers that are promised and numbers that fp32 does not have."""
    sent = [
        torch.tensor([2**53, -(2**53), 7]),
        torch.tensor([0.1, float("inf"), -0.0], dtype=torch.float32),
        torch.tensor([0.1, 1 + 2**-50], dtype=torch.float64),
        torch.tensor(3.5),
        torch.tensor([], dtype=torch.int64),
        torch.tensor([[1.5, 2.5]], dtype=torch.bfloat16),
        torch.tensor([9]),
    ]
    arrived = host.on_host([each.as_subclass(Elsewhere) for each in sent])
    for found, expected in zip(arrived, sent, strict=True):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert found.tolist() == expected.tolist()


def test_nothing_is_copied_that_is_here() -> None:
    tensors = [torch.ones(2), torch.ones(3)]
    assert all(a is b for a, b in zip(host.on_host(tensors), tensors, strict=True))
