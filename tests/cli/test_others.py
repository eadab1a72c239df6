"""`maskkv calibrate`, `demo` and `bench`."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from itertools import accumulate
from pathlib import Path

import pytest

import maskkv
from maskkv import records
from maskkv.bench.options import BenchOptions
from maskkv.calibrate import calibrate
from maskkv.cli import demo
from maskkv.eviction.profile import LayerProfile
from maskkv.mini import sample, tasks
from tests.cli.tiny import save_tiny

ROOT = Path(__file__).parents[2]


def test_calibrate_writes_a_profile_that_generate_takes(run, tiny, tmp_path):
    out = tmp_path / "profile.json"
    ran = run("calibrate", "--model", tiny, "-n", 2, "--length", 100, "--gen-length", 8, "--out", out)
    assert (ran.status, ran.out) == (0, "")
    assert [line.split()[0] for line in ran.err.splitlines()] == ["layer", "0", "1", "2", "wrote"]
    profile = LayerProfile.from_json(out.read_text(encoding="utf-8"))
    assert (profile.n, profile.prompt_length) == (2, 100)
    ran = run("generate", "anna holds 1 .", "--model", tiny, "--profile", out, "--gen-length", 8)
    assert ran.status == 0


def test_calibrate_measures_files_cut_to_length(run, tiny, tmp_path):
    texts = [sample("multi-key", 60, seed).document for seed in (1, 2)]
    files = []
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
        files += ["--file", tmp_path / f"{number}.txt"]
    ran = run("calibrate", "--model", tiny, "--length", 40, "--gen-length", 8, *files)
    llm = maskkv.load(tiny)
    prompts = [llm.text.encode(text)[:40] for text in texts]
    printed = LayerProfile.from_json(ran.out)
    assert printed == calibrate(llm.model, printed.model, prompts, gen_length=8)


def test_a_profile_of_another_model_is_refused(run, refused, tiny, tmp_path):
    other = save_tiny(tmp_path / "other", seed=1)
    run("calibrate", "--model", other, "-n", 1, "--length", 100, "--gen-length", 8, "--out", tmp_path / "p.json")
    said = refused("generate", "anna", "--model", tiny, "--profile", tmp_path / "p.json")
    assert said.startswith("the layer profile was measured on another model (other, ")
    assert said.endswith("make one with `maskkv calibrate`")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("-n", 0), "-n must be at least 1, not 0"),
        (("--length", 0), "--length must be at least 1, not 0"),
        (("--length", 12), "too short"),
        (("-n", 3, "--file", "doc.txt"), "-n counts generated documents"),
        (("--file", "nowhere.txt"), "there is no file nowhere.txt"),
        (("--out", "."), "cannot write .: expected the name of a file"),
        (("--out", "nowhere/profile.json"), "cannot write nowhere/profile.json"),
    ],
)
def test_calibrate_refuses_before_a_model_is_loaded(refused, monkeypatch, tmp_path, args, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("maskkv.api.load_model", None)
    assert says in refused("calibrate", *args)


def counts(out):
    """Read the table of counts: answers, way, right, interval, record."""
    lines = out.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("answers"))
    rows = [re.split(r"\s{2,}", line.rstrip()) for line in lines[start + 1 : lines.index("", start)]]
    kinds = accumulate((row[0] for row in rows), lambda before, own: own or before)
    return [(kind, *row[1:]) for kind, row in zip(kinds, rows, strict=True)]


def test_demo_counts_every_way_within_80_columns(run, tiny):
    ran = run("demo", "--model", tiny, "--length", 60, "--questions", 3)
    assert (ran.status, ran.err) == (0, "")
    assert all(len(line) <= 80 for line in ran.out.splitlines())
    ways = ["full", "maskkv 5 %", "maskkv 5 %, evicted=host"]
    # A random model answers nothing, and no record is about it: 2 short answers, 1 long one.
    assert counts(ran.out) == [
        (kind, way, right, interval, "-")
        for kind, right, interval in [("3 digits", "0 of 2", "0% to 66%"), ("8 to 16 words", "0 of 1", "0% to 79%")]
        for way in ways
    ]
    assert ran.out.count("WRONG") == len(ways)


def test_demo_counts_what_eval_scores(run, tiny, monkeypatch, tmp_path):
    """Of documents 102000 to 102002 the second is said to be answered right."""
    monkeypatch.setattr("maskkv.mini.score", lambda made, text: float(made.seed == 102_001))
    monkeypatch.setattr(demo, "_show_example", lambda llm, asked, ways, tell: None)
    monkeypatch.setattr(demo, "TASKS", {"multi-key": "3 digits", "single-key": "more"})
    found = counts(run("demo", "--seed", 2, "--model", tiny, "--length", 60, "--questions", 5).out)
    args = ("mini", "--policy", "full", "--task", "multi-key", "--length", 60, "-n", 3, "--first-seed", 102_000)
    run("eval", *args, "--model", tiny, "--out", tmp_path)
    (record,) = records.read(tmp_path / "mini.jsonl")
    assert record["scores"] == [0, 1, 0]
    assert [row[2] for row in found] == ["1 of 3"] * 3 + ["1 of 2"] * 3


@pytest.fixture
def asked(run, monkeypatch):
    """Run the demo with no model, and return what it would count, and the records that it would show."""

    def asked(*args):
        seen = []
        with monkeypatch.context() as patch:
            patch.setattr(demo, "load", lambda loading: None)
            patch.setattr(demo, "_first", lambda llm, task: None)
            patch.setattr(demo, "_show_example", lambda llm, asked, ways, tell: None)
            patch.setattr(demo, "_count", lambda llm, tasks, ways: seen.extend((tasks, ways)))
            patch.setattr(demo, "_show_counts", lambda right, recorded: seen.append(recorded))
            assert run("demo", *args).status == 0
        return seen

    return asked


def test_demo_documents_differ_by_seed_and_none_is_recorded_or_trained_on(asked):
    first, second = ({number for task in asked("--seed", seed)[0] for number in task.numbers} for seed in (0, 1))
    assert first == set(range(100_000, 100_012))
    assert not first & second
    (last, _), *_ = asked("--seed", 900_000)
    assert last.numbers[0] + demo.MOST_QUESTIONS <= tasks.FIRST_TRAINING_SEED
    recorded = records.read(ROOT / "results" / "recall" / "mini.jsonl")
    assert max(each["first_seed"] + each["n"] for each in recorded) <= min(first)


def test_demo_asks_for_short_and_long_answers_in_turn(asked):
    assert [(task.name, len(task.numbers)) for task in asked()[0]] == [("multi-key", 12), ("long-value", 12)]
    assert [(task.name, len(task.numbers)) for task in asked("--questions", 1)[0]] == [("multi-key", 1)]


def test_demo_budget_is_a_part_of_the_prompt(asked):
    assert [str(way) for way in asked("--percent", 30)[1]] == ["full", "maskkv 30 %", "maskkv 30 %, evicted=host"]
    assert demo.Way("maskkv", 5.0).variant(1024).budget == 51
    assert demo.Way("maskkv", 0.01).variant(300).budget == 1
    assert demo.Way("full").variant(300).budget is None
    assert demo.Way("maskkv", 5.0, "host").variant(300).policy.recall is not None


@pytest.mark.parametrize("flags", [("--length", 1000), ("--quantize", "int8"), ("--model", "x")])
def test_demo_has_no_record_of_other_lengths_and_models(asked, flags):
    assert asked()[2] == demo.RECORDED
    assert asked(*flags)[2] == {}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--percent", 0), "--percent must be above 0"),
        (("--percent", 101), "at most 100"),
        (("--length", 5), "too short"),
        (("--length", 26), "too short"),
        (("--questions", 1001), "'--questions'"),
        (("--seed", 900_001), "'--seed'"),
    ],
)
def test_demo_refuses_in_one_line(refused, args, says):
    assert says in refused("demo", *args)


@pytest.fixture
def options(run, monkeypatch):
    """Return the options that a command line of `bench` stands for; nothing is measured."""

    def options(*args):
        seen = []
        with monkeypatch.context() as patch:
            patch.setattr("maskkv.bench.compare.compare", lambda given, say: seen.append(given) or {})
            patch.setattr("maskkv.bench.report.show", lambda record, console: None)
            assert run("bench", *args).status == 0
        return seen[0]

    return options


def test_bench_takes_every_option(options, tmp_path):
    assert options() == BenchOptions()
    args = (
        "--shape", "mini", "--device", "cpu", "--dtype", "float16", "--prompt-length", 1, "--prompt-length", 8,
        "--batch-size", 2, "--gen-length", 8, "--policy", "full", "--budget", 3, "--budget", "5%", "--kv-dtype", "int8",
        "--prompt-interval", 7, "--min-confidence", 0.5, "--compile", "--repeats", 5, "--none-steps", 6, "--seed", 7,
        "--json-out", tmp_path / "f",
    )  # fmt: skip
    assert options(*args) == BenchOptions(
        shape="mini", device="cpu", dtype="float16", prompt_length=[1, 8], batch_size=[2], gen_length=8,
        policy=["full"], budget=["3", "5%"], kv_dtype="int8", prompt_interval=7, min_confidence=0.5, compile=True,
        repeats=5, none_steps=6, seed=7, json_out=tmp_path / "f",
    )  # fmt: skip
    assert options("--model", "x", "--drift", 0.2) == BenchOptions(model="x", value_drift=0.2)


def test_bench_times_a_policy_with_changes(run):
    ran = run(
        *("bench", "--shape", "tiny", "--prompt-length", 32, "--gen-length", 8, "--repeats", 1),
        *("--policy", "maskkv(evicted=host)", "--budget", 4),
    )
    (told,) = json.loads(ran.out.splitlines()[-1])["runs"]
    assert [case["policy"] for case in told["cases"]] == ["none", *["maskkv(evicted=host)"] * 2]


def test_bench_lists_its_options_as_they_are_declared(run):
    listed = re.findall(r"^  (--[a-z-]+)", run("bench", "--help-all").out, re.MULTILINE)
    declared = [f"--{field.name.replace('_', '-')}" for field in fields(BenchOptions)]
    assert sorted(listed) == sorted([*declared, "--debug", "--help-all"])


def test_the_module_of_the_benchmark_is_the_command():
    ran = subprocess.run(
        [sys.executable, "-m", "maskkv.bench", "--shape", "huge", "--kv-dtype", "int8"], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("maskkv: error: unknown shape 'huge': expected one of ")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--shape", "huge"), "unknown shape 'huge'"),
        (("--dtype", "int3"), "--dtype int3: expected one of"),
        (("--kv-dtype", "int3"), "int3"),
        (("--policy", "magic"), "unknown policy 'magic'"),
        (("--batch-size", 0), "--batch-size 0: expected at least 1"),
        (("--model", "x", "--shape", "mid"), "give one of them"),
        (("--min-confidence", 0.5, "--value-drift", 0.5), "give one of them"),
    ],
)
def test_bench_refuses_in_one_line_before_a_model_is_made(refused, monkeypatch, args, says):
    monkeypatch.setattr("maskkv.bench.compare.random_model", None)
    assert says in refused("bench", *args)
