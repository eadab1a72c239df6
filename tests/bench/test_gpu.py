"""The GPU script runs at toy size on the CPU, and its check of the kernel notices a wrong one."""

import json

import pytest
import torch

from maskkv.bench import gpu
from maskkv.ops import segments
from tests.ops.test_segments import loop_kernel


def test_every_part_is_measured_at_toy_size(capsys, tmp_path):
    file = tmp_path / "gpu.jsonl"
    toy = ["--shape", "tiny", "--device", "cpu", "--dtype", "float32", "--unit", "2", "--sequences", "3"]
    assert gpu.main([*toy, "--gen-length", "8", "--json-out", str(file)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads(file.read_text())
    runs = record["parts"]
    assert {name: [(run["prompt_length"], run["batch_size"]) for run in found] for name, found in runs.items()} == {
        "side by side": [(2 * multiple, 1) for multiple in (1, 2, 4, 8, 16, 32)],
        "beyond": [(128, 1), (256, 1)],
        "doubt": [(64, 1)],
        "drift": [(64, 1)],
        "together": [(16, 1), (16, 3)],
    }
    assert [case["policy"] for case in runs["side by side"][0]["cases"]] == ["none", "full", "maskkv"]


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "there is no CUDA device here" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [False, True])
def test_the_check_of_the_kernel_notices_a_wrong_one(monkeypatch, wrong):
    monkeypatch.setattr(segments, "varlen_attn", lambda *given: loop_kernel(*given) * (1.01 if wrong else 1))
    error = gpu.kernel_error(torch.device("cpu"), torch.float32, 0)
    assert (error > 1e-3) == wrong
