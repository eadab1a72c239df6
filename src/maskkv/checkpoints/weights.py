"""Weights in model folders: read them into a `Transformer`, write them, tell them apart.

A checkpoint is a folder, or a hub id, with `config.json` and safetensors in its family's published layout.
Nothing else is opened: no remote code, no pickles.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
import torch

from maskkv.checkpoints import configs, folders, precision, quantizing, shards
from maskkv.checkpoints.layout import Layout
from maskkv.errors import InputError
from maskkv.models import families
from maskkv.models.config import Experts, Groups, ModelConfig
from maskkv.models.fields import Raw
from maskkv.models.part import Part
from maskkv.models.transformer import Transformer

DTYPES = {
    "float32": torch.float32, "fp32": torch.float32,
    "bfloat16": torch.bfloat16, "bf16": torch.bfloat16,
    "float16": torch.float16, "fp16": torch.float16,
}  # fmt: skip
_SAMPLES = 256
_HASHED_AS = {"logit_shift": "lookback"}
"""Names of a config's fields in fingerprints: those of the first profiles, which must go on telling their models."""

_SMALL = 2.0**-12


def config_of(source: str | Path) -> ModelConfig:
    """Read the config of a folder or a hub id; of the latter no weights are fetched.

    Raises:
        CheckpointError: there is none, or it is not one of a supported family.
    """
    folder = folders.resolve(source, only="config.json")
    if configs.needs_tokenizer(folder):
        folder = folders.resolve(source, only="tokenizer.json")
    return configs.read(folder)


def load(
    source: str | Path,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    part: Part = Part(),  # noqa: B008 (a frozen dataclass)
) -> Transformer:
    """Load a checkpoint for inference: eval mode, no gradients.

    Each tensor is memory-mapped and goes straight to its device and dtype, so there is never a second copy of
    the whole. `device="auto"` is CUDA where there is one; `dtype="auto"` is what the file holds, but float32 on a CPU
    that would emulate the file's bf16 or fp16, if the weights take at most three quarters of its free memory so. Only
    a `part` is held of a model that is split.

    Raises:
        CheckpointError: the folder's files are not a checkpoint of a supported family, whole and finite.
        InputError: no such device or dtype, or no such part.
    """
    place, kind = device_of(device), _dtype(dtype)
    folder = folders.resolve(source)
    config = configs.read(folder)
    model = empty(part.config(config))
    layout = Layout.of(empty(config))
    with _opened(folder, layout, place) as holders:
        stored = kind or precision.auto(config, _stored(layout, holders), place)

        def read(name: str) -> torch.Tensor:
            return shards.read(name, holders, layout.dtype_of(name, stored))

        weights = layout.read(read, model.state_dict().keys(), part.take)
    if config.tied_head:
        weights["head.weight"] = weights["embed.weight"]
    model.load_state_dict(weights, assign=True)
    return model.requires_grad_(False).eval()


def dtype_of(source: str | Path, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto") -> torch.dtype:
    """Return the dtype that `load` would compute in now; no weight is read, nor fetched: then bf16 files are assumed.

    Raises:
        CheckpointError: as `load` does, but for values that are not finite.
        InputError: no such device or dtype.
    """
    place, kind = device_of(device), _dtype(dtype)
    if kind is not None:
        return kind
    config = config_of(source)
    folder = folders.at_hand(source)
    if folder is None:
        return precision.auto(config, torch.bfloat16, place)
    layout = Layout.of(empty(config))
    with _opened(folder, layout, torch.device("cpu")) as holders:
        return precision.auto(config, _stored(layout, holders), place)


def empty(config: ModelConfig) -> Transformer:
    """Make a model without memory, for weights to be put in."""
    with torch.device("meta"):
        return Transformer(config)


@contextmanager
def _opened(folder: Path, layout: Layout, device: torch.device) -> Iterator[shards.Holders]:
    """Open a folder's weights, and refuse those that are not the layout's, whole."""
    with shards.open_tensors(folder, device) as holders:
        shards.check(folder, layout.published(), shards.headers(holders), layout.optional)
        yield holders


def _stored(layout: Layout, holders: shards.Holders) -> torch.dtype:
    """Return the dtype that a file holds its embedding in, and so counts as the file's."""
    return shards.dtype(layout.holding("embed.weight")[0], holders)


def device_of(device: str | torch.device) -> torch.device:
    """Return the device of that name; `auto` is CUDA where there is one. Nothing was ever run on `mps`, Apple's GPUs.

    Raises:
        InputError: it is not there, or maskkv knows none of its kind.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError):
        place = None
    if place is None or place.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"device {str(device)!r} is unknown; supported: auto, cpu, cuda, cuda:N, mps")
    if place.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"device {device} is not there: this is no Mac with a GPU that PyTorch can use; try cpu")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise InputError(f"device {device} is not there: {found} CUDA devices found; try cpu")
    return place


def _dtype(dtype: str | torch.dtype) -> torch.dtype | None:
    kind = DTYPES.get(str(dtype).removeprefix("torch."))
    if kind is None and dtype != "auto":
        raise InputError(f"dtype {dtype} is unknown; supported: auto, {', '.join(DTYPES)}")
    return kind


def save(model: Transformer, folder: Path, raw: Raw, max_shard_size: int | str = "5GB") -> None:
    """Write a model in its family's published layout, replacing the weights that the folder holds.

    `raw` becomes `config.json` and must describe the model; `max_shard_size` is in bytes or like `"5GB"`.
    """
    if families.read_config(raw) != model.config:
        raise InputError("the config.json to save does not describe the model")
    weights = Layout.of(model).written(model.state_dict())
    folder.mkdir(parents=True, exist_ok=True)
    # Written aside and then moved: the model may be a memory map of the very files that are replaced.
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        huggingface_hub.save_torch_state_dict(weights, aside, max_shard_size=max_shard_size)
        (Path(aside) / "config.json").write_text(json.dumps(dict(raw), indent=2) + "\n", encoding="utf-8")
        for old in (*folder.glob("model*.safetensors"), folder / shards.INDEX):
            old.unlink(missing_ok=True)
        for new in Path(aside).iterdir():
            new.replace(folder / new.name)


def fingerprint(model: Transformer) -> str:
    """Return 16 hex digits that tell a model from any other of its shape.

    A hash of the config and of evenly spaced samples of every tensor. It does not depend on device or sharding,
    nor on whether a bf16 file was loaded as bf16, fp16 or fp32. With its weights in 8 or 4 bits it is
    another model, and with 4 bits another one on CUDA than on a CPU.
    """
    digest = hashlib.sha256(json.dumps(_hashed(model.config), sort_keys=True).encode())
    samples = []
    # Names are those of the first profiles, whose layers held the matrices of the MLP themselves.
    tensors = {name.replace(".mlp.", "."): tensor for name, tensor in model.state_dict().items()}
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {list(tensor.shape)}\n".encode())
        for part in quantizing.numbers(tensor):
            flat = part.reshape(-1)
            samples.append(flat[:: max(1, len(flat) // _SAMPLES)][:_SAMPLES].bfloat16().float())
    sampled = torch.cat(samples).cpu()
    # fp16 holds tiny bf16 numbers inexactly: those count as zero.
    sampled[sampled.abs() < _SMALL] = 0.0
    digest.update(sampled.numpy().tobytes())
    return digest.hexdigest()[:16]


def _hashed(config: ModelConfig | Experts | Groups) -> dict[str, object]:
    """Return a config for a fingerprint: a field that came later is left out at its default, so that none changes."""
    given = {field: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {
        _HASHED_AS.get(field.name, field.name): _hashed(value) if isinstance(value, Experts | Groups) else value
        for field, value in given.items()
        if value != field.default
    }
