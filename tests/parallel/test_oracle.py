"""A model that is split computes what torch's own way to split it does."""

import json

import torch.multiprocessing as mp
from tests.parallel.oracle import compare


def test_a_pass_equals_that_of_parallelize_module(tmp_path):
    mp.spawn(compare, args=(tmp_path / "store", tmp_path / "told.json"), nprocs=2)
    found = json.loads((tmp_path / "told.json").read_text("utf-8"))
    assert set(found) == {"llada", "dream"}
    for from_theirs, from_one in found.values():
        assert from_theirs == 0.0
        assert 0.0 < from_one < 1e-5
