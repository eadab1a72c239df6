"""Model folders: find them, read their weights into a `Transformer`, write them, tell them apart.

A checkpoint is a folder, or a hub id, with `config.json` and safetensors in its family's published layout.
Nothing else is opened: no remote code, no pickles.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from maskkv.errors import CheckpointError, InputError
from maskkv.models import families
from maskkv.models.config import ModelConfig
from maskkv.models.fields import Raw
from maskkv.models.transformer import Transformer

FILES = ("*.safetensors", "*.json", "merges.txt", "chat_template.jinja")
"""All that is ever fetched from the hub."""

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
DTYPES = {
    "float32": torch.float32, "fp32": torch.float32,
    "bfloat16": torch.bfloat16, "bf16": torch.bfloat16,
    "float16": torch.float16, "fp16": torch.float16,
}  # fmt: skip
_STORED = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_SAMPLES = 256
_SMALL = 2.0**-12


def resolve(source: str | Path) -> Path:
    """Return a checkpoint's folder: a local one, the hub cache's, or one fetched now.

    Raises:
        CheckpointError: it is neither a folder nor a hub id that can be had.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise CheckpointError(f"{source} is a file; give the folder that holds it")
    try:
        return Path(_fetch(str(source)))
    except HFValidationError:
        raise CheckpointError(f"{source} is not a folder, nor a hub id (owner/name)") from None
    except (OSError, HfHubHTTPError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{source} is not a folder and could not be fetched from the hub: {reason}") from None


def _fetch(repo: str) -> str:
    try:
        # A complete snapshot in the cache is used as it is: the hub is not asked for a newer one.
        return huggingface_hub.snapshot_download(repo, allow_patterns=list(FILES), local_files_only=True)
    except LocalEntryNotFoundError:
        return huggingface_hub.snapshot_download(repo, allow_patterns=list(FILES))


def read_json(path: Path) -> dict[str, object] | None:
    """Return the object in a JSON file, or None where there is no such file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a JSON {type(value).__name__}; supported: an object")
    return value


def read_config(folder: Path) -> ModelConfig:
    """Read a folder's `config.json`, of whichever family it is."""
    raw = read_json(folder / "config.json")
    if raw is None:
        raise CheckpointError(f"{folder} has no config.json; a checkpoint needs one beside its safetensors")
    try:
        return families.read_config(raw)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from None


def load(source: str | Path, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto") -> Transformer:
    """Load a checkpoint for inference: eval mode, no gradients.

    Each tensor is memory-mapped and goes straight to its device and dtype, so there is never a second copy of
    the whole. `device="auto"` is CUDA where there is one; `dtype="auto"` is what the file holds, on any device.

    Raises:
        CheckpointError: the folder's files are not a checkpoint of a supported family, whole and finite.
        InputError: no such device or dtype.
    """
    place, kind = _device(device), _dtype(dtype)
    folder = resolve(source)
    config = read_config(folder)
    with torch.device("meta"):
        model = Transformer(config)
    names = families.weight_names(config)
    shapes = {names[ours]: tuple(tensor.shape) for ours, tensor in model.state_dict().items()}
    tied = {names["head.weight"]} if config.tied_head else set()
    with ExitStack() as stack:
        shards = {path: stack.enter_context(_open(path, place)) for path in _shards(folder)}
        holders = _holders(folder, shards)
        _check_names(folder, shapes.keys(), holders.keys(), tied)
        for name in shapes.keys() - tied:
            _check_tensor(name, shapes[name], holders[name])
        kind = kind or _STORED[holders[names["embed.weight"]].get_slice(names["embed.weight"]).get_dtype()]
        weights = {ours: _read(name, holders[name], kind) for ours, name in names.items() if name not in tied}
    if config.tied_head:
        weights["head.weight"] = weights["embed.weight"]
    model.load_state_dict(weights, assign=True)
    return model.requires_grad_(False).eval()


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        raise InputError(f"device {device!r} is unknown; supported: auto, cpu, cuda, cuda:N") from None
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise InputError(f"device {device} is not there: {found} CUDA devices found; try cpu")
    return place


def _dtype(dtype: str | torch.dtype) -> torch.dtype | None:
    kind = DTYPES.get(str(dtype).removeprefix("torch."))
    if kind is None and dtype != "auto":
        raise InputError(f"dtype {dtype} is unknown; supported: auto, {', '.join(DTYPES)}")
    return kind


def _shards(folder: Path) -> list[Path]:
    """List the folder's weight files, as its index names them if there is no single file."""
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    index = read_json(folder / INDEX)
    if index is None:
        pickles = sorted(path.name for kind in ("*.bin", "*.pt", "*.pth") for path in folder.glob(kind))
        hint = f"; {pickles[0]} is a pickle and never opened: convert it to safetensors" if pickles else ""
        raise CheckpointError(f"{folder} has neither {WEIGHTS} nor {INDEX}{hint}")
    files = index.get("weight_map")
    if not isinstance(files, dict) or not files or not all(isinstance(file, str) for file in files.values()):
        raise CheckpointError(f"{folder / INDEX}: weight_map must map tensor names to file names")
    for file in sorted(set(files.values())):
        # Whatever is not a plain name could point outside the folder.
        if Path(file).name != file or "\\" in file or not file.endswith(".safetensors"):
            raise CheckpointError(f"{folder / INDEX} names {file!r}; supported: .safetensors files beside it")
    absent = sorted(file for file in set(files.values()) if not (folder / file).exists())
    if absent:
        raise CheckpointError(f"{folder} misses {len(absent)} of its shards: {_some(absent)}")
    return [folder / file for file in sorted(set(files.values()))]


def _open(path: Path, device: torch.device) -> Any:
    try:
        return safe_open(path, framework="pt", device=str(device))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or not a safetensors file: {error}") from None


def _holders(folder: Path, shards: Mapping[Path, Any]) -> dict[str, Any]:
    """Map each tensor name to the open shard that holds it."""
    holders: dict[str, Any] = {}
    for path, shard in shards.items():
        for name in shard.keys():  # noqa: SIM118 (a safetensors handle, not a dict)
            if name in holders:
                raise CheckpointError(f"{folder}: tensor {name} is in two shards, {path.name} being one")
            holders[name] = shard
    return holders


def _check_names(folder: Path, expected: Collection[str], found: Collection[str], tied: Collection[str]) -> None:
    missing = sorted(set(expected) - set(found) - set(tied))
    extra = sorted(set(found) - set(expected))
    if missing or extra:
        faults = [f"misses {len(missing)}: {_some(missing)}"] if missing else []
        faults += [f"has {len(extra)} too many: {_some(extra)}"] if extra else []
        raise CheckpointError(f"{folder}: of {len(expected)} expected tensors it {' and '.join(faults)}")


def _check_tensor(name: str, shape: tuple[int, ...], shard: Any) -> None:
    header = shard.get_slice(name)
    if tuple(header.get_shape()) != shape:
        raise CheckpointError(f"tensor {name} has shape {header.get_shape()}, expected {list(shape)}")
    if header.get_dtype() not in _STORED:
        raise CheckpointError(f"tensor {name} has dtype {header.get_dtype()}; supported: F32, BF16, F16")


def _read(name: str, shard: Any, dtype: torch.dtype) -> Tensor:
    tensor: Tensor = shard.get_tensor(name).to(dtype)
    # One pass without a temporary as large as the tensor; NaN wins over every number.
    low, high = tensor.aminmax()
    if not (low.isfinite() & high.isfinite()):
        kind = str(dtype).removeprefix("torch.")
        raise CheckpointError(f"tensor {name} holds NaN or infinite values as {kind}")
    return tensor


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


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
        for old in (*folder.glob("model*.safetensors"), folder / INDEX):
            old.unlink(missing_ok=True)
        for new in Path(aside).iterdir():
            new.replace(folder / new.name)


def fingerprint(model: Transformer) -> str:
    """Return 16 hex digits that tell a model from any other of its shape.

    A hash of the config and of evenly spaced samples of every tensor. It does not depend on device or sharding,
    nor on whether a bf16 file was loaded as bf16, fp16 or fp32.
    """
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(model.config), sort_keys=True).encode())
    samples = []
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)}\n".encode())
        flat = tensor.reshape(-1)
        samples.append(flat[:: max(1, len(flat) // _SAMPLES)][:_SAMPLES].bfloat16().float())
    sampled = torch.cat(samples).cpu()
    # fp16 holds tiny bf16 numbers inexactly: those count as zero.
    sampled[sampled.abs() < _SMALL] = 0.0
    digest.update(sampled.numpy().tobytes())
    return digest.hexdigest()[:16]
