"""Parameters that published files hold joined or apart: read, and written back."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.saved_models import DREAM, TINY, write_tiny

from maskkv.checkpoints import weights
from maskkv.checkpoints.layout import Layout
from maskkv.errors import CheckpointError
from maskkv.models import families
from maskkv.models.families import dream

FUSED = "model.layers.{}.self_attn.qkv_proj.{}"
STACK = ("expert.0", "expert.1", "expert.2")


def test_each_tensor_is_read_once_and_written_back() -> None:
    names = {"q": "qkv", "k": "qkv", "v": "qkv", "plain": "plain", "experts": STACK}
    shapes = {"q": (4, 2), "k": (1, 2), "v": (2, 2), "plain": (5,), "experts": (3, 2, 6)}
    layout = Layout(names, shapes)
    published = {"qkv": (7, 2), "plain": (5,), **dict.fromkeys(STACK, (2, 6))}
    assert layout.published() == published
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in published.items()}
    asked: list[str] = []
    found = layout.read(lambda name: asked.append(name) or tensors[name])  # type: ignore[func-returns-value]
    assert sorted(asked) == sorted(published)
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == shapes
    assert torch.equal(found["k"], tensors["qkv"][4:5])
    assert torch.equal(found["experts"][2], tensors["expert.2"])
    written = layout.written(found)
    assert written.keys() == tensors.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("family", sorted(TINY))
def test_a_tied_head_is_no_parameter_of_its_own(family: str) -> None:
    config = families.read_config(TINY[family])
    layout = Layout.of(weights.empty(config))
    assert layout.optional == (("lm_head.weight",) if config.tied_head else ())
    assert ("head.weight" in layout.names) != config.tied_head


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, Path]:
    """Write Dream's tiny checkpoint as it is, and with q, k and v of a layer in one matrix and one bias."""
    plain, joined = write_tiny(tmp_path / "plain", "dream"), write_tiny(tmp_path / "joined", "dream")
    tensors: dict[str, Any] = load_file(joined / "model.safetensors")
    for layer in range(2):
        for kind in ("weight", "bias"):
            parts = [tensors.pop(f"model.layers.{layer}.self_attn.{each}_proj.{kind}") for each in "qkv"]
            tensors[FUSED.format(layer, kind)] = torch.cat(parts)
    save_file(tensors, joined / "model.safetensors")
    return plain, joined


def read_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    own = dream.weight_names

    def names(config: Any) -> dict[str, str]:
        return {
            name: FUSED.format(name.split(".")[1], name.split(".")[-1])
            if any(f".{each}_proj." in name for each in "qkv")
            else published
            for name, published in own(config).items()
        }

    monkeypatch.setattr(dream, "weight_names", names)


@pytest.mark.parametrize("max_shard_size", ["5GB", 8_000])
def test_fused_matrices_are_loaded_apart_and_saved_fused(
    fused: tuple[Path, Path], max_shard_size: int | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = weights.load(fused[0], device="cpu")
    read_fused(monkeypatch)
    model = weights.load(fused[1], device="cpu")
    state = model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in plain.state_dict().items())
    assert weights.fingerprint(model) == weights.fingerprint(plain)
    weights.save(model, tmp_path / "saved", DREAM, max_shard_size)
    written: dict[str, Any] = {}
    for file in (tmp_path / "saved").glob("*.safetensors"):
        written |= load_file(file)
    expected = load_file(fused[1] / "model.safetensors")
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in expected.items())


def test_a_fused_matrix_of_another_size_is_refused(fused: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read_fused(monkeypatch)
    file = fused[1] / "model.safetensors"
    tensors = load_file(file)
    name = FUSED.format(1, "weight")
    tensors[name] = tensors[name][:-1].clone()
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"qkv_proj.weight has shape \[63, 32\], expected \[64, 32\]"):
        weights.load(fused[1], device="cpu")
