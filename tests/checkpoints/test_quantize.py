"""Weights in 8 or 4 bits: what changes, what does not, and what is refused."""

import logging
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.cli.tiny import save_tiny, tiny_model
from tests.reference import CONFIGS, random_model, random_prompt
from torch import nn

import maskkv
from maskkv import policies
from maskkv.calibrate import calibrate
from maskkv.checkpoints import quantizing, weights
from maskkv.decoding.engine import Engine
from maskkv.errors import InputError
from maskkv.generation import Generation
from maskkv.models.transformer import Transformer
from maskkv.ops.linear import is_plain
from maskkv.plan import Shape

pytest.importorskip("torchao")


def test_layers_have_8_bit_weights_and_the_rest_its_own() -> None:
    model, exact = tiny_model(0), tiny_model(0).state_dict()
    before = weights.fingerprint(model)
    quantizing.quantize(model, None)
    assert weights.fingerprint(model) == before
    assert quantizing.quantization(model) is None
    quantizing.quantize(model, "int8")
    assert quantizing.quantization(model) == "int8"
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
    quantizing.quantize(model, "int8")
    off = (rows() - exact).abs().max()
    assert 0 < off < 0.02 * exact.abs().max()


def test_they_are_not_joined() -> None:
    """A product of joined matrices would read them as plain numbers."""
    model = tiny_model(0)
    quantizing.quantize(model, "int8")
    before = dict(model.named_parameters())
    for layer in model.layers:
        layer.join_projections()
    assert all(parameter is before[name] for name, parameter in model.named_parameters())
    assert quantizing.quantization(model) == "int8"


def test_what_others_log_is_heard_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logging is silent only while torchao is imported, also if it cannot be."""
    before = logging.root.manager.disable
    quantizing.quantize(tiny_model(0), "int8")
    assert logging.root.manager.disable == before
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(InputError):
        quantizing.quantize(tiny_model(0), "int8")
    assert logging.root.manager.disable == before


def test_a_profile_of_the_exact_weights_goes_with_them(tmp_path: Path) -> None:
    profile = calibrate(tiny_model(0), "tiny", [list(range(20, 50))])
    llm = maskkv.load(save_tiny(tmp_path), profile=profile, quantize="int8")
    assert (llm.profile, quantizing.quantization(llm.model)) == (profile, "int8")


def test_what_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="quantize 'int2': expected one of int8, int4"):
        quantizing.quantize(tiny_model(0), "int2")
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(InputError, match=r"quantize int8 needs torchao: pip install -U 'maskkv\[quantize\]'"):
        quantizing.quantize(tiny_model(0), "int8")
    monkeypatch.setitem(sys.modules, "torchao.prototype.quantization.int4", None)
    with pytest.raises(InputError, match=r"quantize int4 needs torchao \(0.18 or newer\): pip install -U"):
        quantizing.quantize(wide_model(), "int4")


def wide_model(dtype: torch.dtype = torch.bfloat16, family: str = "llada") -> Transformer:
    """Make a model whose widths are whole groups."""
    config = replace(CONFIGS[family], hidden_size=128, head_dim=32, num_heads=4, num_kv_heads=2, mlp_size=192)
    return random_model(config, seed=1).to(dtype)


def grouped(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the least number of each 64 of an output, and the step between the 16 numbers from it to the largest."""
    groups = weight.float().unflatten(1, (-1, 64))
    least, most = groups.aminmax(dim=2, keepdim=True)
    return least, (most - least) / 15


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_a_group_of_64_has_the_16_numbers_from_its_least_to_its_largest(family: str) -> None:
    model, exact = wide_model(family=family), dict(wide_model(family=family).named_parameters())
    before = weights.fingerprint(model)
    quantizing.quantize(model, "int4")
    assert quantizing.quantization(model) == "int4"
    assert weights.fingerprint(model) not in (before, weights.fingerprint(random_model(model.config, 2).bfloat16()))
    seen = 0
    for name, module in model.layers.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        weight = exact[f"layers.{name}.weight"].float()
        # What it makes of each input alone are its numbers.
        made = F.linear(torch.eye(weight.shape[1], dtype=torch.bfloat16), module.weight).T.float()
        off = (made - weight).unflatten(1, (-1, 64)).abs()
        # Half a step; and scale, offset and product are rounded.
        least, step = grouped(weight)
        assert (off <= 0.5 * step + 2**-7 * (least.abs() + 15 * step)).all()
        assert off.max() > 0.3 * step.min(), "but they are no finer"
        # Half a byte for each number, and two numbers of the model's dtype for each 64.
        size = module.weight.qdata.nbytes + module.weight.scale_and_zero.nbytes
        assert size == weight.numel() // 2 + weight.numel() // 64 * 4
        seen += 1
    assert seen == 7 * len(model.layers)
    for name, parameter in model.named_parameters():
        assert not is_plain(parameter) or torch.equal(parameter, exact[name])


def test_the_engine_runs_on_4_bits_alone_as_among_others() -> None:
    model = wide_model()
    quantizing.quantize(model, "int4")
    model.pack_weights()
    prompts = [random_prompt(model.config, length) for length in (30, 17)]

    def run(asked: list[list[int]]) -> list[list[int]]:
        engine = Engine(model)
        for prompt in asked:
            engine.add(prompt, Generation(gen_length=8, block_length=8, stop_at_eos=False), policies.named("maskkv"), 4)
        while engine.step():
            pass
        return [engine[number].response() for number in range(len(asked))]

    assert run(prompts) == [*run(prompts[:1]), *run(prompts[1:])]


def test_4_bits_want_whole_groups() -> None:
    says = "quantize int4 needs widths that are multiples of 64, and this model has 32; int8 takes any"
    with pytest.raises(InputError) as refused:
        quantizing.quantize(tiny_model(0), "int4")
    assert str(refused.value) == says


class Elsewhere(Transformer):
    """A model that says it is on another device."""

    place = torch.device("cuda")

    @property
    def device(self) -> torch.device:
        return self.place


def on(place: str, dtype: torch.dtype, family: str = "llada") -> Transformer:
    """Return a model without memory that says it is on a device."""
    model = wide_model(dtype, family).to("meta")
    model.__class__ = type("There", (Elsewhere,), {"place": torch.device(place)})
    return model


@pytest.mark.parametrize(
    ("place", "capability", "dtype", "says"),
    [
        ("cuda", (7, 5), torch.bfloat16, "a CUDA device of compute capability 8.0 or more; int8 runs on either"),
        ("mps", (0, 0), torch.bfloat16, "quantize int4 is not for mps: it needs a CPU, or a CUDA device"),
        ("cuda", (9, 0), torch.float16, "computes in bfloat16, and the model is in float16: give it dtype bfloat16"),
        ("cpu", (0, 0), torch.float32, "computes in bfloat16, and the model is in float32: give it dtype bfloat16"),
    ],
)
def test_4_bits_are_refused_where_there_are_no_products_with_them(
    place: str, capability: tuple[int, int], dtype: torch.dtype, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    with pytest.raises(InputError, match=says):
        quantizing.quantize(on(place, dtype), "int4")


@pytest.mark.parametrize("family", ["llada", "dream"])
@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_a_plan_counts_their_bytes(kind: str, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a GPU, where rows in 4 bits are filled up to multiples of 1,024; what a card computes is not seen here."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    model = on("cuda", torch.bfloat16, family)
    quantizing.quantize(model, kind)
    assert quantizing.quantization(model) == kind
    bytes_of = {"int8": ("qdata", "scale"), "int4": ("qdata", "scale_and_zero")}[kind]
    held = sum(
        weight.nbytes if is_plain(weight) else sum(getattr(weight, part).nbytes for part in bytes_of)
        for weight in model.parameters()
    )
    assert Shape(model.config, 2, quantize=kind).weight_bytes == held
