"""Packed weights against torch's own product, and against themselves with other rows beside."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cli.tiny import tiny_model
from torch import Tensor, nn

from maskkv import api, memory
from maskkv.bench.flops import count_flops
from maskkv.checkpoints import folders, quantizing, weights
from maskkv.models.transformer import Transformer
from maskkv.ops.linear import PackedLinear, can_pack, multiplies

DTYPES = [torch.float32, torch.bfloat16]
pytestmark = pytest.mark.skipif(not can_pack(torch.ones(1, 1)), reason="no oneDNN for this CPU")
CPU = torch.device("cpu")


def random_linear(inputs: int, outputs: int, bias: bool, dtype: torch.dtype, seed: int) -> nn.Linear:
    generator = torch.Generator().manual_seed(seed)
    linear = nn.Linear(inputs, outputs, bias=bias, dtype=dtype).requires_grad_(False)
    for weight in linear.parameters():
        weight.copy_(torch.randn(weight.shape, generator=generator))
    return linear


def packed(model: Transformer) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, PackedLinear)]


@settings(max_examples=60)
@given(
    st.integers(0, 40),
    st.integers(1, 70),
    st.integers(1, 70),
    st.booleans(),
    st.sampled_from(DTYPES),
    st.integers(0, 9),
)
def test_like_torchs_own_product(
    rows: int, inputs: int, outputs: int, bias: bool, dtype: torch.dtype, seed: int
) -> None:
    if not can_pack(torch.ones(1, 1, dtype=dtype)):
        pytest.skip(f"no oneDNN product in {dtype} for this CPU")
    linear = random_linear(inputs, outputs, bias, dtype, seed)
    x = torch.randn(inputs, rows, generator=torch.Generator().manual_seed(seed)).to(dtype).T
    wide = linear.weight.double() @ x.double().T
    exact = wide.T if linear.bias is None else wide.T + linear.bias.double()
    with torch.inference_mode():
        product = PackedLinear.of(linear)(x)
    assert product.dtype == dtype
    rounding = torch.finfo(dtype).eps
    torch.testing.assert_close(product.double(), exact, rtol=rounding, atol=100 * torch.finfo(torch.float32).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_does_not_depend_on_those_beside_it(dtype: torch.dtype) -> None:
    if not can_pack(torch.ones(1, 1, dtype=dtype)):
        pytest.skip(f"no oneDNN product in {dtype} for this CPU")
    linear = PackedLinear.of(random_linear(96, 160, False, dtype, 0))
    x = torch.randn(300, 96, generator=torch.Generator().manual_seed(1)).to(dtype)
    together = linear(x)
    for rows in (1, 2, 3, 7, 16, 17, 64, 100):
        assert torch.equal(linear(x[:rows]), together[:rows]), rows
        assert torch.equal(linear(x[-rows:]), together[-rows:]), rows


def test_a_packed_model_is_the_same_model() -> None:
    model, plain = tiny_model(0), tiny_model(0)
    tokens = torch.arange(20, 50)

    def logits(of: Transformer) -> Tensor:
        return of.head(of.layers[0].q_proj(of.embed(tokens)))

    model.pack_weights()
    assert len(packed(model)) == 7 * len(model.layers) + 1
    assert weights.fingerprint(model) == weights.fingerprint(plain)
    assert list(model.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(logits(model), logits(plain))
    assert count_flops(lambda: logits(model)) == count_flops(lambda: logits(plain)) > 0


def test_weights_in_8_bits_stay_as_they_are() -> None:
    pytest.importorskip("torchao")
    model = tiny_model(0)
    quantizing.quantize(model, "int8")
    model.pack_weights()
    assert packed(model) == ["head"]


def test_no_copy_is_made_where_half_of_the_memory_would_not_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(0)
    size = sum(module.weight.nbytes for module in model.modules() if isinstance(module, nn.Linear))
    monkeypatch.setattr(memory, "available", lambda device: 2 * size - 1)
    model.pack_weights()
    assert not packed(model)
    monkeypatch.setattr(memory, "available", lambda device: 2 * size)
    model.pack_weights()
    assert packed(model)


def test_what_is_loaded_to_answer_is_packed() -> None:
    llm = api.load(dtype="float32")
    assert len(packed(llm.model)) == 7 * len(llm.model.layers) + 1
    assert not packed(weights.load(folders.resolve(api.mini.folder())))


@pytest.mark.parametrize(
    ("capability", "onednn", "avx512", "avx512_bf16", "known"),
    [
        ("AVX512", True, True, True, True),
        ("AVX512", True, True, False, False),  # oneDNN multiplies bf16 then, by way of fp32
        ("AVX512", False, True, True, False),
        ("AVX2", True, False, False, True),
        ("AVX2", False, False, False, False),
        ("DEFAULT", True, False, False, None),
        ("SVE256", True, False, False, None),
    ],
)
def test_bf16_is_native_where_the_cpu_has_instructions_for_it(
    capability: str, onednn: bool, avx512: bool, avx512_bf16: bool, known: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    assert multiplies(CPU, torch.bfloat16) is known
    assert can_pack(torch.ones(1, 1, dtype=torch.bfloat16)) is bool(known)
    assert multiplies(CPU, torch.float32)


@pytest.mark.parametrize("supported", [True, False])
def test_fp16_is_native_where_onednn_says_so(supported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_fp16_supported", lambda: supported)
    assert multiplies(CPU, torch.float16) is can_pack(torch.ones(1, 1, dtype=torch.float16)) is supported


def test_nothing_is_known_without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert multiplies(CPU, torch.bfloat16) is multiplies(CPU, torch.float16) is None
    assert not can_pack(torch.ones(1, 1))


def test_cards_multiply_bf16_from_compute_capability_8_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, native in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, known=capability: known)
        assert multiplies(torch.device("cuda"), torch.bfloat16) is native
        assert multiplies(torch.device("cuda"), torch.float16)


def test_others_are_not_packed() -> None:
    assert not can_pack(torch.ones(2, 2, dtype=torch.float64))
    assert not can_pack(torch.ones(2, 2, device="meta"))
