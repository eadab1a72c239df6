"""torch's own way to split a model, `parallelize_module`, beside maskkv's, in two processes."""

import json
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
from tests.parallel.parts import CPU, part_of
from tests.reference import DREAM, LLADA, random_model, random_prompt
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from maskkv.cache import NoCache
from maskkv.models.part import Part
from maskkv.parallel.group import Group

_OUTPUTS = ("q_proj", "k_proj", "v_proj", "mlp.gate_proj", "mlp.up_proj")
_INPUTS = ("o_proj", "mlp.down_proj")


def compare(rank: int, store: Path, told: Path) -> None:
    """Write down, from the first process, how far both are apart and how far from one process."""
    torch.set_num_threads(1)
    found = {}
    with mock.patch.object(Group, "_meeting", mock.MagicMock()):
        group = Group(Part(rank, 2), CPU, store)
        mesh = init_device_mesh("cpu", (2,))
        for config in (LLADA, DREAM):
            whole, theirs, ours = random_model(config), random_model(config), part_of(config, 0, Part(rank, 2), CPU)
            plan = {name: ColwiseParallel() for name in _OUTPUTS} | {name: RowwiseParallel() for name in _INPUTS}
            for layer in theirs.layers:
                parallelize_module(layer, mesh, plan)
            ours.share(group)
            tokens = torch.tensor(random_prompt(config, 40))
            rotation = whole.rotation(torch.arange(40))
            with torch.no_grad():
                one, dtensor, own = (model(tokens, rotation, NoCache()) for model in (whole, theirs, ours))
            found[config.family] = [float((own - dtensor).abs().max()), float((own - one).abs().max())]
    if rank == 0:
        told.write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()
