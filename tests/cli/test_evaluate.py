"""`maskkv eval` as a newcomer uses it."""

import json

import pytest

from maskkv import records

SMALL = ("--task", "multi-key", "--length", 64, "-n", 2, "--block-length", 4)


def test_a_table_of_scores_and_one_of_what_is_retained(run, tiny, tmp_path):
    variants = ("--policy", "full", "--policy", "maskkv", "--budget", 2, "--budget", 4, "--budget", 2)
    ran = run("eval", "mini", "--model", tiny, "--out", tmp_path, "--markdown", *SMALL, *variants)
    assert ran.status == 0
    titles = [line for line in ran.out.splitlines() if line and not line.startswith("|")]
    assert titles == [
        "exact match, % ± standard error; prompts of 64 tokens, n = 2 per task",
        "% of full's score ± standard error; prompts of 64 tokens, n = 2 per task",
    ]
    assert "| task | full | maskkv 2 | maskkv 4 |" in ran.out
    found = list(records.read(tmp_path / "mini.jsonl"))
    assert [(each["policy_name"], each["budget"]) for each in found] == [("full", None), ("maskkv", 2), ("maskkv", 4)]
    assert {each["first_seed"] for each in found} == {1000}
    assert {each["schedule"]["block_length"] for each in found} == {4}


def test_what_was_answered_is_not_asked_again(run, tiny, tmp_path):
    args = ("eval", "mini", "--model", tiny, "--out", tmp_path, *SMALL)
    first = run(*args)
    held = (tmp_path / "mini.answers.jsonl").read_bytes()
    assert run(*args).out == first.out
    assert (tmp_path / "mini.answers.jsonl").read_bytes() == held


def test_exchanged_parts_go_to_the_policies_that_evict(run, tiny, tmp_path):
    ran = run(
        *("eval", "mini", "--model", tiny, "--out", tmp_path, *SMALL),
        *("--policy", "full", "--policy", "maskkv", "--budget", 4, "--head-budget", "uniform"),
    )
    assert ran.status == 0
    names = [record["policy_name"] for record in records.read(tmp_path / "mini.jsonl")]
    assert names == ["full", "maskkv(head_budget=uniform)"]


def test_both_places_for_evicted_pairs_stand_side_by_side(run, tiny, tmp_path):
    policies = ("--policy", "full", "--policy", "maskkv", "--policy", "maskkv(evicted=host)", "--budget", 4)
    ran = run("eval", "mini", "--model", tiny, "--out", tmp_path, *SMALL, *policies)
    full, drop, host = records.read(tmp_path / "mini.jsonl")
    assert (drop["policy_name"], host["policy_name"]) == ("maskkv", "maskkv(evicted=host)")
    assert (full["mean_recalled"], drop["mean_recalled"], drop["mean_host_bytes"]) == (0, 0, 0)
    assert host["mean_recalled"] > 0
    assert host["mean_cache_bytes"] == drop["mean_cache_bytes"] < full["mean_cache_bytes"]
    assert host["mean_host_bytes"] > 0
    assert "what an answer takes" in ran.out
    flagged = run(
        "eval",
        "mini",
        "--model",
        tiny,
        "--out",
        tmp_path / "b",
        *SMALL,
        *policies[2:4],
        *policies[-2:],
        "--evicted",
        "host",
    )
    assert flagged.status == 0
    (same,) = records.read(tmp_path / "b" / "mini.jsonl")
    assert (same["policy"], same["scores"]) == (host["policy"], host["scores"])


def test_a_shard_alone_says_what_is_missing(run, tiny, tmp_path):
    ran = run("eval", "mini", "--model", tiny, "--out", tmp_path, *SMALL, "--shard", "2/2")
    assert (ran.status, ran.out) == (0, "")
    assert "1 of 1 cells still lack answers of other shards" in ran.err


def test_isolated_answers_have_a_latency(run, tiny, tmp_path):
    assert run("eval", "mini", "--model", tiny, "--out", tmp_path, *SMALL, "--isolated").status == 0
    (record,) = records.read(tmp_path / "mini.jsonl")
    assert record["mean_latency_s"] > 0


def test_a_needle_grid_is_a_table_per_policy_and_budget(run, tiny, tmp_path):
    grid = ("--length", 64, "--length", 80, "--depth", 0, "--depth", 100, "-n", 1)
    variants = ("--policy", "full", "--policy", "maskkv", "--budget", 2)
    ran = run("eval", "niah", "--model", tiny, "--out", tmp_path, "--markdown", *grid, *variants)
    assert ran.status == 0
    assert ran.out.count("| depth | 64 | 80 |") == 2
    assert "full: exact match, %; depth down, length in tokens across, n = 1 each" in ran.out
    assert "| policy | no budget | 2 |" in ran.out
    found = [(each["length"], each["depth"], each["budget"]) for each in records.read(tmp_path / "niah.jsonl")]
    assert found == [(length, depth, budget) for length in (64, 80) for depth in (0, 100) for budget in (None, 2)]


def test_many_policies_and_budgets_become_a_table_of_means(run, tiny, tmp_path):
    budgets = [part for budget in range(2, 12) for part in ("--budget", budget)]
    ran = run("eval", "mini", "--model", tiny, "--out", tmp_path, "--markdown", *SMALL, "--policy", "maskkv", *budgets)
    assert "| policy | no budget | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 |" in ran.out


def test_blocks_and_steps_may_be_any_that_fit_the_examples(run, tiny, tmp_path):
    args = ("eval", "mini", "--model", tiny, "--out", tmp_path, "--task", "multi-key", "--length", 64, "-n", 1)
    assert run(*args, "--block-length", 128, "--steps", 2).status == 0
    (record,) = records.read(tmp_path / "mini.jsonl")
    assert (record["gen_length"], record["mean_steps"]) == (128, 2)


def test_longbench_reads_a_folder(run, tiny, tmp_path):
    (tmp_path / "dataset2prompt.json").write_text('{"hotpotqa": "{context} {input}"}')
    document = {"context": "anna holds 1 2 .", "input": "question : anna holds what ?", "answers": ["anna holds 1 2"]}
    (tmp_path / "hotpotqa.jsonl").write_text(json.dumps(document))
    ran = run(
        *("eval", "longbench", "--data", tmp_path, "--task", "hotpotqa", "--max-length", 50, "--budget", 4),
        *("--model", tiny, "--out", tmp_path / "out", "--block-length", 32, "--markdown"),
    )
    assert ran.status == 0
    assert "f1, % ± standard error; prompts of 50 tokens, n = 1 per task" in ran.out
    assert "| hotpotqa | " in ran.out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("longbench", "--data", "nowhere"), "nowhere is not a folder: expected one with files like hotpotqa.jsonl"),
        (("longbench", "--data", ".", "--task", "trec,chess"), "there is no dataset2prompt.json: put LongBench's"),
        (("lm-eval",), "lm-eval needs names of tasks: give --tasks gsm8k"),
        (("lm-eval", "--tasks", "x", "--jobs", 2), "lm-eval makes its own prompts, in one process"),
        (("lm-eval", "--tasks", "x", "--include-path", "nowhere"), "--include-path nowhere is not a folder"),
        (("mini", "--data", "."), "--data and --prompts are for longbench, mini reads no such files"),
        (("longbench", "--haystack", "x"), "--haystack is for niah, longbench has texts of its own"),
        (("mini", "--tasks", "two-hop,chess"), "unknown task 'chess': mini has single-key, "),
        (("chess",), "unknown benchmark 'chess': expected one of mini, niah, ruler, longbench, lm-eval, observe"),
        (("mini", "--task", "chess"), "unknown task 'chess': mini has single-key, "),
        (("mini", "--policy", "chess"), "unknown policy 'chess': expected one of "),
        (("mini", "--budget", 0), "budget 0: expected at least 1 pair per KV head and layer"),
        (("mini", "--policy", "full", "--voters", "all"), "policy 'full' evicts nothing"),
        (("mini", "--length", 9), "length 9 is too short for"),
        (("mini", "-n", 0), "invalid value for '-n'"),
        (("mini", "--shard", "3"), "shard '3': expected I/N, as in 1/4"),
        (("mini", "--shard", "3/2"), "shard '3/2': expected a part from 1/2 to 2/2"),
        (("mini", "--isolated", "--jobs", 2), "--isolated measures time"),
        (("mini", "--block-length", 0), "block_length must be a whole number of at least 1, not 0"),
        (("mini", "--steps", 3, "--block-length", 4), "steps must be a multiple of the 2 blocks"),
        (("mini", "--haystack", "book.txt"), "--haystack is for niah, mini makes its own text"),
        (("niah", "--depth", 101), "depth 101: expected a percentage from 0 to 100"),
        (("ruler",), "words that the model does not know"),
        (("mini", "--gen-length", 8), "no such option: --gen-length"),
    ],
)
def test_what_cannot_be_measured_is_refused(refused, tiny, tmp_path, args, says):
    assert says in refused("eval", *args, "--model", tiny, "--out", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_records_that_cannot_be_written_are_refused_before_a_model_is_loaded(refused, monkeypatch, tmp_path):
    monkeypatch.setattr("maskkv.api.load_model", None)
    (tmp_path / "file").write_text("", encoding="utf-8")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        assert f"cannot write records to {folder}" in refused("eval", "mini", "--out", folder)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "mini.answers.jsonl",
            b'{"text": "\xff"}\n',
            "mini.answers.jsonl, line 1: not UTF-8, and so not a JSON object",
        ),
        ("mini.answers.jsonl", b"[" * 100_000 + b"\n", "mini.answers.jsonl, line 1: not a JSON object; expected one a"),
        ("mini.answers.jsonl", b'{"a": 1}\n', "mini.answers.jsonl holds a line that is no line of answers"),
        ("mini.answers.jsonl", b"my notes", "mini.answers.jsonl, last line: not a JSON object; expected one a line"),
        ("mini.answers-1-of-2.jsonl", None, "cannot read {}/mini.answers-1-of-2.jsonl: Is a directory"),
        ("mini.answers.jsonl", None, "cannot write {}/mini.answers.jsonl: Is a directory"),
        ("mini.jsonl", None, "cannot read {}/mini.jsonl: Is a directory"),
        ("mini.jsonl", b"3\n", "mini.jsonl, line 1: not a JSON object; expected one a line"),
        ("mini.jsonl", b'{"a": 1}\n', "mini.jsonl holds a line that is no record of scores: move it away"),
    ],
)
def test_a_folder_of_other_things_gets_one_line_and_stays(refused, tiny, tmp_path, name, content, says):
    if content is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(content)
    assert says.format(tmp_path) in refused("eval", "mini", "--model", tiny, "--out", tmp_path, *SMALL)
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert content is None or (tmp_path / name).read_bytes() == content


def test_a_second_run_into_the_same_folder_gets_one_line(refused, tiny, tmp_path):
    for name, file in (("mini", "mini.answers.jsonl"), ("observe", "observe.jsonl")):
        with records.Journal(tmp_path / file):
            said = refused("eval", name, "--model", tiny, "--out", tmp_path, *SMALL)
        assert said == f"another run writes to {tmp_path / file}: wait until it has ended, or write elsewhere"


def test_an_answer_whose_last_character_is_cut_in_half_is_asked_again(run, tiny, tmp_path):
    args = ("eval", "mini", "--model", tiny, "--out", tmp_path, *SMALL)
    first, file = run(*args), tmp_path / "mini.answers.jsonl"
    held = file.read_bytes()
    file.write_bytes(held + '{"benchmark": "mini", "text": "€'.encode()[:-1])
    assert run(*args).out == first.out
    assert file.read_bytes() == held + b'{"benchmark": "mini", "text": "\xe2\x82'  # nothing was to be added


def test_percent_is_a_part_of_each_tasks_length(run, tiny, tmp_path):
    args = ("eval", "mini", "--task", "single-key", "-n", 1, "--length", 60, "--length", 101, "--model", tiny)
    ran = run(*args, "--budget", "10%", "--budget", 6, "--out", tmp_path)
    assert ran.status == 0
    lines = (tmp_path / "mini.jsonl").read_text(encoding="utf-8").splitlines()
    found = sorted((record["length"], record["budget"]) for record in map(json.loads, lines))
    # 10% of 60 tokens are the 6 pairs that were asked for by number: one cell.
    assert found == [(60, 6), (101, 6), (101, 11)]


@pytest.mark.parametrize("name", ["longbench", "lm-eval"])
def test_percent_is_refused_where_prompts_have_lengths_of_their_own(refused, monkeypatch, name):
    monkeypatch.setattr("maskkv.api.load_model", None)
    says = f"budget 5%: the prompts of {name} have lengths of their own, give pairs as in 256"
    assert refused("eval", name, "--tasks", "x", "--budget", "5%") == says
