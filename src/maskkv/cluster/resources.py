"""What a running Ray cluster has: cores, cards, and the share of them for each replica."""

from __future__ import annotations

from typing import Any

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from maskkv import mini, policies
from maskkv.checkpoints import weights
from maskkv.cluster import shares
from maskkv.cluster.shares import Share
from maskkv.cluster.site import Placed, Served
from maskkv.errors import InputError
from maskkv.generation import Generation
from maskkv.loading import Loading
from maskkv.models.part import Part
from maskkv.plan import Shape, Workload


def place(served: Served) -> Placed:
    """Choose the share of each replica, and a front for each host.

    Raises:
        InputError: The replicas do not fit.
    """
    split = served.loading.tensor_parallel
    if split > 1:
        Part(0, split).config(weights.config_of(_source(served.loading)))  # refused before a replica starts
    nodes = [node for node in ray.nodes() if node["Alive"]]
    return Placed(served, _share(served, nodes), len(nodes))


def _share(served: Served, nodes: list[dict[str, Any]]) -> Share:
    device, replicas = served.loading.device, served.replicas.most
    cards = [int(node["Resources"].get("GPU", 0)) for node in nodes]
    if device == "cpu" or (device == "auto" and not any(cards)):
        return shares.of_cores([int(node["Resources"].get("CPU", 0)) for node in nodes], replicas)
    if not any(cards):
        raise InputError("device cuda: no host of the cluster has a GPU: expected auto or cpu")
    found = ray.get(
        [
            _card.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                served.loading
            )
            for node, count in zip(nodes, cards, strict=True)
            if count
        ]
    )
    settings = served.settings
    split = served.loading.tensor_parallel
    config = Part(0, split).config(weights.config_of(_source(served.loading)))
    shape = Shape(config, found[0][1], quantize=served.loading.quantize)
    work = Workload(
        settings.max_prompt_length,
        Generation(),
        policies.named(settings.policy),
        settings.budget,
        served.loading.kv_dtype,
    )
    share = shares.of_card(min(card for card, _ in found), shape, work, settings.max_batch, split)
    most = shares.fitting_on(share, cards)
    if most < replicas:
        each = f"{share.parts} fit on a GPU" if split == 1 else f"each takes {split} GPUs of one host"
        raise InputError(f"{replicas} replicas: {each}, and there are {sum(cards)}: expected at most {most}")
    return share


@ray.remote(num_cpus=0, num_gpus=0.001, max_retries=2)
def _card(loading: Loading) -> tuple[int, int]:
    """Return the bytes of a host's card, and of a weight there."""
    itemsize = weights.dtype_of(_source(loading), "cuda", loading.dtype).itemsize
    return torch.cuda.get_device_properties(0).total_memory, itemsize


def _source(loading: Loading) -> Any:
    return mini.folder() if loading.model is None else loading.model
