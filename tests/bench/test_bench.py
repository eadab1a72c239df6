"""The benchmark prints tables and ends with one line for programs; its random models are sane."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from maskkv import mini, policies
from maskkv.bench.compare import cases, compare, set_up
from maskkv.bench.machine import Machine
from maskkv.bench.measure import Case, Cost, Timing, cost
from maskkv.bench.options import BenchOptions
from maskkv.bench.report import summary
from maskkv.bench.shapes import SHAPES, parameter_count, random_model, random_tokens, shape
from maskkv.cache import NoCache
from maskkv.checkpoints import configs
from maskkv.cli import main
from maskkv.errors import InputError
from maskkv.generation import Generation
from maskkv.models.transformer import Transformer
from maskkv.plan import Shape, Workload
from tests.saved_models import LLADA, published, reference, write

TINY = ["--shape", "tiny", "--prompt-length", "96", "--gen-length", "8", "--repeats", "1"]


@pytest.fixture(autouse=True)
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the machine by little work: where bf16 is emulated, the usual product takes a minute."""
    monkeypatch.setattr("maskkv.bench.machine._SIDE", 64)
    monkeypatch.setattr("maskkv.bench.machine._COPIED", 1 << 20)


def bench(*arguments: str) -> int:
    return main(["bench", *arguments])


def test_it_prints_a_table_and_one_line_of_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "bench.jsonl"
    assert bench(*TINY, "--budget", "8", "--json-out", str(file)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("maskkv 8" in line for line in lines)
    assert any("extrapolated" in line for line in lines)
    record = json.loads(lines[-1])
    assert json.loads(file.read_text()) == record

    assert record["machine"]["flops_per_s"] > 1e6
    assert record["machine"]["bytes_per_s"] > 1e6
    (run,) = record["runs"]
    assert (run["prompt_length"], run["batch_size"]) == (96, 1)
    none, full, maskkv, unprofiled = run["cases"]
    assert [maskkv["profiled"], unprofiled["profiled"]] == [True, False]
    assert any("maskkv 8 †" in line for line in lines)
    assert unprofiled["cache_bytes"] == maskkv["cache_bytes"]
    assert full["over_full"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert unprofiled["over_full"]["median"] > 0
    assert [none["steps_timed"], full["steps_timed"], maskkv["steps_timed"]] == [2, 8, 8]
    assert none["extrapolated"]
    assert not maskkv["extrapolated"]
    # 8 kept pairs per KV head and layer on average, and 8 live rows; 2 layers, 2 KV heads of 8, hidden 32, fp32.
    assert maskkv["cache_bytes"] == 2 * 4 * (2 * 2 * 8 * (8 + 8) + 2 * 32 * 8)
    assert full["cache_bytes"] == 2 * 4 * (2 * 2 * 8 * (96 + 8) + 2 * 32 * 8)
    assert none["cache_bytes"] == 0
    assert none["peak_live_bytes"] > 0
    # Steps 0 and 5 of 8 are refreshes, of the prompt and of the response.
    flops = maskkv["step_flops"]
    assert maskkv["response_flops"] == flops["prompt"] + flops["response"] + 6 * flops["partial"]
    assert none["response_flops"] == 8 * none["step_flops"]["everything"]
    # A step in between reads all weights but the embedding's, and the pairs.
    weights = 4 * (2 * (32 * (2 * 32 + 2 * 16) + 3 * 32 * 64 + 2 * 32) + 32 + 64 * 32)
    assert maskkv["step_moved_bytes"]["partial"] == weights + maskkv["cache_bytes"]
    rates = record["machine"]
    at_least = [flops / rates["flops_per_s"] for flops in maskkv["step_flops"].values()]
    assert all(floor >= least for floor, least in zip(maskkv["step_floor_s"].values(), at_least, strict=True))
    assert maskkv["tokens_per_s"]["median"] > 0
    assert none["tokens_per_s"] is None


def test_lengths_and_batches_are_runs_of_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = [
        "--prompt-length",
        "40",
        "--batch-size",
        "1",
        "--batch-size",
        "3",
        "--budget",
        "8",
        "--policy",
        "maskkv",
    ]
    assert bench("--shape", "tiny", "--gen-length", "8", "--repeats", "1", *arguments) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(run["prompt_length"], run["batch_size"]) for run in record["runs"]] == [(40, 1), (40, 3)]
    assert [case["policy"] for case in record["runs"][0]["cases"]] == ["none", "maskkv", "maskkv"]
    assert record["runs"][0]["cases"][1]["over_full"] is None
    alone, together = (run["cases"][1] for run in record["runs"])
    assert alone["cache_bytes"] == together["cache_bytes"]
    # Prompts are read one by one, what is between runs together.
    assert together["step_flops"] == {kind: 3 * flops for kind, flops in alone["step_flops"].items()}


def test_a_checkpoint_is_given_tokens_that_mean_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever ids its special tokens have: the bundled model's are the first ones."""
    arguments = ["--prompt-length", "24", "--gen-length", "8", "--repeats", "1", "--policy", "full"]
    assert bench("--model", str(mini.folder()), *arguments) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["model"] == str(mini.folder())
    config = replace(shape("tiny"), mask_id=0, pad_id=2, eos_ids=(1, 5))
    drawn = random_tokens(config, 9000, torch.Generator().manual_seed(0))
    assert set(drawn) == set(range(config.vocab_size)) - {0, 1, 2, 5}


def test_what_would_not_fit_is_refused_before_it_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("maskkv.memory.available", lambda device: 10**6)
    assert bench("--shape", "llada-8b") == 2
    assert "this takes about 3" in capsys.readouterr().err


@pytest.mark.parametrize(("native", "dtype", "itemsize"), [(True, "bfloat16", 2), (False, "float32", 4)])
def test_a_checkpoint_has_to_fit_in_the_dtype_that_it_is_loaded_in(
    native: bool,
    dtype: str,
    itemsize: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    narrow = {name: tensor.bfloat16() for name, tensor in published("llada", reference("llada")).items()}
    folder = write(tmp_path, LLADA, narrow)
    monkeypatch.setattr("maskkv.checkpoints.precision.multiplies", lambda device, dtype: native)
    work = Workload(96, Generation(gen_length=8), policies.named("none"))
    peak = Shape(configs.read(folder), itemsize).peak(work)
    arguments = ["--model", str(folder), "--device", "cpu", "--policy", "none", *TINY[2:]]
    monkeypatch.setattr("maskkv.memory.available", lambda device: peak - 1)
    assert bench(*arguments) == 2
    monkeypatch.setattr("maskkv.memory.available", lambda device: peak)
    assert bench(*arguments) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["dtype"] == dtype


def test_what_was_measured_is_printed_where_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(file: Path, record: dict[str, object]) -> None:
        raise InputError(f"cannot write {file}: No space left on device")

    monkeypatch.setattr("maskkv.records.append", full)
    assert bench(*TINY, "--policy", "none", "--json-out", str(tmp_path / "bench.jsonl")) == 2
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["benchmark"] == "policies"
    assert err.splitlines()[-1].endswith("bench.jsonl: No space left on device")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--budget", "0"], "--budget 0: expected at least 1"),
        (["--repeats", "0"], "--repeats 0: expected at least 1"),
        (["--prompt-length", "0"], "--prompt-length 0: expected at least 1"),
        (["--gen-length", "12"], "multiple"),
        (["--json-out", "/"], "this is a folder"),
    ],
)
def test_bad_numbers_get_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    assert bench(*TINY, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert says in err


def test_ratios_are_taken_within_a_repeat_and_parts_extrapolated() -> None:
    none = [Timing(("everything",), (seconds,), (seconds / 2,)) for seconds in (4.0, 10.0, 6.0)]
    own = [Timing(("prompt", "partial"), (seconds, 1.0), (seconds, 1.0), seconds, 4) for seconds in (3.0, 1.0, 2.0)]
    moved = {"everything": 10, "prompt": 10, "partial": 90}
    cost = Cost({"everything": 100, "prompt": 100, "partial": 20}, moved, cache_bytes=7, peak_live_bytes=9)
    machine = Machine(flops_per_s=10.0, bytes_per_s=30.0)
    full = [Timing(("prompt", "partial"), (seconds, 0.0), (seconds, 0.0), seconds, 4) for seconds in (8.0, 1.0, 9.0)]
    cached = summary(Case("maskkv", 4), cost, own, {"none": none, "full": full}, 2, machine)
    assert cached["over_full"] == {"median": 2.0, "min": 0.5, "max": 3.0}
    assert cached["speedup"] == {"median": 4.0, "min": 2.0, "max": 10.0}
    assert cached["cpu_speedup"] == {"median": 2.0, "min": 1.0, "max": 5.0}
    assert cached["steps_per_s"] == {"median": 1 / 1.5, "min": 0.5, "max": 1.0}
    assert cached["step_s"]["prompt"] == {"median": 2.0, "min": 1.0, "max": 3.0}
    assert (cached["response_flops"], cached["extrapolated"]) == (120, False)
    # The operations of a refresh, 100 at 10 a second, and the bytes of a partial step, 90 at 30.
    assert cached["step_floor_s"] == {"everything": 10.0, "prompt": 10.0, "partial": 3.0}
    assert cached["response_floor_s"] == 13.0
    assert cached["tokens_per_s"] == {"median": 4 / 3, "min": 1.0, "max": 2.0}
    assert cached["first_commit_s"] == {"median": 2.0, "min": 1.0, "max": 3.0}
    plain = summary(Case("none"), cost, none, {"none": none}, 64, machine)
    assert plain["over_full"] is None
    assert plain["response_s"] == {"median": 6.0 * 64, "min": 4.0 * 64, "max": 10.0 * 64}
    assert (plain["response_flops"], plain["extrapolated"]) == (6400, True)


def test_random_weights_are_seeded_and_keep_activations_finite() -> None:
    config = replace(shape("tiny"), num_layers=12)
    tokens = torch.arange(60)
    hidden = []
    for seed in (0, 0, 1):
        model = random_model(config, seed)
        with torch.inference_mode():
            x = model(tokens, model.rotation(torch.arange(60)), NoCache())
            assert 0.1 < model.logits(x).std() < 10
        hidden.append(x)
    assert 0.3 < hidden[0].std() < 3
    assert torch.equal(hidden[0], hidden[1])
    assert not torch.equal(hidden[0], hidden[2])


def test_shapes_hold_together() -> None:
    for config in SHAPES.values():
        assert config.qk_norm or config.num_heads * config.head_dim == config.hidden_size
        assert config.num_heads % config.num_kv_heads == 0
        assert max(config.mask_id, *config.eos_ids) < config.vocab_size
    with torch.device("meta"):
        assert parameter_count(Transformer(shape("mid"))) == 25_174_528
    with pytest.raises(InputError, match="mid"):
        shape("huge")


def test_a_part_of_the_prompt_is_a_budget_at_every_length() -> None:
    options = BenchOptions(budget=["10%", "6"], policy=["snapkv"])
    budgets = {length: [case.budget for case in cases(options, length)] for length in (60, 101)}
    # The first is `none`. Of 60 tokens 10% are the 6 pairs asked for by number: one case.
    assert budgets == {60: [None, 6], 101: [None, 11, 6]}


def test_options_reach_the_schedule_and_what_pairs_are_stored_in() -> None:
    options = BenchOptions(gen_length=16, prompt_interval=7, min_confidence=0.5, kv_dtype="int8")
    expected = Generation(gen_length=16, prompt_interval=7, min_confidence=0.5, stop_at_eos=False)
    assert options.generation == expected
    assert BenchOptions(value_drift=0.2).generation == Generation(value_drift=0.2, stop_at_eos=False)
    comparison = set_up(options, random_model(shape("tiny"), 0), 24, 2)
    assert (comparison.generation, comparison.kv_dtype) == (expected, "int8")
    assert [len(prompt) for prompt in comparison.prompts] == [24, 24]
    engine = comparison.open(Case("full"), expected)
    assert [engine[number].settings.kv_dtype for number in (0, 1)] == ["int8", "int8"]


@pytest.mark.parametrize(("compiled", "did"), [(True, ["compile"]), (False, ["pack"])])
def test_layers_are_compiled_only_if_asked(monkeypatch: pytest.MonkeyPatch, compiled: bool, did: list[str]) -> None:
    done: list[str] = []
    monkeypatch.setattr(Transformer, "compile_rows", lambda self: done.append("compile"))
    monkeypatch.setattr(Transformer, "pack_weights", lambda self: done.append("pack"))
    monkeypatch.setattr("maskkv.bench.compare.run", lambda *asked: {})
    record = compare(BenchOptions(shape="tiny", prompt_length=[24], gen_length=8, compile=compiled))
    assert (done, record["compile"]) == (did, compiled)


@pytest.mark.parametrize("rule", [{}, {"min_confidence": 1.0}, {"value_drift": 1e-9}])
def test_a_step_of_each_kind_is_counted_whatever_says_when_the_prompt_is_read(rule: dict[str, float]) -> None:
    options = BenchOptions(gen_length=16, **rule)  # type: ignore[arg-type]
    counted = cost(set_up(options, random_model(shape("tiny"), 0), 24, 1), Case("maskkv", 4))
    assert set(counted.flops) == set(counted.moved) == {"prompt", "response", "partial"}
