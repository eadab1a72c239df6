"""Make the parts of a model, each in a process and on a device of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
import torch.distributed as dist

from maskkv.errors import InputError
from maskkv.models.part import Part
from maskkv.models.transformer import Transformer
from maskkv.parallel.follower import Follower, Make, starts_unguarded
from maskkv.parallel.leading import Leading, end


def split(make: Make, parts: int, device: torch.device) -> Transformer:
    """Make the first part of a model here, and the others in processes of their own; return the first.

    On CUDA the parts take the first devices, and of the CPU a part of the threads each. The processes end with this
    one, or when the model is gone.

    Raises:
        InputError: The model does not split so, there are too few devices, or another model is split already.
        MaskKVError: A part could not be made.
    """
    starts_unguarded()
    places = _places(device, parts)
    if dist.is_initialized():
        raise InputError("tensor_parallel: this process holds a part of another model already; close that first")
    before = torch.get_num_threads()
    threads = max(1, before // parts)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        followers = [Follower(make, Part(rank, parts), places[rank], threads, store) for rank in range(1, parts)]
        try:
            # What all parts compute alike rounds alike with as many threads.
            torch.set_num_threads(threads)
            model = make(Part(0, parts), places[0])
            for follower in followers:
                follower.wait()
            ranks = Leading(Part(0, parts), places[0], store, followers, before)
        except BaseException:
            end(followers, before)
            raise
    model.share(ranks)
    return model


def _places(device: torch.device, parts: int) -> list[torch.device]:
    if device.type == "cpu":
        return [device] * parts
    if device.type != "cuda" or device.index:
        raise InputError(
            f"tensor_parallel {parts} takes the CPU, or the first CUDA devices of those that CUDA_VISIBLE_DEVICES "
            f"leaves: device cpu or cuda, not {device}"
        )
    if torch.cuda.device_count() < parts:
        raise InputError(f"tensor_parallel {parts}: {torch.cuda.device_count()} CUDA devices found")
    return [torch.device("cuda", index) for index in range(parts)]
