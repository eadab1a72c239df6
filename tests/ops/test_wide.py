"""Apple's GPUs have no float64. There is none here: names stand for devices."""

from unittest.mock import Mock

import pytest
import torch

from maskkv.checkpoints import weights
from maskkv.errors import InputError
from maskkv.ops.wide import wide, widest


def test_numbers_are_as_wide_as_the_device_has_them() -> None:
    assert widest(torch.device("cpu")) == widest(torch.device("cuda", 1)) == torch.float64
    assert widest(torch.device("mps")) == torch.float32
    assert wide(torch.ones(2)).dtype == torch.float64


def test_a_mac_s_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^device mps is not there: this is no Mac"):
        weights.device_of("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", Mock(return_value=True))
    assert weights.device_of("mps") == torch.device("mps")
