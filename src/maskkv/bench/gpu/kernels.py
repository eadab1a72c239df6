"""Which kernels a step consists of on the device, and what a vote over keys in host memory costs."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from maskkv.bench.gpu.clock import milliseconds, on_device
from maskkv.bench.gpu.subject import Fields, Setup, Subject
from maskkv.bench.timed import spent, timed_steps
from maskkv.ops.attention import attention_mass

_LARGEST, _LETTERS = 10, 80


def profiles(subject: Subject) -> Iterator[Fields]:
    """Profile three partial steps and a long prompt refresh; their times are taken without the profiler."""
    kinds = {
        "partial": (8, subject.generation(response_interval=subject.gen_length), 5, 3),
        "prompt": (32, subject.generation(one_pass=False, prompt_interval=1), 1, 1),
    }
    for name, (units, generation, warm_up, count) in kinds.items():
        length = units * subject.unit
        yield {"prompt_length": length, "kind": name, **_profiled(subject, Setup(length, generation), warm_up, count)}


def _profiled(subject: Subject, setup: Setup, warm_up: int, count: int) -> Fields:
    engine, device = subject.open(setup), subject.device
    timed_steps(engine, device, warm_up)
    step = statistics.median(each.seconds for each in timed_steps(engine, device, count))
    # Without the host's side: a prompt refresh calls a hundred thousand operations.
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        timed_steps(engine, device, count)
    ran = [event for event in profiler.events() or () if event.device_type.name == "CUDA"]
    if not ran:
        return {"wall_ms": milliseconds(step), "skipped": "the profiler saw nothing on the device"}
    busy = covered([(event.time_range.start, event.time_range.end) for event in ran]) / 1e6
    total: defaultdict[str, list[float]] = defaultdict(list)
    for event in ran:
        total[event.name].append(event.time_range.elapsed_us() / 1000)
    largest = sorted(total.items(), key=lambda each: -sum(each[1]))[:_LARGEST]
    return {
        "kernels_per_step": len(ran) / count,
        "wall_ms": milliseconds(step),
        "busy_ms": milliseconds(busy / count),
        "busy_share": round(busy / count / step, 4),
        "largest": [
            {"kernel": name[:_LETTERS], "count": len(own) / count, "ms": round(sum(own) / count, 4)}
            for name, own in largest
        ],
    }


def covered(spans: list[tuple[float, float]]) -> float:
    """Return the total length that the spans cover together."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


@torch.no_grad()
def host(subject: Subject) -> Iterator[Fields]:
    """Time votes over keys in pinned host memory: a layer's keys are copied while the layer before is voted on."""
    config, device, length = subject.config, subject.device, 32 * subject.unit
    keys = torch.randn((length, config.num_kv_heads, config.head_dim)).to(subject.dtype).pin_memory()
    queries = torch.randn((subject.gen_length, config.num_heads, config.head_dim), device=device, dtype=subject.dtype)
    buffers = [torch.empty_like(keys, device=device) for _ in range(2)]
    copy_s = on_device(lambda: buffers[0].copy_(keys, non_blocking=True), device)
    vote_s = on_device(lambda: attention_mass(queries, buffers[0]), device)
    _over_layers(keys, queries, buffers, 2)
    step_s = spent(partial(_over_layers, keys, queries, buffers, config.num_layers), device)
    yield {
        "prompt_length": length,
        "layer_bytes": keys.nbytes,
        "copy_ms": milliseconds(copy_s),
        "copy_gb_per_s": round(keys.nbytes / copy_s / 1e9, 2),
        "vote_ms": milliseconds(vote_s),
        "layer_ms": milliseconds(step_s / config.num_layers),
        "step_ms": milliseconds(step_s),
    }


def _over_layers(
    keys: Float[Tensor, "pairs kv_heads head_dim"],
    queries: Float[Tensor, "rows heads head_dim"],
    buffers: list[Tensor],
    layers: int,
) -> None:
    """Vote on each layer's keys while the next layer's are copied into the other buffer."""
    copying, voting = torch.cuda.Stream(queries.device), torch.cuda.current_stream(queries.device)
    copied, voted = ([torch.cuda.Event() for _ in range(layers)] for _ in range(2))
    copying.wait_stream(voting)
    for layer in range(layers):
        with torch.cuda.stream(copying):
            if layer >= len(buffers):
                copying.wait_event(voted[layer - len(buffers)])
            buffers[layer % len(buffers)].copy_(keys, non_blocking=True)
            copied[layer].record(copying)
        voting.wait_event(copied[layer])
        attention_mass(queries, buffers[layer % len(buffers)])
        voted[layer].record(voting)
