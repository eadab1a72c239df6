"""The GPU script runs at toy size on the CPU, and its checks notice what is wrong."""

import argparse
import json
import re
import time
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import varlen

from maskkv.bench.gpu import __main__ as gpu
from maskkv.bench.gpu import kernel_checks, limits, model_checks, pace
from maskkv.bench.gpu.checks import Check, correctness
from maskkv.bench.gpu.clock import Pace, due
from maskkv.bench.gpu.kernels import covered
from maskkv.bench.gpu.subject import Setup, Subject
from maskkv.bench.gpu.verdicts import Verdict
from maskkv.bench.timed import TimedStep, timed_steps
from maskkv.generation import Generation
from maskkv.records import read
from tests.ops.test_segments import loop_kernel

TOY = ["--shape", "tiny", "--device", "cpu", "--dtype", "float32", "--unit", "2", "--budget", "4", "--sequences", "3"]
CPU = torch.device("cpu")
COMMON = {"benchmark", "item", "seconds", "device", "shape", "dtype", "gen_length", "environment"}
GEN = 32


def run(tmp_path, *arguments):
    file = tmp_path / "gpu.jsonl"
    status = gpu.main([*TOY, "--gen-length", str(GEN), "--json-out", str(file), *arguments])
    return status, list(read(file))


def subject(seconds=60.0):
    return Subject("tiny", torch.float32, CPU, 2, GEN, 3, 4, seconds)


def measured(folder, *items):
    status, found = run(folder, *(f"--only={name}" for name in items))
    assert status == 0
    return found


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    return measured(tmp_path_factory.mktemp("gpu"), "card", "maskkv", "profile", "side by side")


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    return measured(tmp_path_factory.mktemp("gpu"), "together", "24 GB", "host", "options")


def test_every_line_says_what_it_is_about(compared, chosen):
    lines = compared + chosen
    assert all(line.keys() >= COMMON for line in lines)
    assert {(line["device"], line["shape"], line["dtype"], line["gen_length"]) for line in lines} == {
        ("cpu", "tiny", "float32", GEN)
    }
    assert not any("error" in line for line in lines)
    assert {line["item"]: line["skipped"] for line in lines if "skipped" in line} == {
        "profile": "needs CUDA", "24 GB": "needs CUDA", "host": "needs CUDA",
    }  # fmt: skip


def of(lines, item):
    return [line for line in lines if line["item"] == item]


def test_maskkv_alone_is_timed_by_kind_and_beside_the_floor(compared):
    assert [line["prompt_length"] for line in of(compared, "maskkv")] == [16, 64]
    for line in of(compared, "maskkv"):
        assert {name: kind["n"] for name, kind in line["steps"].items()} == {"prompt": 1, "partial": 18, "response": 3}
        for kind in line["steps"].values():
            assert 0 < kind["min_ms"] <= kind["median_ms"] <= kind["max_ms"]
            assert kind["over_floor"] == pytest.approx(kind["median_ms"] / kind["floor_ms"], rel=0.05)
        assert len(line["first_ms"]) == 3
        assert line["planned"] > line["weight_bytes"]
        assert line["peak_allocated"] is line["peak_over_plan"] is None


def test_policies_are_compared_at_every_length(compared):
    found = of(compared, "side by side")
    assert [(line["prompt_length"], line["policy"]) for line in found] == [
        (length, policy) for length in (16, 32, 64) for policy in ("none", "full", "maskkv")
    ]
    for none, full, maskkv in (found[start : start + 3] for start in (0, 3, 6)):
        assert none["step_ms"].keys() == {"everything"}
        assert full["step_ms"].keys() == maskkv["step_ms"].keys() == {"prompt", "partial", "response"}
        assert none["response_s"]["paper"] == pytest.approx(GEN * none["step_ms"]["everything"] / 1000, rel=0.01)
        for name, speedup in maskkv["speedup"].items():
            assert speedup == pytest.approx(none["response_s"][name] / maskkv["response_s"][name], rel=0.02)
        assert none["cache_bytes"] == 0 < maskkv["cache_bytes"] < full["cache_bytes"]
        assert maskkv["no_profile"].keys() == {"first_refresh_ms", "response_s", "speedup"}
    assert [line.get("measured_response_s") is not None for line in found] == [False] * 8 + [True]


def test_the_other_items_have_their_numbers(compared, chosen):
    (card,) = of(compared, "card")
    assert min(card["flops_per_s"], card["bytes_per_s"], card["weights_s"]) > 0
    one, many = of(chosen, "together")
    assert (one["sequences"], many["sequences"]) == (1, 3)
    assert one["over_one"] == 1
    assert many["over_one"] == pytest.approx(many["tokens_per_s"] / one["tokens_per_s"], abs=0.01)
    options = of(chosen, "options")
    assert [line["option"] for line in options] == [
        "cuda_graphs", "kv_dtype", "response_interval", "joined projections", "backend", "votes", "backend", "votes",
    ]  # fmt: skip
    assert options[0]["step_ms"].keys() == {"on", "off"}
    products = {name: line for name, line in options[3].items() if name not in {*COMMON, "option"}}
    assert len(products) == 4
    assert all(line["joined_over_apart"] > 0 for line in products.values())
    assert len(options[4]["refresh_ms"]["default"]) == 2
    assert options[5]["share"] > 0


def test_the_checks_pass_here(tmp_path, monkeypatch):
    monkeypatch.setattr(model_checks, "FAMILIES", {"llada": model_checks.FAMILIES["llada"]})
    short = Generation(gen_length=16, prompt_interval=7, response_interval=3, stop_at_eos=False)
    monkeypatch.setattr(model_checks, "GENERATION", short)
    monkeypatch.setattr(model_checks, "DISTINCT", 8)
    monkeypatch.setattr(model_checks, "SETTINGS", model_checks.SETTINGS[:1])
    monkeypatch.setattr(model_checks, "names", lambda: ["snapkv"])
    monkeypatch.setattr(model_checks, "TASKS", model_checks.TASKS[:1])
    status, (line,) = run(tmp_path, "--only", "correctness")
    assert (status, line["failed"]) == (0, [])
    assert line["checks"]["segments"] == {"passed": None, "detail": "needs CUDA"}
    assert sum(check["passed"] is True for check in line["checks"].values()) == 38


def test_without_time_everything_is_named_as_skipped(tmp_path):
    status, lines = run(tmp_path, "--seconds", "0", "--only", "card", "--only", "maskkv")
    assert status == 0
    assert [line["item"] for line in lines] == ["card", "maskkv"]
    assert all(line["skipped"].startswith("needs about 0.1 s") for line in lines)


def test_a_length_that_no_longer_fits_is_named_as_skipped(monkeypatch):
    mean = subject()
    monkeypatch.setattr(Subject, "pass_s", lambda self, length: 1000.0 if length > 16 else 0.0)
    first, second = pace.maskkv(mean)
    assert "steps" in first
    assert second["prompt_length"] == 64
    assert second["skipped"].startswith("needs about 200")


def test_an_item_that_fails_leaves_the_others_and_what_it_had_said(tmp_path, monkeypatch, capsys):
    file = tmp_path / "gpu.jsonl"

    def broken(subject):
        yield {"said": 1}
        assert [line["item"] for line in read(file)] == ["card", "broken"]
        raise RuntimeError("planted")

    def after(subject):
        yield {"said": 2}

    kept = [gpu.ITEMS[0], gpu.Item("broken", broken, 0), gpu.Item("after", after, 0)]
    monkeypatch.setattr(gpu, "ITEMS", kept)
    status, lines = run(tmp_path)
    assert status == 1
    assert [line["item"] for line in lines] == ["card", "broken", "broken", "after"]
    assert lines[2]["error"] == "RuntimeError: planted"
    assert "Traceback" in capsys.readouterr().err


def test_without_a_file_the_lines_are_printed(capsys):
    assert gpu.main([*TOY, "--gen-length", "32", "--only", "card"]) == 0
    assert json.loads(capsys.readouterr().out)["item"] == "card"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--only", "cards"], "--only cards: there is no such item, expected one of card, correctness, maskkv, "),
        (["--gen-length", "20"], "--gen-length 20: expected a multiple of 8 from 32 on"),
        (["--sequences", "0"], "--sequences 0: expected at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(capsys, arguments, says):
    assert gpu.main([*TOY, *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"maskkv: error: {says}")


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "there is no CUDA device here" in capsys.readouterr().err


def test_a_response_is_composed_of_as_many_steps_of_each_kind_as_it_has():
    paper = Generation(gen_length=128, prompt_interval=50, response_interval=5)
    pace = Pace(1000.0, {"partial": [3.0, 3.0], "response": [4.0, 4.0]}, {"partial": 1.0, "response": 2.0})
    total, kinds = 0.0, []
    for index in range(128):
        kinds.append("prompt" if index in (0, 50, 100) else "response" if index % 5 == 0 else "partial")
        after = kinds[len(kinds) - kinds[::-1].index("prompt") :]
        slow = 2 * (kinds[-1] != "prompt" and after.count(kinds[-1]) <= 2)
        total += {"prompt": 1000, "response": 2, "partial": 1}[kinds[-1]] + slow
    assert [kinds.count(kind) for kind in ("prompt", "response", "partial")] == [3, 23, 102]
    assert pace.response(paper) == total == 3 * 1000 + 23 * 2 + 102 + 3 * 2 * 2 * 2
    assert pace.response(replace(paper, one_pass=True)) == 1000 + 25 * 2 + 102 + 2 * 2 * 2
    assert Pace(0.0, {}, {"everything": 7.0}).response(paper) == 128 * 7


def test_the_composed_kinds_are_those_that_an_engine_runs():
    generation = Generation(gen_length=32, prompt_interval=12, response_interval=5, stop_at_eos=False)
    mean = subject()
    ran = timed_steps(mean.open(Setup(20, generation)), CPU, 40)
    assert [each.kind for each in ran] == [due(generation, index) for index in range(32)]


def test_a_pace_is_that_of_the_last_refresh():
    kinds = ["prompt", "partial", "prompt", "partial", "response", "partial", "partial", "partial"]
    times = [TimedStep(kind, float(index)) for index, kind in enumerate(kinds)]
    pace = Pace.of(times)
    assert (pace.prompt, pace.first) == (2.0, {"partial": [3.0, 5.0], "response": [4.0]})
    assert pace.steady == {"partial": 6.5}
    assert Pace(0.0, {}, {"partial": 1.0, "response": 6.0}).mean_step(5) == 2.0


def test_busy_is_what_kernels_cover_together():
    assert covered([(5.0, 7.0), (0.0, 2.0), (1.0, 3.0), (1.5, 1.6)]) == 5.0


@pytest.mark.parametrize("wrong", [False, True])
def test_the_check_of_the_kernel_notices_a_wrong_one(monkeypatch, wrong):
    monkeypatch.setattr(varlen, "varlen_attn", lambda *given: loop_kernel(*given) * (1.02 if wrong else 1))
    assert [verdict.passed for _, verdict in kernel_checks.segments(CPU)] == [not wrong, not wrong]


def test_the_check_of_votes_notices_a_lost_voter(monkeypatch):
    right = kernel_checks.attention_mass
    monkeypatch.setattr(kernel_checks, "attention_mass", lambda queries, *given: right(queries[1:], *[
        each if each is given[0] else each[1:] for each in given
    ]))  # fmt: skip
    verdicts = dict(kernel_checks.votes(CPU))
    assert {name.split(", ")[1] for name, verdict in verdicts.items() if not verdict.passed} == {"sum", "weighted sum"}


def test_the_check_of_tokens_notices_another_answer(monkeypatch):
    right = model_checks.responses
    answers = iter(range(100))

    def one_token_off(*given, **options):
        (response,) = right(*given, **options)
        return [[*response[:-1], (response[-1] + next(answers) % 2) % 60]]

    monkeypatch.setattr(model_checks, "responses", one_token_off)
    monkeypatch.setattr(model_checks, "FAMILIES", {"llada": model_checks.FAMILIES["llada"]})
    assert [verdict.passed for _, verdict in model_checks.tokens(CPU)] == [False] * 4  # of four policies


def test_the_check_of_hidden_states_notices_pairs_that_were_left_out(monkeypatch):
    monkeypatch.setattr(model_checks, "FAMILIES", {"llada": model_checks.FAMILIES["llada"]})
    ((_, right),) = model_checks.hidden_states(CPU)
    right_one = model_checks.PackedCache.attend
    monkeypatch.setattr(model_checks.PackedCache, "attend", lambda *given: right_one(*given) * 0.9)
    ((_, wrong),) = model_checks.hidden_states(CPU)
    assert (right.passed, wrong.passed) == (True, False)


@pytest.mark.parametrize("seed", [0, 1, 2, 6])
def test_random_answers_are_lively_whatever_the_seed(seed):
    for config in model_checks.FAMILIES.values():
        (response,) = model_checks.responses(model_checks.lively_model(config, seed), "none", None, (100,))
        assert len(set(response)) >= model_checks.DISTINCT


def test_a_check_that_raises_has_failed_and_the_others_are_done(monkeypatch, capsys):
    def fine(device):
        yield "fine", Verdict(True, 0.0)

    def broken(device):
        yield "begun", Verdict(True, 0.0)
        raise ValueError("planted")

    monkeypatch.setattr("maskkv.bench.gpu.checks.CHECKS", (Check(broken), Check(fine)))
    (line,) = correctness(subject())
    assert line["failed"] == ["broken"]
    assert line["checks"]["broken"] == {"passed": False, "detail": "ValueError: planted"}
    assert line["checks"]["fine"]["passed"]
    log = gpu.Log({}, lambda line: None)
    log.add("correctness", line)
    assert log.failed
    assert "Traceback" in capsys.readouterr().err


def test_estimates_follow_the_slowest_pass():
    mean = subject()
    mean.learn(64, [TimedStep("prompt", 2.0), TimedStep("partial", 0.5), TimedStep("partial", 0.25)])
    assert mean.pass_s(64) == pytest.approx(2.0)
    assert mean.step_s == 0.5
    mean.learn(64, [TimedStep("prompt", 1.0)])
    assert mean.pass_s(64) == pytest.approx(2.0)
    assert mean.skipped(10.0) == {}
    mean.start = time.perf_counter() - 55
    told = re.fullmatch(r"needs about 10\.0 s, (-?[0-9.]+) s are left", mean.skipped(10.0)["skipped"])
    assert float(told[1]) <= 5.0  # less on a machine that is busy


def test_the_options_have_the_defaults_of_the_design():
    given = gpu.parser().parse_args([])
    assert isinstance(given, argparse.Namespace)
    assert (given.shape, given.dtype, given.device, given.unit) == ("llada-8b", "bfloat16", "cuda", 1024)
    assert (given.seconds, given.gen_length, given.sequences, given.budget) == (420, 128, 32, 256)


@pytest.fixture
def small_card(monkeypatch):
    """Stand in for what of a card's limit only CUDA has; return the fractions that were asked for."""
    fractions = []
    total = argparse.Namespace(total_memory=80 * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: total)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, device: fractions.append(share))
    monkeypatch.setattr(limits, "LIMIT", 10**6)
    return fractions


def test_a_small_card_is_read_on_until_it_is_full(monkeypatch, small_card):
    def full_at_384(engine, device, count):
        if len(engine[0].canvas.tokens) > 384:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return timed_steps(engine, device, count)

    monkeypatch.setattr(limits, "timed_steps", full_at_384)
    planned, first, full, second, third = limits.small_card(subject())
    assert small_card == [10**6 / (80 * 10**9), 1.0]
    longest = planned["planned_longest"]
    assert longest["full"] < min(longest["none"], longest["maskkv"])
    assert (full["policy"], full["prompt_length"]) == ("full", longest["full"] // 2 * 2)
    assert [(line["prompt_length"], line["fits"]) for line in (first, second, third)] == [
        (256, True), (384, False), (512, False),
    ]  # fmt: skip
    assert len(first["steps_ms"]) == 2
    assert first["refresh_s"] > 0
    assert third["out_of_memory"] == "CUDA out of memory"


def test_a_small_card_leaves_time_to_the_items_that_follow(small_card):
    lines = list(limits.small_card(subject(seconds=limits.RESERVE_S - 1.0)))
    assert all("skipped" in line for line in lines[1:])
    assert small_card[-1] == 1.0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "banana"], "--device banana: expected cpu, cuda or cuda:N"),
        (["--seconds", "-3"], "--seconds -3: expected a number from 0 on"),
        (["--seconds", "nan"], "--seconds nan: expected a number from 0 on"),
        (["--json-out", "{folder}"], "this is a folder, expected a file"),
        (["--json-out", "{folder}/file/lines.jsonl"], "cannot write records"),
        (["--json-out", "/proc/lines.jsonl"], "cannot write|No such file|Permission"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_measured(arguments, said, capsys, tmp_path):
    (tmp_path / "file").touch()
    given = [each.format(folder=tmp_path) for each in arguments]
    assert gpu.main([*TOY, "--only", "card", *given]) == 2
    err = capsys.readouterr().err
    assert err.startswith("maskkv: error: ")
    assert err.count("\n") == 1
    assert re.search(said, err)
