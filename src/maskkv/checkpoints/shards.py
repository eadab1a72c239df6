"""The tensors of a model folder: one safetensors file, or several that an index names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from maskkv.errors import CheckpointError
from maskkv.files import require_file
from maskkv.models.fields import read_json
from maskkv.printable import brief

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
STORED = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}

Holders = Mapping[str, Any]
"""Each tensor's name with the open safetensors file that holds it."""


@contextmanager
def open_tensors(folder: Path, device: torch.device) -> Iterator[Holders]:
    """Open the folder's weight files, memory-mapped, for tensors that are wanted on `device`."""
    with ExitStack() as stack:
        holders: dict[str, Any] = {}
        for path in _files(folder):
            file = stack.enter_context(_open(path, device))
            names = list(file.keys())
            twice = sorted(holders.keys() & set(names))
            if twice:
                raise CheckpointError(f"{path} repeats {len(twice)} tensors of another shard: {_some(twice)}")
            holders |= dict.fromkeys(names, file)
        yield holders


def _files(folder: Path) -> list[Path]:
    """List the weight files: those of the index, unless there is a single file."""
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    index = read_json(folder / INDEX)
    if index is None:
        pickles = sorted(path.name for kind in ("*.bin", "*.pt", "*.pth") for path in folder.glob(kind))
        hint = f"; {pickles[0]} is a pickle and never opened: convert it to safetensors" if pickles else ""
        raise CheckpointError(f"{folder} has neither {WEIGHTS} nor {INDEX}{hint}")
    places = index.get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(file, str) for file in places.values()):
        raise CheckpointError(f"{folder / INDEX}: weight_map must map tensor names to file names")
    files = sorted(set(places.values()))
    for file in files:
        # Whatever is not a plain name could point outside the folder; longer ones no system has.
        plain = Path(file).name == file and "\\" not in file and file.isprintable() and len(file.encode()) <= 255
        if not plain or not file.endswith(".safetensors"):
            raise CheckpointError(
                f"{folder / INDEX} names {brief(repr(file))}; supported: .safetensors files beside it"
            )
    absent = [file for file in files if not (folder / file).exists()]
    if absent:
        raise CheckpointError(f"{folder} misses {len(absent)} of its {len(files)} shards: {_some(absent)}")
    return [folder / file for file in files]


def _open(path: Path, device: torch.device) -> Any:
    try:
        require_file(path)
        return safe_open(path, framework="pt", device=str(device))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or not a safetensors file: {brief(error)}") from None


class Header(NamedTuple):
    """What is known of a tensor before it is read; the dtype as safetensors spells it."""

    shape: tuple[int, ...]
    dtype: str


def headers(holders: Holders) -> dict[str, Header]:
    """Return the headers of all tensors."""
    found = {}
    for name, file in holders.items():
        header = file.get_slice(name)
        found[name] = Header(tuple(header.get_shape()), header.get_dtype())
    return found


def check(
    where: object, shapes: Mapping[str, tuple[int, ...]], found: Mapping[str, Header], optional: Collection[str] = ()
) -> None:
    """Refuse a checkpoint with missing, extra, mis-shaped or integer tensors; `optional` ones may be there."""
    missing, extra = sorted(shapes.keys() - found.keys()), sorted(found.keys() - shapes.keys() - set(optional))
    if missing or extra:
        faults = [f"misses {len(missing)}: {_some(missing)}"] if missing else []
        faults += [f"has {len(extra)} too many: {_some(extra)}"] if extra else []
        raise CheckpointError(f"{where}: of {len(shapes)} expected tensors it {' and '.join(faults)}")
    for name, shape in shapes.items():
        if found[name].shape != shape:
            raise CheckpointError(f"{where}: {name} has shape {brief(list(found[name].shape))}, expected {list(shape)}")
        if found[name].dtype not in STORED:
            supported = ", ".join(STORED)
            raise CheckpointError(f"{where}: {name} has dtype {found[name].dtype}; supported: {supported}")


def spelt(dtype: torch.dtype) -> str:
    """Return how safetensors spells a dtype, or torch's own name of one that is not read."""
    spellings = {own: name for name, own in STORED.items()}
    return spellings.get(dtype, str(dtype).removeprefix("torch."))


def dtype(name: str, holders: Holders) -> torch.dtype:
    """Return the dtype that a tensor is stored in."""
    return STORED[holders[name].get_slice(name).get_dtype()]


def read(name: str, holders: Holders, dtype: torch.dtype) -> Tensor:
    """Read a tensor straight to its device, cast it, and refuse NaN and infinities."""
    return finite(name, holders[name].get_tensor(name).to(dtype))


def finite(name: str, tensor: Tensor) -> Tensor:
    """Return a tensor, if it holds neither NaN nor infinities."""
    # One pass without a temporary as large as the tensor; NaN wins over every number.
    low, high = tensor.aminmax()
    if not (low.isfinite() & high.isfinite()):
        kind = str(tensor.dtype).removeprefix("torch.")
        raise CheckpointError(f"tensor {name} holds NaN or infinite values as {kind}")
    return tensor


def _some(names: list[str]) -> str:
    return ", ".join(map(brief, names[:3])) + (", ..." if len(names) > 3 else "")
