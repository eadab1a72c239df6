"""Whether the kernels agree with plain formulas in wider numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import accumulate

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from maskkv.bench.gpu.verdicts import Found, close, same
from maskkv.ops.attention import attention_mass, attention_peak
from maskkv.ops.fused import join, rms_norm, scatter, similarity, swiglu
from maskkv.ops.least import LeastRows
from maskkv.ops.rope import Rotation, rotate
from maskkv.ops.segments import Folding, attend_packed


def segments(device: torch.device) -> Found:
    """Compare the variable-length kernel with a softmax in fp32."""
    for dtype, tolerance in ((torch.bfloat16, 1e-2), (torch.float16, 2e-3)):
        yield f"segments, {_name(dtype)}", close(*_read_and_expected(device, dtype), tolerance)


@torch.no_grad()
def votes(device: torch.device) -> Found:
    """Compare summed and largest attention with a softmax in fp64."""
    for rows, heads, kv_heads, head_dim, pairs in ((128, 8, 2, 128, 3001), (33, 4, 4, 64, 500), (128, 4, 4, 128, 9000)):
        generator = torch.Generator().manual_seed(rows)
        queries = torch.randn((rows, heads, head_dim), generator=generator).to(device, torch.bfloat16)
        keys = torch.randn((pairs, kv_heads, head_dim), generator=generator).to(device, torch.bfloat16)
        weights = torch.rand(rows, generator=generator).to(device)
        attended = _attended(queries, keys)
        weighted = (attended * weights.double()[:, None]).sum((1, 2))
        for name, found, expected in (
            ("sum", attention_mass(queries, keys), attended.sum((1, 2))),
            ("weighted sum", attention_mass(queries, keys, weights), weighted),
            ("peak", attention_peak(queries, keys), attended.amax((1, 2))),
        ):
            yield f"votes, {name}, {heads}/{kv_heads} heads, {pairs} pairs", close(found, expected, 1e-3)


def rows(device: torch.device) -> Found:
    """Compare the kernels that work row by row with plain torch, which runs in their place while gradients are on."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*sizes: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(sizes, generator=generator).to(device, dtype)

    for dtype, tolerance in ((torch.bfloat16, 4e-3), (torch.float32, 1e-5)):
        x, heads, table = drawn(130, 3584, dtype=dtype), drawn(130, 28, 128, dtype=dtype), drawn(900, 128, dtype=dtype)
        weight, taken = drawn(3584, dtype=dtype), torch.randperm(200, generator=generator)[:130].to(device)
        places = torch.randperm(900, generator=generator)[: 130 * 6].view(130, 6).to(device)
        some = torch.randperm(130, generator=generator)[:40].sort().values.to(device)
        angles = drawn(200, 64).to(torch.float32 if dtype == torch.float32 else dtype)
        turned = Rotation(angles.cos(), angles.sin())[taken]
        runs: dict[str, Callable[[], Tensor]] = {
            "norm": partial(rms_norm, x, weight, 1e-6),
            "rotation": partial(rotate, heads, turned),
            "swiglu": partial(swiglu, F.tanh, F.relu, x),
            "similarity": partial(similarity, table, places, heads[:, :6]),
            "norm of some": partial(rms_norm, x, weight, 1e-6, some),
            "join": partial(_joined, x, weight, some),
            "scatter": partial(_scattered, table, places, heads[:40, :6], some),
        }
        for name, run in runs.items():
            with torch.set_grad_enabled(False):
                found = run()
            with torch.set_grad_enabled(True):
                expected = run()
            yield f"{name}, {_name(dtype)}", close(found, expected, tolerance)


def _joined(x: Tensor, weight: Tensor, rows: Tensor) -> Tensor:
    kept = x * weight
    return torch.cat((join(x, kept, kept[rows] - x[rows], rows), kept, join(x, kept, kept + 1, None), kept))


def _scattered(table: Tensor, places: Tensor, vectors: Tensor, rows: Tensor) -> Tensor:
    out = table.clone()
    scatter(out, places, vectors, rows)
    return out


def least(device: torch.device) -> Found:
    """Compare the choice of the least similar rows, ties included, with a stable sort."""
    generator = torch.Generator().manual_seed(0)
    for lengths in ([128], [64, 7, 1000, 128, 2500]):
        values = torch.randint(0, 40, (sum(lengths),), generator=generator).float().to(device)
        pick = LeastRows(lengths, [length // 4 for length in lengths], device)
        with torch.set_grad_enabled(False):
            found = pick(values)
        with torch.set_grad_enabled(True):
            expected = pick(values)
        yield f"least, of {lengths}", same(found.tolist(), expected.tolist())


def _read_and_expected(
    device: torch.device, dtype: torch.dtype
) -> tuple[Float[Tensor, "rows heads head_dim"], Float[Tensor, "rows heads head_dim"]]:
    """Return what the variable-length kernel reads of random segments, and what a softmax in fp32 reads of them."""
    generator = torch.Generator().manual_seed(0)
    counts, kv_heads, heads, head_dim = [64, 16, 33], 4, 8, 128
    lengths = torch.randint(1, 400, (len(counts) * kv_heads,), generator=generator).tolist()
    queries = torch.randn((sum(counts), heads, head_dim), generator=generator).to(device, dtype)
    keys, values = (torch.randn((sum(lengths), head_dim), generator=generator).to(device, dtype) for _ in range(2))
    offsets = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
    read = attend_packed(queries, keys, values, Folding.of(counts, heads, kv_heads, device), offsets, max(lengths))
    expected = torch.empty_like(queries, dtype=torch.float32)
    row, pair = 0, 0
    for sequence, count in enumerate(counts):
        for head in range(kv_heads):
            length = lengths[sequence * kv_heads + head]
            own = slice(head * heads // kv_heads, (head + 1) * heads // kv_heads)
            asked = queries[row : row + count, own].float()
            held, told = keys[pair : pair + length].float(), values[pair : pair + length].float()
            expected[row : row + count, own] = (asked @ held.T * head_dim**-0.5).softmax(-1) @ told
            pair += length
        row += count
    return read, expected


def _attended(
    queries: Float[Tensor, "rows heads head_dim"], keys: Float[Tensor, "pairs kv_heads head_dim"]
) -> Float[Tensor, "kv_heads group rows pairs"]:
    """Return the attention weights, in fp64."""
    grouped = queries.double().unflatten(1, (keys.shape[1], -1))
    scores = torch.einsum("rkgd,pkd->kgrp", grouped, keys.double()) * keys.shape[-1] ** -0.5
    return scores.softmax(-1)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
