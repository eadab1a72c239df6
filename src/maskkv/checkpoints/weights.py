"""Model folders: find them, read their weights into a `Transformer`, write them, tell them apart.

A checkpoint is a folder, or a hub id, with `config.json` and safetensors in its family's published layout.
Nothing else is opened: no remote code, no pickles.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
import torch
from torch import Tensor

from maskkv.checkpoints import precision, shards
from maskkv.checks import quoted
from maskkv.errors import CheckpointError, InputError
from maskkv.models import families
from maskkv.models.config import ModelConfig
from maskkv.models.fields import Raw, read_json
from maskkv.models.transformer import Transformer
from maskkv.printable import brief

FILES = ("*.safetensors", "*.json", "merges.txt", "chat_template.jinja")
"""All that is ever fetched from the hub."""

DTYPES = {
    "float32": torch.float32, "fp32": torch.float32,
    "bfloat16": torch.bfloat16, "bf16": torch.bfloat16,
    "float16": torch.float16, "fp16": torch.float16,
}  # fmt: skip
_SAMPLES = 256
_HASHED_AS = {"logit_shift": "lookback"}
"""Names of a config's fields in fingerprints: those of the first profiles, which must go on telling their models."""

_SMALL = 2.0**-12


def resolve(source: str | Path) -> Path:
    """Return a checkpoint's folder: a local one, the hub cache's, or one fetched now.

    Raises:
        CheckpointError: it is neither a folder nor a hub id that can be had.
    """
    if not str(source):
        raise CheckpointError("the model has an empty name; give the folder that holds it, or a hub id (owner/name)")
    folder = _local(source)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise CheckpointError(f"{source} is a file; give the folder that holds it")
    return _from_hub(str(source))


def _local(source: str | Path) -> Path:
    """Return the path of that name, `~` spelled out, that can be asked for what is there."""
    if not isinstance(source, str | Path):
        raise InputError(f"model {quoted(source)}: expected a folder or a hub id (owner/name)")
    try:
        path = Path(source).expanduser()
        path.exists()
        str(path).encode()
    except UnicodeEncodeError:
        raise CheckpointError(f"the name {source} is not UTF-8, as those who read weights need it: rename it") from None
    except RuntimeError:
        raise CheckpointError(f"there is no home folder for {source}; give the folder's whole name") from None
    except OSError:  # No file can have such a name.
        raise CheckpointError(f"{brief(source)} is not a folder, nor a hub id (owner/name)") from None
    return path


def _from_hub(repo: str, config_only: bool = False) -> Path:
    # Its errors bring an HTTP client along, which a local folder does without.
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    def fetch(local_files_only: bool) -> Path:
        if config_only:
            return Path(huggingface_hub.hf_hub_download(repo, "config.json", local_files_only=local_files_only)).parent
        return _snapshot(repo, local_files_only)

    try:
        try:
            # A complete snapshot in the cache is used as it is: the hub is not asked for a newer one.
            return fetch(local_files_only=True)
        except LocalEntryNotFoundError:
            return fetch(local_files_only=False)
    except HFValidationError:
        raise CheckpointError(f"{brief(repo)} is not a folder, nor a hub id (owner/name)") from None
    except (OSError, HfHubHTTPError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{repo} is not a folder and could not be fetched from the hub: {reason}") from None


def _snapshot(repo: str, local_files_only: bool) -> Path:
    allowed = list(FILES)
    return Path(huggingface_hub.snapshot_download(repo, allow_patterns=allowed, local_files_only=local_files_only))


def read_config(folder: Path) -> ModelConfig:
    """Read a folder's `config.json`, of whichever family it is."""
    raw = read_json(folder / "config.json")
    if raw is None:
        raise CheckpointError(f"{folder} has no config.json; a checkpoint needs one beside its safetensors")
    try:
        return families.read_config(raw)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from None


def config_of(source: str | Path) -> ModelConfig:
    """Read the config of a folder or a hub id; of the latter nothing else is fetched.

    Raises:
        CheckpointError: there is none, or it is not one of a supported family.
    """
    if not str(source) or _local(source).exists():
        return read_config(resolve(source))
    return read_config(_from_hub(str(source), config_only=True))


def load(source: str | Path, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto") -> Transformer:
    """Load a checkpoint for inference: eval mode, no gradients.

    Each tensor is memory-mapped and goes straight to its device and dtype, so there is never a second copy of
    the whole. `device="auto"` is CUDA where there is one; `dtype="auto"` is what the file holds, but float32 on a CPU
    that would emulate the file's bf16 or fp16, if the weights take at most three quarters of its free memory so.

    Raises:
        CheckpointError: the folder's files are not a checkpoint of a supported family, whole and finite.
        InputError: no such device or dtype.
    """
    place, kind = device_of(device), _dtype(dtype)
    folder = resolve(source)
    config = read_config(folder)
    model, names = _empty(config), families.weight_names(config)
    tied = {"head.weight"} if config.tied_head else set()
    with _opened(folder, model, place) as holders:
        kind = kind or precision.auto(config, shards.dtype(names["embed.weight"], holders), place)
        weights = {ours: shards.read(name, holders, kind) for ours, name in names.items() if ours not in tied}
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
    folder = _local(source)
    if not folder.is_dir():
        try:
            folder = _snapshot(str(source), local_files_only=True)
        except FileNotFoundError:
            return precision.auto(config, torch.bfloat16, place)
    with _opened(folder, _empty(config), torch.device("cpu")) as holders:
        stored = shards.dtype(families.weight_names(config)["embed.weight"], holders)
    return precision.auto(config, stored, place)


def _empty(config: ModelConfig) -> Transformer:
    with torch.device("meta"):
        return Transformer(config)


@contextmanager
def _opened(folder: Path, model: Transformer, device: torch.device) -> Iterator[shards.Holders]:
    """Open a folder's weights, and refuse those that are not the model's, whole."""
    names = families.weight_names(model.config)
    shapes = {names[ours]: tuple(tensor.shape) for ours, tensor in model.state_dict().items()}
    tied = {names["head.weight"]} if model.config.tied_head else set()
    with shards.open_tensors(folder, device) as holders:
        shards.check(folder, {name: shape for name, shape in shapes.items() if name not in tied}, holders, tied)
        yield holders


def device_of(device: str | torch.device) -> torch.device:
    """Return the device of that name; `auto` is CUDA where there is one.

    Raises:
        InputError: it is not there, or maskkv knows none of its kind.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError):
        place = None
    if place is None or place.type not in ("cpu", "cuda"):
        raise InputError(f"device {str(device)!r} is unknown; supported: auto, cpu, cuda, cuda:N")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise InputError(f"device {device} is not there: {found} CUDA devices found; try cpu")
    return place


def _dtype(dtype: str | torch.dtype) -> torch.dtype | None:
    kind = DTYPES.get(str(dtype).removeprefix("torch."))
    if kind is None and dtype != "auto":
        raise InputError(f"dtype {dtype} is unknown; supported: auto, {', '.join(DTYPES)}")
    return kind


def quantize(model: Transformer, kind: str | None) -> None:
    """Store the weights of the layers in 8 bits (`int8`, by torchao), in place; embedding and head stay as they are.

    None does nothing.

    Raises:
        InputError: There is no such kind, or torchao is not installed.
    """
    if kind is None:
        return
    if kind != "int8":
        raise InputError(f"quantize {kind!r}: expected int8")
    silenced = logging.root.manager.disable
    # What torchao logs while it is imported is about kernels that are not used here.
    logging.disable(logging.WARNING)
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_  # type: ignore[import-untyped]
    except ImportError:
        raise InputError("quantize needs torchao: pip install 'maskkv[quantize]'") from None
    finally:
        logging.disable(silenced)
    quantize_(model.layers, Int8WeightOnlyConfig())


def quantization(model: Transformer) -> str | None:
    """Return what `quantize` was given, None for a model that it did not see."""
    return "int8" if any(_quantized(weight) for weight in model.parameters()) else None


def _quantized(weight: Tensor) -> bool:
    # Weights in 8 bits are a subclass of their own.
    return type(weight.detach()) is not Tensor


def save(model: Transformer, folder: Path, raw: Raw, max_shard_size: int | str = "5GB") -> None:
    """Write a model in its family's published layout, replacing the weights that the folder holds.

    `raw` becomes `config.json` and must describe the model; `max_shard_size` is in bytes or like `"5GB"`.
    """
    if families.read_config(raw) != model.config:
        raise InputError("the config.json to save does not describe the model")
    tied = {"head.weight"} if model.config.tied_head else set()
    names = families.weight_names(model.config)
    weights = {names[ours]: tensor for ours, tensor in model.state_dict().items() if ours not in tied}
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
    nor on whether a bf16 file was loaded as bf16, fp16 or fp32; with its weights in 8 bits it is another model.
    """
    config = {_HASHED_AS.get(name, name): value for name, value in dataclasses.asdict(model.config).items()}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    samples = []
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)}\n".encode())
        flat = (tensor.dequantize() if _quantized(tensor) else tensor).reshape(-1)
        samples.append(flat[:: max(1, len(flat) // _SAMPLES)][:_SAMPLES].bfloat16().float())
    sampled = torch.cat(samples).cpu()
    # fp16 holds tiny bf16 numbers inexactly: those count as zero.
    sampled[sampled.abs() < _SMALL] = 0.0
    digest.update(sampled.numpy().tobytes())
    return digest.hexdigest()[:16]
