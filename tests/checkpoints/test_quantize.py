"""Weights in 8 bits: what changes, what does not, and what is refused."""

import logging
import sys
from pathlib import Path

import pytest
import torch
from tests.cli.tiny import save_tiny, tiny_model

import maskkv
from maskkv import policies
from maskkv.calibrate import calibrate
from maskkv.checkpoints import weights
from maskkv.decoding.engine import Engine
from maskkv.errors import InputError
from maskkv.generation import Generation

pytest.importorskip("torchao")


def test_layers_have_8_bit_weights_and_the_rest_its_own() -> None:
    model, exact = tiny_model(0), tiny_model(0).state_dict()
    before = weights.fingerprint(model)
    weights.quantize(model, None)
    assert weights.fingerprint(model) == before
    assert weights.quantization(model) is None
    weights.quantize(model, "int8")
    assert weights.quantization(model) == "int8"
    assert weights.fingerprint(model) != before, "it is another model"
    for name, weight in model.state_dict().items():
        if name.startswith("layers") and weight.ndim == 2:
            assert weight.qdata.dtype == torch.int8
            assert weight.qdata.nbytes == exact[name].numel()
            off = (weight.dequantize() - exact[name]).abs()
            assert (off <= exact[name].abs().amax(1, keepdim=True) / 254 * 1.01).all()
        else:
            assert torch.equal(weight, exact[name]), name


def test_the_engine_runs_on_them() -> None:
    model = tiny_model(0)
    tokens = torch.arange(20, 50).tolist()

    def rows() -> torch.Tensor:
        engine = Engine(model)
        number = engine.add(tokens, Generation(gen_length=8), policies.named("maskkv"), 4)
        while not engine[number].finished:
            engine.step()
        assert len(engine[number].response()) == 8
        return model.layers[0].q_proj(model.embed(torch.tensor(tokens)))

    exact = rows()
    weights.quantize(model, "int8")
    off = (rows() - exact).abs().max()
    assert 0 < off < 0.02 * exact.abs().max()


def test_they_are_not_joined() -> None:
    """A product of joined matrices would read them as plain numbers."""
    model = tiny_model(0)
    weights.quantize(model, "int8")
    before = dict(model.named_parameters())
    for layer in model.layers:
        layer.join_projections()
    assert all(parameter is before[name] for name, parameter in model.named_parameters())
    assert weights.quantization(model) == "int8"


def test_what_others_log_is_heard_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logging is silent only while torchao is imported, also if it cannot be."""
    before = logging.root.manager.disable
    weights.quantize(tiny_model(0), "int8")
    assert logging.root.manager.disable == before
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(InputError):
        weights.quantize(tiny_model(0), "int8")
    assert logging.root.manager.disable == before


def test_a_profile_of_the_exact_weights_goes_with_them(tmp_path: Path) -> None:
    profile = calibrate(tiny_model(0), "tiny", [list(range(20, 50))])
    llm = maskkv.load(save_tiny(tmp_path), profile=profile, quantize="int8")
    assert (llm.profile, weights.quantization(llm.model)) == (profile, "int8")


def test_what_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="quantize 'int4': expected int8"):
        weights.quantize(tiny_model(0), "int4")
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(InputError, match=r"quantize needs torchao: pip install 'maskkv\[quantize\]'"):
        weights.quantize(tiny_model(0), "int8")
