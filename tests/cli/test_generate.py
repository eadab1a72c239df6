"""`maskkv generate`: what it prints where, and which of its inputs it refuses."""

import io
import json
from dataclasses import fields
from typing import get_type_hints

import pytest

import maskkv
from maskkv.cli.flags import GENERATION_HELP
from maskkv.generation import Generation
from maskkv.loading import Loading
from maskkv.mini import sample

SAMPLE = sample("multi-key", 120, 3)
SHORT = ("--gen-length", 8)


class Stdin:
    def __init__(self, raw):
        self.buffer = io.BytesIO(raw)


@pytest.fixture
def doc(tmp_path):
    path = tmp_path / "doc.txt"
    path.write_text(SAMPLE.document + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def expected(tiny):
    return maskkv.load(tiny).generate(SAMPLE.content, policy="maskkv", budget=4, gen_length=8)


def test_answer_is_all_of_stdout_and_the_summary_goes_to_stderr(run, tiny, doc, expected):
    ran = run("generate", "--model", tiny, "--file", doc, "--question", SAMPLE.question, "--budget", 4, *SHORT)
    assert (ran.status, ran.out) == (0, expected.text + "\n")
    kept, cost, sure = ran.err.splitlines()
    assert kept.startswith(f"maskkv: kept 4.0 of {expected.prompt_length} prompt pairs per KV head, cache ")
    assert cost.startswith("8 steps in ")
    assert sure == f"least sure of its tokens: {min(expected.confidences):.0%}"


def test_json_is_one_object_with_the_fields_of_result(run, tiny, expected):
    ran = run("generate", "--model", tiny, SAMPLE.content, "--budget", 4, "--json", *SHORT)
    printed = json.loads(ran.out)
    assert (ran.status, ran.err, ran.out.count("\n")) == (0, "", 1)
    assert list(printed) == [field.name for field in fields(maskkv.Result)]
    for name in ("text", "tokens", "prompt_length", "steps", "policy", "budget", "cache_bytes", "kept"):
        assert printed[name] == getattr(expected, name), name


def test_evicted_pairs_wait_on_the_host_and_come_back(run, tiny, expected):
    asked = ("generate", "--model", tiny, SAMPLE.content, "--budget", 4, "--evicted", "host")
    printed = json.loads(run(*asked, "--json", *SHORT).out)
    assert (printed["policy"], printed["evicted"], printed["cache_bytes"]) == (
        "maskkv(evicted=host)",
        "host",
        expected.cache_bytes,
    )
    # 3 layers, 2 heads, two vectors of 8 numbers of 4 bytes for every token of the prompt.
    assert printed["host_bytes"] == 3 * 2 * 2 * 8 * 4 * expected.prompt_length
    assert printed["recalled"] > 0
    kept = run(*asked, *SHORT).err.splitlines()[0]
    assert kept.endswith(f" in host memory; {printed['recalled']:,} pairs came back")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--evicted", "disk"), "evicted 'disk': expected drop, host or device"),
        (
            ("--policy", "full", "--evicted", "host"),
            "policy 'full' evicts nothing: evicted=host needs a policy that does",
        ),
        (("--index", "int4"), "index=int4: 'maskkv' drops what it evicts; evicted=host lets pairs come back"),
        (
            ("--evicted", "host", "--recall-interval", "0"),
            "recall_interval must be a whole number of at least 1, not 0",
        ),
        (("--evicted", "host", "--host-dtype", "int4"), "host_dtype 'int4': expected one of auto, int8"),
    ],
)
def test_a_recall_that_cannot_be_is_refused_in_one_line(refused, tiny, flags, says):
    assert says in refused("generate", "--model", tiny, "text", *flags)


def test_kept_pairs_may_take_8_bits(run, tiny, expected):
    ran = run("generate", "--model", tiny, SAMPLE.content, "--budget", 4, "--kv-dtype", "int8", "--json", *SHORT)
    printed = json.loads(ran.out)
    assert printed["kv_dtype"] == "int8"
    assert printed["kept"] == expected.kept
    # 3 layers, 2 heads, 4 pairs of 2 vectors of 8 numbers: a byte each and 2 for the scale, not 4 each.
    assert printed["cache_bytes"] == expected.cache_bytes - 3 * 2 * 4 * 2 * (8 * 4 - (8 + 2))
    ran = run("generate", "--model", tiny, "anna", "--kv-dtype", "int4", *SHORT)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "maskkv: error: kv_dtype 'int4': expected one of auto, int8, fp8\n"


def test_dash_reads_standard_input(run, tiny, expected, monkeypatch):
    # With the mark that some editors put in front of UTF-8.
    monkeypatch.setattr("sys.stdin", Stdin(b"\xef\xbb\xbf" + SAMPLE.document.encode()))
    ran = run("generate", "-", "--question", SAMPLE.question, "--model", tiny, "--budget", 4, *SHORT)
    assert (ran.status, ran.out) == (0, expected.text + "\n")


def test_raw_leaves_the_chat_template_out(run, tiny, expected):
    ran = run("generate", SAMPLE.prompt, "--raw", "--model", tiny, "--budget", 4, *SHORT)
    assert ran.out == expected.text + "\n"


def test_without_a_cache_the_summary_says_so(run, tiny):
    ran = run("generate", "anna holds 1 .", "--policy", "none", "--model", tiny, *SHORT)
    assert ran.err.startswith("none: no cache (")


@pytest.mark.parametrize(("policy", "budget"), [("maskkv", 256), ("full", None), ("none", None)])
def test_default_budget_is_for_policies_that_evict(run, tiny, policy, budget):
    ran = run("generate", "anna holds 1 .", "--policy", policy, "--model", tiny, "--json", *SHORT)
    assert json.loads(ran.out)["budget"] == budget


def test_parts_of_the_policy_are_flags(run, tiny):
    flags = ("--layer-budget", "uniform", "--head-budget", "uniform", "--voters", "last:4", "--no-revote")
    ran = run("generate", SAMPLE.content, "--model", tiny, "--budget", 3, "--json", *flags, *SHORT)
    printed = json.loads(ran.out)
    assert printed["policy"] == "maskkv(layer_budget=uniform, head_budget=uniform, voters=last:4, revote=False)"
    assert [[len(head) for head in layer] for layer in printed["kept"]] == [[3, 3]] * 3


def test_every_setting_has_a_flag_that_arrives(refused, tiny, monkeypatch):
    """Give each field of `Generation` another value than its own, in two sets that are allowed."""
    common = {"gen_length": 12, "steps": 6, "block_length": 6, "temperature": 0.5, "seed": 7, "prompt_interval": 9,
              "response_interval": 3, "transfer_ratio": 0.5, "stop_at_eos": False, "cfg_scale": 1.5,
              "logits_eos_inf": True}  # fmt: skip
    sets = [
        common | {"remasking": "random", "confidence_eos_eot_inf": True, "shares": "rounded"},
        common | {"alg": "entropy", "alg_temp": 0.1, "eps": 0.01, "top_p": 0.9, "top_k": 5},
        {"threshold": 0.9, "min_confidence": 0.6},
        {"factor": 0.5, "one_pass": True},
        {"value_drift": 0.2},
        {"edit_threshold": 0.5, "max_post_steps": 3, "min_transfer": 2},
    ]
    assert {name for each in sets for name in each} == {field.name for field in fields(Generation)}
    got, llm = [], maskkv.load(tiny)

    def stream(self, prompt, generation, **rest):
        got.append(generation)
        raise maskkv.InputError("enough")

    monkeypatch.setattr("maskkv.api.load_model", lambda *args, **options: llm)
    monkeypatch.setattr(maskkv.LanguageModel, "stream_ids", stream)
    for each in sets:
        flags = [flag for name, value in each.items() for flag in as_flag(name, value)]
        assert refused("generate", "anna", *flags) == "enough"
        assert got.pop() == Generation(**each)


def as_flag(name, value):
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", value]


def test_help_explains_every_setting(run):
    shown = run("generate", "--help-all")
    assert shown.status == 0
    assert list(GENERATION_HELP) == [field.name for field in fields(Generation)]
    said = " ".join(shown.out.split())
    for name in GENERATION_HELP:
        assert f"--{name.replace('_', '-')} " in said
    for name, hint in get_type_hints(Loading, include_extras=True).items():
        assert f"--{name.replace('_', '-')} " in said
        assert hint.__metadata__[0].removesuffix(".") in said


def test_flags_of_the_model_arrive(run, monkeypatch, tmp_path):
    got = []

    def load(loading):
        got.append(loading)
        raise maskkv.InputError("enough")

    monkeypatch.setattr("maskkv.api.load_model", load)
    flags = {
        "--device": "cpu",
        "--dtype": "bf16",
        "--rope-scale": 2.5,
        "--profile": tmp_path / "p.json",
        "--kv-dtype": "int8",
        "--quantize": "int8",
        "--model": "a/b",
    }
    run("generate", "anna", *(part for pair in flags.items() for part in pair), "--compile")
    run("generate", "anna", "--tensor-parallel", 3)
    run("generate", "anna")
    given = Loading("a/b", "cpu", "bf16", 2.5, tmp_path / "p.json", "int8", "int8", compile=True)
    split = Loading(tensor_parallel=3)
    assert got == [given, split, Loading()]
    for field in fields(Loading):
        assert {getattr(given, field.name), getattr(split, field.name)} != {field.default}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "there is no prompt: give TEXT, --file DOC, or - for standard input"),
        ((" \n",), "the prompt is empty"),
        (("anna", "--file", "doc.txt"), "both TEXT and --file are given"),
        (("--file", "nowhere.txt"), "there is no file nowhere.txt: expected a text file"),
        (("--file", "."), ". is a folder: expected a text file"),
        (("anna", "--policy", "snapvk"), "unknown policy 'snapvk': expected one of "),
        (("anna", "--voters", "everybody"), "voters 'everybody': expected mask, mask-last:N, "),
        (("anna", "--policy", "full", "--voters", "mask"), "policy 'full' evicts nothing"),
        (("anna", "--budget", "0"), "budget 0: expected at least 1"),
        (("anna", "--budget", "many"), "budget 'many': expected pairs, as in 256, or a part of the prompt, as in 5%"),
        (("anna", "--budget", "0%"), "budget '0%': expected pairs, as in 256, or a part"),
        (("anna", "--gen-length", "12"), "gen_length must be a multiple of block_length=8: 8 or 16 would fit, not 12"),
        (("anna", "--steps", "12"), "steps must be a multiple of the 8 blocks"),
        (("anna", "--steps", "65"), "steps must be at most gen_length=64"),
        (("anna", "--prompt-interval", "0"), "prompt_interval must be a whole number of at least 1, not 0"),
        (("anna", "--response-interval", "0"), "response_interval must be a whole number of at least 1, not 0"),
        (("anna", "--remasking", "sometimes"), "'sometimes' is not one of 'low_confidence', 'random'"),
        (("anna", "--alg", "best"), "'best' is not one of 'maskgit_plus', "),
        (("anna", "--gen-lenght", "8"), "no such option: --gen-lenght"),
        (("anna", "bela"), "unexpected extra argument"),
    ],
)
def test_bad_input_is_refused_in_one_line_before_a_model_is_loaded(refused, monkeypatch, tmp_path, args, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("maskkv.api.load_model", None)
    assert says in refused("generate", *args)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--model", "nowhere/at-all"), "nowhere/at-all"),
        (("--model", "{tmp}"), "has no config.json"),
        (("--model", "{tiny}", "--device", "abacus"), "abacus"),
        (("--model", "{tiny}", "--dtype", "int1"), "int1"),
        (("--model", "{tiny}", "--rope-scale", "0.5"), "rope_scale 0.5: expected a factor of at least 1"),
        (("--model", "{tiny}", "--profile", "{tmp}/none.json"), "cannot read the layer profile"),
        (("--model", "{tiny}", "--profile", "{tmp}/broken.json"), "not a layer profile"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_in_one_line(refused, tiny, tmp_path, args, says):
    (tmp_path / "broken.json").write_text("{}", encoding="utf-8")
    filled = [arg.format(tmp=tmp_path, tiny=tiny) for arg in args]
    assert says in refused("generate", "anna holds 1 .", *filled, *SHORT)


def test_unknown_words_are_named_with_what_to_do(refused, tiny):
    said = refused("generate", "anna holds a platypus .", "--model", tiny)
    assert "'platypus'" in said
    assert "maskkv sample" in said
    assert "--model" in said


def test_a_long_document_is_counted_first_and_its_length_said(run, tiny, tmp_path):
    path = tmp_path / "long.txt"
    path.write_text(f"anna holds {' ' * 100_000} 1 .", encoding="utf-8")
    ran = run("generate", "--file", path, "--model", tiny, "--budget", 4, *SHORT)
    assert ran.status == 0
    counting, reading, *summary = ran.err.splitlines()
    assert (counting, reading) == ("counting the tokens of 100,015 characters", "reading 6 tokens")
    assert [line.split()[0] for line in summary] == ["maskkv:", "8", "least"]


def test_a_long_document_of_unknown_words_is_refused_in_a_short_line(run, tiny, tmp_path):
    (tmp_path / "long.txt").write_text(f"{'x' * 200_000} {' '.join(f'q{n}' for n in range(2_000))}", encoding="utf-8")
    ran = run("generate", "--file", tmp_path / "long.txt", "--model", tiny)
    counting, refusal = ran.err.splitlines()
    assert (ran.status, counting) == (2, "counting the tokens of 210,890 characters")
    assert "'q3' and 1,996 more; " in refusal
    assert len(refusal) < 300


def test_a_document_that_is_not_utf_8_is_refused(refused, tmp_path):
    (tmp_path / "latin.txt").write_bytes("anna liest für".encode("latin-1"))
    said = refused("generate", "--file", tmp_path / "latin.txt")
    assert said.endswith("latin.txt is not UTF-8 text (byte 0xfc at offset 12): save it as UTF-8")


def test_an_empty_document_is_refused_whatever_the_question(refused, tmp_path):
    (tmp_path / "empty.txt").write_bytes(b"\n")
    assert "the prompt is empty" in refused("generate", "--file", tmp_path / "empty.txt", "--question", "what ?")


def test_debug_shows_the_traceback_and_the_line(run):
    ran = run("generate", "anna", "--budget", 0, "--debug")
    assert ran.status == 2
    assert ran.err.startswith("Traceback")
    assert ran.err.splitlines()[-1].startswith("maskkv: error: budget 0")


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")],
    ids=repr,
)
def test_too_little_memory_is_said_in_one_line(refused, monkeypatch, error):
    def load(*args, **options):
        raise error

    monkeypatch.setattr("maskkv.api.load_model", load)
    assert "out of memory: a shorter prompt" in refused("generate", "anna")


def test_a_bug_is_not_taken_for_bad_input(run, monkeypatch):
    def load(*args, **options):
        raise RuntimeError("no such luck")

    monkeypatch.setattr("maskkv.api.load_model", load)
    with pytest.raises(RuntimeError, match="no such luck"):
        run("generate", "anna")


def test_an_answer_cannot_steer_a_terminal(run, tiny, monkeypatch):
    monkeypatch.setattr("maskkv.text.tokenizer.Text.decode", lambda self, tokens: "a\x1b[2Jb")
    arguments = ("generate", "anna holds 1 .", "--model", tiny, "--budget", 4, "--gen-length", 8)
    assert run(*arguments).out == "a\x1b[2Jb\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert "\x1b" not in run(*arguments).out


def test_percent_is_a_part_of_the_prompts_tokens_rounded_up(run, tiny):
    args = ("generate", "anna holds 1 2 3 4 5 6 7 8 9 .", "--raw", "--model", tiny, "--gen-length", 8, "--json")
    found = json.loads(run(*args, "--budget", "20%").out)
    assert (found["prompt_length"], found["budget"]) == (12, 3)
    assert found["tokens"] == json.loads(run(*args, "--budget", 3).out)["tokens"]
    assert json.loads(run(*args, "--budget", "20%", "--policy", "full").out)["budget"] is None
