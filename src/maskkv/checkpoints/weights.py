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

from maskkv.checkpoints import configs, precision, shards
from maskkv.checkpoints.layout import Layout
from maskkv.checks import quoted
from maskkv.errors import CheckpointError, InputError
from maskkv.models import families
from maskkv.models.config import ModelConfig
from maskkv.models.fields import Raw
from maskkv.models.transformer import Transformer
from maskkv.ops.linear import is_plain
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


def _from_hub(repo: str, file: str | None = None) -> Path:
    """Return the hub cache's folder of a checkpoint, with all of it or (given) one file fetched if need be."""
    # Its errors bring an HTTP client along, which a local folder does without.
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    def fetch(local_files_only: bool) -> Path:
        if file is not None:
            return Path(huggingface_hub.hf_hub_download(repo, file, local_files_only=local_files_only)).parent
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


def config_of(source: str | Path) -> ModelConfig:
    """Read the config of a folder or a hub id; of the latter no weights are fetched.

    Raises:
        CheckpointError: there is none, or it is not one of a supported family.
    """
    if not str(source) or _local(source).exists():
        return configs.read(resolve(source))
    folder = _from_hub(str(source), "config.json")
    return configs.read(_from_hub(str(source), "tokenizer.json") if configs.needs_tokenizer(folder) else folder)


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
    config = configs.read(folder)
    model = _empty(config)
    layout = Layout.of(model)
    with _opened(folder, layout, place) as holders:
        stored = kind or precision.auto(config, _stored(layout, holders), place)
        weights = layout.read(lambda name: shards.read(name, holders, stored))
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
    layout = Layout.of(_empty(config))
    with _opened(folder, layout, torch.device("cpu")) as holders:
        return precision.auto(config, _stored(layout, holders), place)


def _empty(config: ModelConfig) -> Transformer:
    with torch.device("meta"):
        return Transformer(config)


@contextmanager
def _opened(folder: Path, layout: Layout, device: torch.device) -> Iterator[shards.Holders]:
    """Open a folder's weights, and refuse those that are not the layout's, whole."""
    with shards.open_tensors(folder, device) as holders:
        shards.check(folder, layout.published(), holders, layout.optional)
        yield holders


def _stored(layout: Layout, holders: shards.Holders) -> torch.dtype:
    """Return the dtype that a file holds its embedding in, and so counts as the file's."""
    return shards.dtype(layout.holding("embed.weight")[0], holders)


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
    """Store the weights of the layers in 8 bits (`int8`, by torchao), in place; None does nothing.

    Embedding, head and the matrices that choose experts stay as they are.

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

    def stored(module: torch.nn.Module, name: str) -> bool:
        # Which experts a row is sent to does not depend on how these are stored.
        return isinstance(module, torch.nn.Linear) and not name.endswith("router")

    quantize_(model.layers, Int8WeightOnlyConfig(), stored)


def quantization(model: Transformer) -> str | None:
    """Return what `quantize` was given, None for a model that it did not see."""
    return None if all(is_plain(weight) for weight in model.parameters()) else "int8"


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
    nor on whether a bf16 file was loaded as bf16, fp16 or fp32; with its weights in 8 bits it is another model.
    """
    digest = hashlib.sha256(json.dumps(_hashed(model.config), sort_keys=True).encode())
    samples = []
    # Names are those of the first profiles, whose layers held the matrices of the MLP themselves.
    tensors = {name.replace(".mlp.", "."): tensor for name, tensor in model.state_dict().items()}
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {list(tensor.shape)}\n".encode())
        flat = (tensor if is_plain(tensor) else tensor.dequantize()).reshape(-1)
        samples.append(flat[:: max(1, len(flat) // _SAMPLES)][:_SAMPLES].bfloat16().float())
    sampled = torch.cat(samples).cpu()
    # fp16 holds tiny bf16 numbers inexactly: those count as zero.
    sampled[sampled.abs() < _SMALL] = 0.0
    digest.update(sampled.numpy().tobytes())
    return digest.hexdigest()[:16]


def _hashed(config: ModelConfig) -> dict[str, object]:
    """Return a config for a fingerprint: a field that came later is left out at its default, so that none changes."""
    default = {field.name: field.default for field in dataclasses.fields(config)}
    given = dataclasses.asdict(config)
    return {_HASHED_AS.get(name, name): value for name, value in given.items() if value != default[name]}
