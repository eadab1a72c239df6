"""The kernels against the plain code: computed in Triton's interpreter, and compiled for a card that is not there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton")

import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from maskkv.models.norm import RMSNorm
from maskkv.ops import fused, kernels
from maskkv.ops.attention import attention_mass, attention_peak, fold_groups
from maskkv.ops.rope import Rotation, rotate
from maskkv.ops.scan import scan

# What is stored in bf16 the interpreter cuts off where a card rounds, so fp16 stands for the narrow dtypes there.
ROUNDED = pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
READ = pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])


def test_in_triton_s_interpreter() -> None:
    """Run the functions below called `interpreted_…`: Triton reads the switch once, when it is first imported."""
    command = [sys.executable, "-m", "pytest", __file__, "-q", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*command, "-o", "python_functions=interpreted_*"],
        env={**os.environ, "TRITON_INTERPRET": "1"}, cwd=Path(__file__).parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


class Hopper:
    """Stand in for a driver: enough to compile, and nothing can be launched."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> str:
        return "none"

    def get_current_stream(self, _: str) -> int:
        return 0


@pytest.mark.skipif(sys.platform != "linux", reason="Triton's assembler")
def test_every_kernel_compiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The interpreter takes much that a card does not: here the assembler has the last word."""
    compiled = []

    def compile_only(self: JITFunction, *args: object, warmup: bool, **options: object) -> None:
        compiled.append((self.__name__, run(self, *args, warmup=True, **options)))

    run = JITFunction.run
    monkeypatch.setattr(JITFunction, "run", compile_only)
    monkeypatch.setattr(triton.runtime.driver, "_active", Hopper())
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    heads, angles = torch.ones(2, 28, 128).bfloat16(), torch.ones(2, 64)
    taken = torch.zeros(2, dtype=torch.long)
    for rows in (None, taken):
        kernels.rms_norm(heads.flatten(1), torch.ones(3584).bfloat16(), 1e-6, rows)
        kernels.join(heads.flatten(1), heads.flatten(1), heads.flatten(1), rows)
        kernels.scatter(heads.flatten(0, 1), torch.zeros(2, 28, dtype=torch.long), heads, rows)
    kernels.rotate(heads, angles, angles)
    kernels.rotate(heads, angles, angles, taken)
    kernels.rotate(heads, angles.bfloat16(), angles.bfloat16())
    kernels.swiglu(heads.flatten(1), heads.flatten(1))
    for dtype in (torch.bfloat16, torch.float32):
        queries, keys = torch.ones(4, 7, 128, dtype=dtype), torch.ones(300, 4, 128, dtype=dtype)
        kernels.log_sum_exp(queries, keys)
        kernels.column_mass(queries, keys, torch.ones(4, 7))
        kernels.column_mass(queries, keys, torch.ones(4, 7), torch.ones(7))
        kernels.column_peak(queries, keys, torch.ones(4, 7))
    kernels.moved(heads[:, 0], torch.ones(28, 2, dtype=torch.int64).T, heads)
    kernels.least(torch.ones(128), torch.tensor([0, 128]), torch.tensor([0, 32]), 128, 32)
    kernels.least(torch.ones(4096), torch.tensor([0, 4096]), torch.tensor([0, 32]), 4096, 32)
    modules = (kernels.drift, kernels.rows, kernels.votes)
    written = {name for each in modules for name, kernel in vars(each).items() if isinstance(kernel, JITFunction)}
    assert {name for name, _ in compiled} == written
    assert all(kernel.asm["cubin"] for _, kernel in compiled)
    rotation = [kernel.asm["ptx"] for name, kernel in compiled if name == "_rotate"]
    assert not any("fma." in ptx for ptx in rotation), (
        "a fused multiply-add rounds once where the plain code does twice"
    )


def test_what_a_kernel_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="head_dim is 48"):
        kernels.column_mass(torch.ones(1, 2, 48), torch.ones(3, 1, 48), torch.ones(1, 2))
    with pytest.raises(ValueError, match="at most 4096"):
        kernels.least(torch.ones(4097), torch.tensor([0, 4097]), torch.tensor([0, 1]), 4097, 1)


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_rounded_alike(got: Tensor, wanted: Tensor) -> None:
    """Allow a few units in the last place in fp32, and in fp16 one, which hardly any number needs."""
    few = {torch.float32: 2e-6, torch.float16: 2**-10}[got.dtype]
    torch.testing.assert_close(got, wanted, rtol=few, atol=1e-7)
    assert got.dtype == torch.float32 or (got != wanted).sum() <= 0.002 * got.numel()


@ROUNDED
@pytest.mark.parametrize("hidden", [192, 7])
def interpreted_rms_norm(hidden: int, dtype: torch.dtype) -> None:
    plain = RMSNorm(hidden, 1e-5).to(dtype)
    weight = random(hidden, dtype=dtype, seed=1)
    plain.weight.data = weight
    wide = random(9, 200, dtype=dtype) * torch.linspace(0.001, 30, 9)[:, None].to(dtype)
    for x in (wide[:, 3 : 3 + hidden], wide[:, :hidden].contiguous(), random(hidden, 9, dtype=dtype).T):
        for taken in (None, torch.tensor([7, 0]), torch.tensor([], dtype=torch.long)):
            assert_rounded_alike(kernels.rms_norm(x, weight, 1e-5, taken), plain(x, taken).detach())
    nothing = kernels.rms_norm(torch.zeros(2, hidden, dtype=dtype), weight, 1e-5, None)
    assert torch.equal(nothing, torch.zeros_like(nothing))


@pytest.mark.parametrize(
    ("dtype", "angles"),
    [(torch.float32, torch.float32), (torch.float16, torch.float32), (torch.float16, torch.float16)],
)
@pytest.mark.parametrize(("heads", "head_dim"), [(4, 32), (3, 12)])
def interpreted_rotate(heads: int, head_dim: int, dtype: torch.dtype, angles: torch.dtype) -> None:
    turns = random(9, head_dim // 2, seed=1)
    rotation = Rotation(turns.cos().to(angles), turns.sin().to(angles))
    wide = random(9, heads + 2, head_dim + 4, dtype=dtype)
    for x in (wide[:, 1:-1, 2:-2], random(heads, 9, head_dim, dtype=dtype).transpose(0, 1)):
        assert torch.equal(kernels.rotate(x, rotation.cos, rotation.sin), rotate(x, rotation))
        taken = torch.tensor([8, 0, 3, 3, 5, 7, 1, 2, 6])
        assert torch.equal(kernels.rotate(x, rotation.cos, rotation.sin, taken), rotate(x, rotation[taken]))


@ROUNDED
@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
def interpreted_swiglu(dtype: torch.dtype) -> None:
    """Reach past a block of 1,024 columns, and so far below zero that the exponential overflows: the gate is shut."""
    gate, up = (4 * random(3, 2 * 1030, dtype=dtype, seed=seed) for seed in (1, 2))
    gate[0, :4] = torch.tensor([-200.0, -80.0, 0.0, 200.0])
    for g, u in ((gate[:, :1030], up[:, 1030:]), (gate, up), (gate[:, :5], up[:, :5].contiguous())):
        assert_rounded_alike(kernels.swiglu(g, u), F.silu(g) * u)


@READ
@pytest.mark.parametrize(
    ("rows", "heads", "kv_heads", "pairs", "head_dim"), [(3, 2, 2, 5, 16), (45, 6, 3, 130, 32), (70, 1, 1, 257, 128)]
)
def interpreted_columns(rows: int, heads: int, kv_heads: int, pairs: int, head_dim: int, dtype: torch.dtype) -> None:
    """Leave the last tiles of rows and of keys half empty."""
    queries = 3 * random(rows, heads, head_dim, dtype=dtype)
    keys = random(kv_heads, pairs, head_dim, dtype=dtype, seed=1).transpose(0, 1)
    weights = random(rows, seed=2).abs()
    folded = fold_groups(queries, kv_heads)
    lse = (torch.einsum("hrd,phd->hrp", folded.double(), keys.double()) * head_dim**-0.5).logsumexp(-1).float()
    near = {"rtol": 2e-5, "atol": 1e-7}
    for own in (keys, keys.contiguous(), keys.repeat(9, 1, 1)):
        more = torch.tensor(len(own) / pairs).log()
        torch.testing.assert_close(kernels.log_sum_exp(folded, own), lse + more, rtol=2e-6, atol=2e-6)
    for own in (keys, keys.contiguous()):
        torch.testing.assert_close(kernels.column_mass(folded, own, lse), attention_mass(queries, keys), **near)
        torch.testing.assert_close(kernels.column_peak(folded, own, lse), attention_peak(queries, keys), **near)
        weighed = kernels.column_mass(folded, own, lse, weights.repeat(heads // kv_heads))
        torch.testing.assert_close(weighed, attention_mass(queries, keys, weights), **near)


@READ
@pytest.mark.parametrize("tally", ["max", "sum"])
@pytest.mark.parametrize("deaf", [[], [0, 2]])
def interpreted_scan(tally: str, deaf: list[int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Return the weights whose logarithms plain torch returns for the largest; rows that are no voters give nothing."""
    queries, keys = 3 * random(5, 4, 16, dtype=dtype), random(2, 70, 16, dtype=dtype, seed=1)
    beside, voters = random(7, 2, 16, dtype=dtype, seed=2), torch.tensor([row not in deaf for row in range(5)])
    plain = scan(queries, keys, beside, tally=tally, voters=voters)
    monkeypatch.setattr("maskkv.ops.scan.on_chip", lambda queries: True)
    weights = scan(queries, keys, beside, tally=tally, voters=voters)
    torch.testing.assert_close(weights, plain.exp() if tally == "max" else plain, rtol=2e-5, atol=1e-7)


@ROUNDED
@pytest.mark.parametrize("rows", [None, [6, 0, 3], []])
@pytest.mark.parametrize("hidden", [1030, 7])
def interpreted_join(hidden: int, rows: list[int] | None, dtype: torch.dtype) -> None:
    residual, kept = (random(9, hidden + 2, dtype=dtype, seed=seed)[:, :hidden] for seed in (1, 2))
    fresh = random(9 if rows is None else len(rows), hidden, dtype=dtype, seed=3)
    chosen = None if rows is None else torch.tensor(rows, dtype=torch.long)
    memory, other = kept.contiguous(), kept.contiguous().clone()
    got, wanted = kernels.join(residual, memory, fresh, chosen), fused.join(residual, other, fresh, chosen)
    assert torch.equal(got, wanted)
    assert torch.equal(memory, other)


@ROUNDED
@pytest.mark.parametrize("rows", [None, [4, 0], []])
def interpreted_scatter(rows: list[int] | None, dtype: torch.dtype) -> None:
    """Write to distinct places and nowhere else."""
    places = torch.randperm(40, generator=torch.Generator().manual_seed(0))[:18].view(6, 3)
    vectors = random(6 if rows is None else len(rows), 5, 12, dtype=dtype)[:, 1:4]
    chosen = None if rows is None else torch.tensor(rows, dtype=torch.long)
    got, wanted = (random(40, 12, dtype=dtype, seed=1) for _ in range(2))
    kernels.scatter(got, places, vectors, chosen)
    fused.scatter(wanted, places, vectors, chosen)
    assert torch.equal(got, wanted)


@READ
@pytest.mark.parametrize(("kv_heads", "head_dim"), [(4, 16), (3, 12)])
def interpreted_moved(kv_heads: int, head_dim: int, dtype: torch.dtype) -> None:
    """Leave some rows as they were, turn one round, and make some nothing: before, after, or both times."""
    live = 11
    before = random(3 * live * kv_heads, head_dim, dtype=dtype)
    order = torch.randperm(len(before), generator=torch.Generator().manual_seed(1))
    places = order[: live * kv_heads].view(kv_heads, live).T
    before[places[:2]] = 0
    before[places[6]] *= 1e-12
    old = before[places]
    values = old + 0.1 * random(live, kv_heads, head_dim, dtype=dtype, seed=2)
    values[1:3] = 0
    values[3], values[4], values[5], values[6] = old[3], -old[4], 1e-12 * old[5], 1e12 * old[6]
    wanted = F.cosine_similarity(old.flatten(1).float(), values.flatten(1).float(), dim=-1)
    for new in (values, values.transpose(0, 1).contiguous().transpose(0, 1)):
        torch.testing.assert_close(kernels.moved(before, places, new), wanted, rtol=1e-6, atol=1e-7)


MANY = [float(value) for value in torch.arange(70) * 37 % 11]
numbers = st.sampled_from([-1.0, 0.0, -0.0, 0.25, 0.5, 1.0, float("inf"), float("nan")]) | st.floats(-1, 1, width=32)
choices = st.lists(
    st.lists(numbers, max_size=40).flatmap(lambda own: st.tuples(st.just(own), st.integers(0, len(own)))),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40)
@given(choices, st.sampled_from([torch.int32, torch.int64]))
@example([([0.5] * 33, 17), ([], 0), ([float("nan"), float("nan"), 1.0], 2), ([float("nan")] * 3, 2)], torch.int32)
@example([(MANY, 35), (MANY[:40], 40), ([0.0], 1)], torch.int64)
def interpreted_least(sequences: list[tuple[list[float], int]], kind: torch.dtype) -> None:
    """Choose as a stable sort does, sequence by sequence."""
    wanted, starts, firsts = [], [0], [0]
    for own, count in sequences:
        order = torch.tensor(own).sort(stable=True).indices[:count]
        wanted.append(starts[-1] + order.sort().values)
        starts.append(starts[-1] + len(own))
        firsts.append(firsts[-1] + count)
    similarity = torch.tensor([value for own, _ in sequences for value in own])
    longest = max(len(own) for own, _ in sequences)
    offsets = torch.tensor(starts, dtype=kind), torch.tensor(firsts, dtype=kind)
    got = kernels.least(similarity, *offsets, longest, firsts[-1])
    assert torch.equal(got, torch.cat(wanted))
