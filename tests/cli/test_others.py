"""`maskkv calibrate`, `demo` and `bench`."""

from pathlib import Path

import pytest

import maskkv
from maskkv.bench.__main__ import parser
from maskkv.calibrate import calibrate
from maskkv.cli import demo
from maskkv.cli.bench import BenchFlags
from maskkv.eviction.profile import LayerProfile
from maskkv.mini import sample
from maskkv.text import Text
from tests.cli.tiny import save_tiny


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
    monkeypatch.setattr("maskkv.api.load", None)
    assert says in refused("calibrate", *args)


DOCUMENT = (
    "the baker slept . anna holds 1 2 3 4 . bela carries rope wire lock axe cup pin map jar . cora trusts anna . "
    "anna holds 1 2 3 4 . dirk holds 5 6 7 8 . anna also likes cup pin map . emil holds 0 0 1 1 ."
)


def test_demo_asks_what_the_document_states_and_expects_its_words():
    assert [(each.text, each.answer, each.gen_length) for each in demo.stated(DOCUMENT)] == [
        ("question : anna holds what ?", "anna holds 1 2 3 4 .", 8),
        ("question : bela carries what ?", "bela carries rope wire lock axe cup pin map jar .", 24),
        ("question : dirk holds what ?", "dirk holds 5 6 7 8 .", 8),
        ("question : emil holds what ?", "emil holds 0 0 1 1 .", 8),
    ]


def test_demo_states_the_questions_as_the_tasks_do():
    made = sample("multi-key", 400, 2)
    assert (made.question, made.answer) in [(each.text, each.answer) for each in demo.stated(made.document)]


def test_demo_chooses_short_and_long_answers_in_turn():
    chosen = [each.answer.split()[0] for each in demo.choose(demo.stated(DOCUMENT), 3)]
    assert chosen == ["anna", "bela", "emil"]


def test_demo_shows_three_policies_within_80_columns(run, tiny):
    ran = run("demo", "--model", tiny, "--length", 300, "--questions", 2, "--percent", 5)
    assert (ran.status, ran.err) == (0, "")
    assert all(len(line) <= 80 for line in ran.out.splitlines())
    costs = {line.split()[0]: line.split() for line in ran.out.splitlines()[-3:]}
    assert list(costs) == ["none", "full", "maskkv"]
    # A random model answers nothing: the marks must say so.
    assert all(row[1:4] == ["0", "of", "2"] for row in costs.values())
    assert ran.out.count("WRONG") == 6
    assert "Budget of maskkv: 15 prompt pairs per KV head" in ran.out
    assert costs["maskkv"][4] == "15"


def test_demo_marks_right_answers(run, tiny, monkeypatch):
    right = demo.stated(DOCUMENT)
    monkeypatch.setattr("maskkv.cli.demo.stated", lambda document: right[:1])
    monkeypatch.setattr(Text, "decode", lambda text, ids: "anna holds 1 2 3 4 .")
    ran = run("demo", "--length", 300, "--model", tiny)
    assert (ran.out.count("right"), ran.out.count("WRONG")) == (4, 0)
    assert ran.out.count("1 of 1") == 3


@pytest.mark.parametrize(
    ("args", "says"),
    [(("--percent", 0), "--percent must be above 0"), (("--length", 5), "too short")],
)
def test_demo_refuses_in_one_line(refused, args, says):
    assert says in refused("demo", *args)


def test_bench_has_the_options_of_the_module():
    options = BenchFlags(
        shape="mini",
        prompt_length=[1, 8],
        batch_size=[2],
        gen_length=2,
        policy=["full"],
        budget=["3", "5%"],
        doubt=0.5,
        kv_dtype="int8",
        compile=True,
        repeats=5,
        none_steps=6,
        seed=7,
        json_out=Path("f"),
    )
    parsed = vars(parser().parse_args(options.arguments()))
    assert parsed == {
        "shape": "mini", "model": None, "device": "auto", "dtype": None, "prompt_length": [1, 8], "batch_size": [2],
        "gen_length": 2, "policy": ["full"], "budget": ["3", "5%"], "prompt_interval": None, "doubt": 0.5,
        "drift": None, "kv_dtype": "int8", "compile": True, "repeats": 5, "none_steps": 6, "seed": 7,
        "json_out": Path("f"),
    }  # fmt: skip
    assert BenchFlags().arguments() == []


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--shape", "huge"), "unknown shape 'huge'"),
        (("--dtype", "int3"), "--dtype int3: expected one of"),
        (("--kv-dtype", "int3"), "int3"),
        (("--policy", "magic"), "unknown policy 'magic'"),
        (("--batch-size", 0), "--batch-size 0: expected at least 1"),
        (("--model", "x", "--shape", "mid"), "give one of them"),
        (("--doubt", 0.5, "--drift", 0.5), "give one of them"),
    ],
)
def test_bench_refuses_in_one_line(refused, args, says):
    assert says in refused("bench", *args)
