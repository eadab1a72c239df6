"""The engine on a pretended CUDA device: the CPU's tokens, no devices mixed, and hardly a question to the host."""

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch

from maskkv import memory, mixing, policies
from maskkv.api import LanguageModel
from maskkv.cache import PackedCache, Refresh
from maskkv.calibrate import importance
from maskkv.checks import KV_DTYPES
from maskkv.decoding.engine import Engine
from maskkv.eval.observe import Observation, observe
from maskkv.eviction.policy import Policy
from maskkv.eviction.profile import LayerProfile
from maskkv.eviction.recall import INDEXES
from maskkv.generation import Generation
from maskkv.lens.budget_sweep import BudgetSweep, sweep
from maskkv.ops import quantised_kv, ragged
from maskkv.text.tokenizer import Text
from tests.emulated import Counts, moved, pretended
from tests.emulated_graphs import Graph
from tests.reference import CONFIGS, SDAR, RecordingTransformer, random_model, random_prompt

MASKKV = policies.named("maskkv")
SNAPKV, PYRAMIDKV, NONE, FULL = (policies.named(name) for name in ("snapkv", "pyramidkv", "none", "full"))
PROFILE = LayerProfile(model="", fingerprint="", n=1, prompt_length=9, importance=(0.3, 0.5), spread=(0.0, 0.0))
FAMILIES = pytest.mark.parametrize("family", CONFIGS)

Asked = tuple[int, dict[str, object], Policy, int | None]
"""A sequence: the prompt's length, what its generation differs in, the policy and the budget."""


def alike(*options: dict[str, object]) -> list[Asked]:
    return [(20 + index, own, MASKKV, 3) for index, own in enumerate(options)]


def changed(policy: Policy, *changes: dict[str, object]) -> list[Asked]:
    return [(21, {}, mixing.mix(policy, **own), 3) for own in changes]


TOGETHER: dict[str, list[Asked]] = {
    "policies": [(19, {}, policies.named(name), 3) for name in policies.names()],
    "voters": changed(
        MASKKV,
        *({"voters": voters} for voters in ("block", "mask-part:2/3", "mask-first:3", "last:5", "prompt", "all")),
        *({"voters": "mask-last:3", "tally": tally} for tally in ("max", "rising", "falling")),
    ),
    "parts": [
        *changed(MASKKV, {"pooled": True, "kernel": 3}, {"value_weighted": True}, {"revote": False}),
        *changed(MASKKV, {"layer_budget": "squeezeattention"}, {"head_budget": "adakv"}, {"layer_budget": "pyramidkv"}),
        *changed(SNAPKV, {"protect_window": True}, {"kernel": 1}),
        *changed(PYRAMIDKV, {"protect_window": True}),
    ],
    "recall": changed(
        MASKKV,
        *({"evicted": "host", "index": index} for index in INDEXES),
        {"evicted": "host", "host_dtype": "int8", "recall_voters": "mask"},
        {"evicted": "host", "recall_interval": 2, "recall_tally": "sum"},
    ),
    "LLaDA's sampler": alike(
        {"temperature": 0.7},
        {"remasking": "random"},
        {"confidence_eos_eot_inf": True},
        {"remasking": "random", "confidence_eos_eot_inf": True, "temperature": 0.7, "logits_eos_inf": True},
        {"threshold": 0.5},
        {"factor": 1.5},
        {"steps": 4},
        {"stop_at_eos": True},
    ),
    "Dream's sampler": alike(
        *({"alg": alg} for alg in ("maskgit_plus", "topk_margin", "entropy", "origin")),
        {"alg": "maskgit_plus", "temperature": 0.7, "top_p": 0.9, "alg_temp": 0.3},
        {"alg": "entropy", "temperature": 0.7, "top_k": 9},
        {"alg": "origin", "temperature": 0.7},
    ),
    "clocks": [
        *alike(
            {"min_confidence": 0.4}, {"value_drift": 0.05}, {"value_drift": 9.0, "cfg_scale": 0.5}, {"one_pass": True}
        ),
        *alike({"transfer_ratio": 0.0}, {"transfer_ratio": 1.0}, {"cfg_scale": 1.0}),
        (20, {"cfg_scale": 1.0}, NONE, None),
        (20, {}, NONE, None),
        (20, {}, FULL, None),
        (2, {}, MASKKV, 1),
        (1, {}, MASKKV, 1),
        (30, {"gen_length": 3}, MASKKV, None),
    ],
}
"""Sequences that run side by side."""


def model(family: str, dtype: torch.dtype = torch.float32, layers: int = 2, chunk_rows: int = 1024):
    return random_model(replace(CONFIGS[family], num_layers=layers), seed=1, chunk_rows=chunk_rows).to(dtype)


def engine(own: RecordingTransformer, asked: list[Asked], kv_dtypes=("auto",), **options: object) -> Engine:
    """Let sequences in; they take the `kv_dtypes` in turn."""
    made = Engine(own, **options)
    for index, (length, changes, policy, budget) in enumerate(asked):
        schedule = {"gen_length": 6, "block_length": 3, "stop_at_eos": False, "prompt_interval": 4}
        generation = Generation(**{**schedule, "response_interval": 2, **changes})
        prompt, kv_dtype = random_prompt(own.config, length), kv_dtypes[index % len(kv_dtypes)]
        made.add(prompt, generation, policy, budget, kv_dtype=kv_dtype)
    return made


def tokens(running: Engine, leaving: int = 0) -> list[tuple[object, ...]]:
    """Run to the end, and forget one sequence on the way; return what every step did."""
    done: list[tuple[object, ...]] = []
    while steps := running.step():
        done += [(step.sequence, step.index, step.refresh, step.positions, step.tokens) for step in steps]
        if steps[0].index == 2:
            running.remove(leaving)
    return done


@pytest.mark.parametrize(
    ("group", "family"), [*((group, "dream") for group in TOGETHER), ("policies", "llada"), ("clocks", "llada")]
)
def test_tokens_are_the_cpus_and_no_devices_mix(group: str, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether pairs are read bucket by bucket (LLaDA), or by the variable-length kernel (Dream)."""
    own, kernel = model(family, chunk_rows=48), family == "dream"
    given = {"asked": TOGETHER[group], "kv_dtypes": KV_DTYPES, "profile": PROFILE if kernel else None}
    expected = tokens(engine(own, **given))
    if kernel:
        monkeypatch.setattr(ragged, "HALF", (torch.float32,))
    with pretended() as counts:
        assert tokens(engine(moved(own), **given)) == expected
    assert any("_varlen_attn" in spot for spot in counts.launches) == kernel
    assert not counts.mixed


def test_half_precision_mixes_no_devices_either() -> None:
    """Its tokens are not compared with the CPU's: the kernels of either round in their own way."""
    asked = [*TOGETHER["policies"][::4], *TOGETHER["clocks"][::3]]
    with pretended() as counts:
        tokens(engine(moved(model("dream", torch.bfloat16)), asked, kv_dtypes=KV_DTYPES))
    assert any("_varlen_attn" in spot for spot in counts.launches)
    assert not counts.mixed


@FAMILIES
def test_what_looks_into_a_model_mixes_no_devices(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda device: 2**40)  # the pretended device has none
    own = model(family)
    prompt, settings = random_prompt(own.config, 20), Generation(gen_length=4, block_length=4)

    def look(at: RecordingTransformer) -> tuple[tuple[float, ...], Observation, BudgetSweep]:
        llm = LanguageModel(at, Mock(spec=Text))
        return importance(at, prompt, 4), observe(llm, prompt, settings), sweep(llm, prompt, settings, MASKKV, 3)

    expected = look(own)
    with pretended() as counts:
        measured, seen, swept = look(moved(own))
    assert not counts.mixed
    assert measured == pytest.approx(expected[0])
    assert torch.tensor(seen.mask) == pytest.approx(torch.tensor(expected[1].mask))
    assert swept.order == expected[2].order


BETWEEN = {"gen_length": 16, "block_length": 8, "prompt_interval": 50, "response_interval": 4}
"""Nothing but steps between refreshes, after the first."""


def steady(own: RecordingTransformer, asked: list[Asked], **options: object) -> list[tuple[Refresh, Counts, Counts]]:
    """Return what steps between refreshes ask of the device, the first two of each kind left out.

    Beside its kind these are the counts of the whole step and of the pass through the model that is part of it.
    """
    asked = [(length, {**BETWEEN, **changes}, policy, budget) for length, changes, policy, budget in asked]
    passes: list[Counts] = []
    found: list[tuple[Refresh, Counts, Counts]] = []
    seen: Counter[Refresh] = Counter()
    with pretended() as counts:
        there = moved(own)

        def watched(*given: object) -> torch.Tensor:
            before = deepcopy(counts)
            hidden = RecordingTransformer.forward(there, *given)
            passes.append(counts.since(before))
            return hidden

        there.forward = watched
        running = engine(there, asked, cuda_graphs=False, **options)
        for _ in range(14):
            before = deepcopy(counts)
            passes.clear()
            there.asked.clear()
            (kind,) = {step.refresh for step in running.step()}
            seen[kind] += 1
            if kind is not Refresh.PROMPT and seen[kind] > 2:
                found.append((kind, counts.since(before), *passes))
                assert len(there.asked) == 1, "the vocabulary matrix is read once"
    assert {kind for kind, _, _ in found} == {Refresh.RESPONSE, Refresh.PARTIAL}
    return found


RULES = [
    {},
    {"temperature": 0.7, "remasking": "random", "confidence_eos_eot_inf": True, "logits_eos_inf": True},
    {"min_confidence": 1e-9},
    {"value_drift": 9.0},
    {"alg": "entropy", "temperature": 0.7, "top_p": 0.9, "top_k": 9, "alg_temp": 0.1},
]


@pytest.mark.parametrize("rules", [*([rule] for rule in RULES), RULES * 6 + RULES[:2]], ids=len)
def test_a_step_waits_for_the_device_a_few_times_at_most(rules: list[dict[str, object]]) -> None:
    """With one sequence as with 32."""
    for _, step, _ in steady(model("llada", torch.bfloat16), [(12, rule, MASKKV, 3) for rule in rules]):
        assert sum(step.syncs.values()) <= 3, step.syncs


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_layer_meets_the_host_between_refreshes(dtype: torch.dtype, kv_dtype: str) -> None:
    """Only what is given to the model goes to the device, the tokens; in a graph not even they."""
    asked = [(20, {"value_drift": 9.0, "cfg_scale": 1.0}, MASKKV, 3)]
    for _, _, in_pass in steady(model("dream", dtype), asked, kv_dtypes=[kv_dtype]):
        assert not in_pass.syncs
        assert list(in_pass.copies.values()) == [1]


@pytest.mark.parametrize("policy", [name for name in policies.names() if policies.named(name).cached])
@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize("profile", [PROFILE, None], ids=["profile", "no profile"])
def test_a_layer_of_a_prompt_refresh_waits_once(policy: str, kv_dtype: str, profile: LayerProfile | None) -> None:
    """For how the heads share; without a profile also for what the layer before was worth. However many chunks."""
    waits = []
    for layers in (3, 5):
        with pretended() as counts:
            known = None if profile is None else replace(profile, importance=(0.4, 0.1, 0.2, 0.3, 0.6)[:layers])
            asked = [(150, BETWEEN, policies.named(policy), 3)]
            own = moved(model("dream", torch.bfloat16, layers, chunk_rows=8))
            running = engine(own, asked, profile=known, kv_dtypes=[kv_dtype], cuda_graphs=False)
            running.step()
            waits.append(sum(counts.syncs.values()))
            before = deepcopy(counts)
            running.step()
            assert sum(counts.since(before).syncs.values()) <= 3, "the first step after a refresh"
    a_layer = (waits[1] - waits[0]) / 2
    unknown = profile is None and policies.named(policy).needs_importance(3, 150)
    # AdaKV settles ties of what it pools, and counts each head's pairs.
    assert a_layer <= 1 + unknown * 2 + (policy == "adakv") * 2, counts.syncs


LAUNCHES = {Refresh.PARTIAL: 84, Refresh.RESPONSE: 52}
"""Kernels that a layer past the first starts for one sequence in half precision, by the estimate, and a tenth."""


def test_a_layer_starts_few_kernels() -> None:
    few, many = (steady(model("llada", torch.bfloat16, layers), [(20, {}, MASKKV, 3)]) for layers in (2, 4))
    for (kind, _, small), (_, _, large) in zip(few, many, strict=True):
        a_layer = (large.launches.total() - small.launches.total()) / 2
        assert a_layer <= LAUNCHES[kind] * 1.1, large.launches


@pytest.mark.parametrize(("family", "dtype"), [("llada", torch.float32), ("dream", torch.bfloat16)])
def test_a_replayed_graph_does_what_the_pass_does(family: str, dtype: torch.dtype) -> None:
    """To the last bit, over prompt refreshes, and with sequences that finish at their own time."""
    schedule = {"gen_length": 12, "block_length": 4, "prompt_interval": 6, "response_interval": 2}
    asked = [
        *((20, {**schedule, "value_drift": drift}, MASKKV, 3) for drift in (0.05, 9.0)),
        (9, {**schedule, "cfg_scale": 1.0}, FULL, None),
        (9, {**schedule, "gen_length": 8, "transfer_ratio": 0.0}, SNAPKV, 2),
    ]
    own = model(family, dtype)
    runs = []
    with pretended() as counts:
        for cuda_graphs in (False, True):
            running, steps = engine(moved(own), asked, kv_dtypes=KV_DTYPES[:2], cuda_graphs=cuda_graphs), []
            while done := running.step():
                steps += [(step.sequence, step.positions, step.tokens, step.confidences) for step in done]
                steps += [tuple(float(each) for each in running[step.sequence].moved) for step in done]
            runs.append(steps)
            assert (counts.graphs["captured"] > 0) == cuda_graphs
    assert runs[0] == runs[1]
    assert counts.graphs["replayed"] > counts.graphs["captured"] == counts.graphs["dropped"]


def test_passes_between_recalls_are_replayed() -> None:
    """What is held changes in place, so a graph that was captured before a recall is right after it."""
    asked: list[Asked] = [(20, BETWEEN, mixing.mix(MASKKV, evicted="host", recall_interval=3), 3)]
    own, runs = model("dream", torch.bfloat16), []
    with pretended() as counts:
        for cuda_graphs in (False, True):
            running, steps = engine(moved(own), asked, cuda_graphs=cuda_graphs), []
            while done := running.step():
                steps += [(step.positions, step.tokens, step.confidences, running[0].kept()) for step in done]
            runs.append(steps)
    assert runs[0] == runs[1]
    assert len({str(kept) for *_, kept in runs[0]}) > 3
    assert counts.graphs["replayed"] > counts.graphs["captured"] > 0


IN_BLOCKS: list[Asked] = [
    *((length, {}, policies.named(name), 3) for length, name in ((17, "maskkv"), (16, "full"), (9, "snapkv"))),
    (13, {"threshold": 0.3}, mixing.mix(MASKKV, evicted="host"), 4),
    (22, {"remasking": "sequential"}, MASKKV, 5),
    (3, {"temperature": 0.7}, MASKKV, 2),
    (14, {}, NONE, None),
]


def in_blocks(own: RecordingTransformer, asked: list[Asked], **options: object) -> Engine:
    """Let sequences of a block-causal model in."""
    made = Engine(own, **options)
    for index, (length, changes, policy, budget) in enumerate(asked):
        generation = Generation(**{"gen_length": 16, "stop_at_eos": False, **changes})
        kv_dtype = KV_DTYPES[index % len(KV_DTYPES)]
        made.add(random_prompt(own.config, length), generation, policy, budget, kv_dtype=kv_dtype)
    return made


@pytest.mark.parametrize("kernel", [False, True])
def test_block_causal_tokens_are_the_cpus(kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    own = random_model(SDAR, seed=1, chunk_rows=7)
    expected = tokens(in_blocks(own, IN_BLOCKS))
    if kernel:
        monkeypatch.setattr(ragged, "HALF", (torch.float32,))
        monkeypatch.setattr(quantised_kv, "HALF", (torch.float32,))
    with pretended() as counts:
        assert tokens(in_blocks(moved(own), IN_BLOCKS)) == expected
    assert any("_varlen_attn" in spot for spot in counts.launches) == kernel
    assert not counts.mixed


def test_a_graph_is_replayed_over_blocks() -> None:
    """Segments grow, and live rows move on, in place: what was captured in one block is right in the next."""
    own, runs = random_model(SDAR, seed=1).to(torch.bfloat16), []
    asked = [each for each in IN_BLOCKS if each[2].cached and each[2].evicted == "drop"]
    with pretended() as counts:
        for cuda_graphs in (False, True):
            running, steps = in_blocks(moved(own), asked, cuda_graphs=cuda_graphs), []
            while done := running.step():
                steps += [(step.sequence, step.positions, step.tokens, step.confidences) for step in done]
            runs.append(steps)
    assert runs[0] == runs[1]
    assert counts.graphs["replayed"] > 4 * counts.graphs["captured"] > 0


HAPPENED = ("captured", "replayed", "dropped")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_pass_is_run_then_captured_then_replayed(dtype: torch.dtype) -> None:
    """Over a prompt refresh too, where no shape depends on how the vote splits a layer's pairs among its heads."""
    options, in_buckets = {**BETWEEN, "prompt_interval": 8, "response_interval": 3}, dtype == torch.float32
    with pretended() as counts:
        there = moved(model("llada", dtype))
        running = engine(there, [(20, options, MASKKV, 3)])

        def step() -> tuple[str, int, int, int, int]:
            """Tell what the step refreshed, how often the model ran, and what became of graphs."""
            there.rows_run.clear()
            before = deepcopy(counts)
            (done,) = running.step()
            graphs = counts.since(before).graphs
            return (done.refresh.value, len(there.rows_run), *(graphs[name] for name in HAPPENED))

        seen = [step() for _ in range(11)]
        before = deepcopy(counts)
        running.remove(0)
        assert counts.since(before).graphs == {"dropped": 2}
        running.add(random_prompt(there.config, 21), Generation(**options), MASKKV, 3)
        seen += [step() for _ in range(2)]
    replayed, captured = (0, 0, 1, 0), (1, 1, 1, 0)
    refreshed = [("response", 1, 1, 1, 2), ("partial", *captured)] if in_buckets else None
    assert seen == [
        ("prompt", 1, 0, 0, 0),
        ("partial", 1, 0, 0, 0),
        ("partial", *captured),
        ("response", 1, 0, 0, 0),
        ("partial", *replayed),
        ("partial", *replayed),
        ("response", *captured),
        ("partial", *replayed),
        ("prompt", 1, 0, 0, 0),
        *(refreshed or [("response", *replayed), ("partial", *replayed)]),
        ("prompt", 1, 0, 0, 0),
        ("partial", *captured),  # all of its kernels are known
    ]


@pytest.mark.parametrize(
    ("owner", "name"), [(PackedCache, "attend"), (Graph, "record"), (Graph, "replay")], ids=["run", "capture", "replay"]
)
def test_a_pass_that_fails_is_dropped_with_its_graphs(owner: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sequences run alone, uncaptured, until their prompt is read again; what they commit stays the same."""
    options = {**BETWEEN, "temperature": 0.8, "prompt_interval": 8, "response_interval": 3}
    asked: list[Asked] = [(20, options, MASKKV, 3), (21, {**options, "prompt_interval": 7}, MASKKV, 4)]
    own, right = model("llada"), getattr(owner, name)

    def run(running: Engine) -> Iterator[list[tuple[object, ...]]]:
        while steps := running.step():
            yield [(step.sequence, step.index, step.refresh, step.positions, step.tokens) for step in steps]

    expected = list(run(engine(own, asked)))
    failed: list[int] = []
    with pretended() as counts:

        def fail(*given: object) -> object:
            if not failed:
                failed.append(counts.graphs["captured"])
                raise RuntimeError("the device is out of order")
            return right(*given)

        monkeypatch.setattr(owner, name, fail)
        seen = []
        for done in run(engine(moved(own), asked)):
            if failed and len(failed) == 1:
                failed.append(counts.graphs["captured"] - counts.graphs["dropped"])
            seen.append(done)
    assert seen == expected
    assert failed[1] == 0, "no graph is left"
    assert counts.graphs["replayed"] > 0, "and later there are new ones"


def test_without_graphs_nothing_is_captured() -> None:
    with pretended() as counts:
        tokens(engine(moved(model("llada")), [(20, {}, MASKKV, 3)], cuda_graphs=False))
    assert not counts.graphs
