"""A study comes out the same however it is cut up, and goes on where it was interrupted."""

import json
import math
from dataclasses import replace
from functools import partial

import pytest

import maskkv
from maskkv import api, policies, records
from maskkv.errors import InputError
from maskkv.eval import cells, conditions, runs
from maskkv.eval.answering import ScoredAnswer
from maskkv.eval.store import Store
from maskkv.eval.workers import side_by_side
from maskkv.generation import Generation
from maskkv.loading import Loading
from tests.cli.tiny import save_tiny
from tests.eval.examples import TASKS, run, study, task

TWO = partial(side_by_side, jobs=2)
SMALL = (task(numbers=range(5, 6)),)
"""One task of one document."""


def measured(found):
    """Return what must not depend on how the work was done."""
    return [{name: value for name, value in record.items() if name not in ("threads", "commit")} for record in found]


@pytest.fixture(scope="module")
def whole(llm, source, tmp_path_factory):
    return run(llm, source, tmp_path_factory.mktemp("whole"))


def test_there_is_a_cell_for_every_task_and_variant(whole):
    names = [(each["task"], each["policy_name"], each["budget"]) for each in whole]
    variants = [("full", None), ("maskkv", 2), ("maskkv", 4)]
    assert names == [(name, *variant) for name in ("multi-key", "two-hop") for variant in variants]


def test_a_record_says_what_was_measured(llm, whole):
    record = whole[1]
    assert record["policy"] == repr(policies.named("maskkv"))
    assert (record["benchmark"], record["metric"], record["length"]) == ("mini", "exact match", 64)
    assert (record["n"], record["first_seed"], record["seed"]) == (3, 5, 0)
    assert record["gen_length"] == 8
    assert record["schedule"]["block_length"] == 4
    assert len(record["scores"]) == 3
    assert record["mean_cache_bytes"] < record["mean_full_cache_bytes"]
    assert record["mean_prompt_length"] <= 64
    assert record["device"] == "cpu"
    assert {"maskkv", "torch", "transformers", "tokenizers", "commit", "fingerprint"} <= record.keys()
    assert record["shared_prompt_pass"] is True
    assert (record["mean_latency_s"], record["tokens_per_s"], record["peak_memory_bytes"]) == (None, None, None)


def test_isolated_answers_are_timed_and_otherwise_the_same(llm, source, whole, tmp_path):
    timed = run(llm, source, tmp_path, studied=study(isolated=True))
    costs = ("mean_latency_s", "tokens_per_s", "peak_memory_bytes")
    assert all(record[name] > 0 for record in timed for name in costs)
    same = [{**record, **dict.fromkeys(costs), "shared_prompt_pass": True} for record in timed]
    assert measured(same) == measured(whole)


@pytest.mark.parametrize("together", [1, 6, 100])
def test_the_size_of_units_changes_nothing(llm, source, whole, tmp_path, monkeypatch, together):
    monkeypatch.setattr(runs, "TOGETHER", together)
    assert measured(run(llm, source, tmp_path)) == measured(whole)


def test_shards_put_together_are_the_whole(llm, source, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "TOGETHER", 3)  # a document per unit
    first = run(llm, source, tmp_path, studied=study(shard=(1, 2)))
    assert first == []  # both tasks still lack documents
    both = run(llm, source, tmp_path, studied=study(shard=(2, 2)))
    assert measured(both) == measured(whole)
    asked = []
    again = run(llm, source, tmp_path, on_answers=lambda answered, total: asked.append(total))
    assert measured(again) == measured(whole)
    assert asked == [0]
    assert len(list(tmp_path.glob("mini.answers-*.jsonl"))) == 2


def test_processes_side_by_side_measure_the_same(llm, source, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "TOGETHER", 3)  # a document per unit
    assert measured(run(llm, source, tmp_path, elsewhere=TWO)) == measured(whole)


def test_all_processes_compute_in_the_dtype_of_the_first(llm, source, tmp_path):
    """What `auto` chooses depends on the memory that is free: with several models there is less."""
    given = []
    stated = replace(source, device="cpu", rope_scale=2.0, kv_dtype="int8")
    run(llm, stated, tmp_path, elsewhere=lambda units, terms: iter(given.append(terms.loading) or ()))
    assert given == [replace(stated, dtype="torch.float32")], "and load it as this one did otherwise"
    assert api.load_model(given[0]).model.dtype == llm.model.dtype


def test_an_error_in_a_process_is_raised_here(llm, source, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "TOGETHER", 3)
    elsewhere = Loading("no-such/model")
    with pytest.raises(maskkv.CheckpointError, match="no-such/model"):
        run(llm, elsewhere, tmp_path, elsewhere=TWO)


def test_an_interrupted_run_loses_one_unit_at_most(llm, source, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "TOGETHER", 3)
    seen = []

    def stop_at_the_third(answered, total):
        seen.append(answered)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(llm, source, tmp_path, on_answers=stop_at_the_third)
    file = tmp_path / "mini.answers.jsonl"
    held = file.read_text()
    with file.open("a") as lines:
        lines.write(held[:100])  # a line cut off while it was written
    totals = []
    found = run(llm, source, tmp_path, on_answers=lambda answered, total: totals.append(total))
    assert file.read_text().startswith(held)
    assert totals[0] == 18 - 2 * 3  # two documents under three variants were there
    assert measured(found) == measured(whole)


def test_more_documents_and_variants_ask_only_what_is_missing(llm, source, tmp_path):
    def total(asked, studied):
        totals = []
        run(llm, source, tmp_path, [asked], studied, on_answers=lambda answered, total: totals.append(total))
        return totals[0]

    small, few = task(numbers=range(5, 7)), study(variants=study().variants[:2])
    assert total(small, few) == 4
    assert total(small, few) == 0
    assert total(small, study()) == 2
    assert total(task(), study()) == 3
    assert total(task(), study(schedule=Generation(block_length=8))) == 9


def test_another_model_is_measured_anew_in_the_same_folder(llm, source, tmp_path, tmp_path_factory):
    other = Loading(str(save_tiny(tmp_path_factory.mktemp("other"), seed=1)))
    run(llm, source, tmp_path, SMALL)
    run(api.load_model(other), other, tmp_path, SMALL)
    assert len(list(records.read(tmp_path / "mini.jsonl"))) == 2 * 3


def test_answers_from_before_a_setting_existed_count(llm, source, tmp_path):
    run(llm, source, tmp_path, SMALL)
    file = tmp_path / "mini.answers.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        del line["schedule"]["cfg_scale"]
        del line["model"]["kv_dtype"]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    totals = []
    run(llm, source, tmp_path, SMALL, on_answers=lambda answered, total: totals.append(total))
    assert totals == [0]


def test_kept_pairs_in_8_bits_are_measured_beside_the_exact_ones(source, tmp_path):
    found = {}
    for kv_dtype in ("auto", "int8"):
        chosen = replace(source, kv_dtype=kv_dtype)
        found[kv_dtype] = run(api.load_model(chosen), chosen, tmp_path, SMALL)
    assert len(list(records.read(tmp_path / "mini.jsonl"))) == 2 * 3
    for exact, rounded in zip(found["auto"], found["int8"], strict=True):
        assert (exact["kv_dtype"], rounded["kv_dtype"]) == ("auto", "int8")
        assert rounded["mean_cache_bytes"] < exact["mean_cache_bytes"]
        assert rounded["mean_full_cache_bytes"] == exact["mean_full_cache_bytes"]


def test_a_file_of_something_else_is_named(llm, source, tmp_path):
    (tmp_path / "mini.answers.jsonl").write_text('{"benchmark": "mini"}\n')
    with pytest.raises(InputError, match=r"mini\.answers\.jsonl holds a line"):
        run(llm, source, tmp_path)


@pytest.fixture(scope="module")
def line(llm, source, tmp_path_factory):
    """Return a line of answers."""
    folder = tmp_path_factory.mktemp("line")
    run(llm, source, folder, SMALL)
    return json.loads((folder / "mini.answers.jsonl").read_text())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("score", "1.0"),
        ("score", math.nan),
        ("score", None),
        ("score", True),
        ("score", 1.5),
        ("score", -1),
        ("steps", "8"),
        ("steps", 8.0),
        ("steps", -1),
        ("steps", 10**400),
        ("tokens", None),
        ("text", 3),
        ("budget", "4"),
        ("latency_s", "fast"),
        ("latency_s", math.inf),
        ("prompt_passes", [1]),
        ("colour", "red"),
    ],
)
def test_an_answer_of_another_type_is_named(line, tmp_path, name, value):
    wrong = {**line, "answers": [line["answers"][0] | {name: value}]}
    (tmp_path / "mini.answers.jsonl").write_text(json.dumps(wrong) + "\n")
    with pytest.raises(InputError, match=rf"mini\.answers\.jsonl holds a line that is no line of answers \(.*{name}"):
        Store(conditions.read, tmp_path, "mini")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("answers", value) for value in (None, {}, [3], [[]], [{}], "text")),
        *((name, value) for name in ("number", "prompt_length", "gen_length") for value in ("5", 5.0, True, -1, None)),
        *((name, value) for name in ("model", "schedule", "environment") for value in (None, [], "mini")),
    ],
)
def test_a_line_of_another_type_is_named(line, tmp_path, name, value):
    (tmp_path / "mini.answers.jsonl").write_text(json.dumps({**line, name: value}) + "\n")
    with pytest.raises(InputError, match="holds a line that is no line of answers"):
        Store(conditions.read, tmp_path, "mini")


def test_an_answer_that_took_no_time_has_no_speed(line):
    assert line["answers"][0]["latency_s"] is None
    timed = [replace(answer(), latency_s=seconds) for seconds in (0.0, 1.0)]
    assert cells.costs([8], timed[1:])["tokens_per_s"] == 6
    assert cells.costs([8], timed[:1])["tokens_per_s"] is None
    assert cells.costs([8, 8], timed)["tokens_per_s"] is None


def answer():
    return ScoredAnswer("p", "full", None, "text", 1.0, tokens=6, steps=8, cache_bytes=1, full_cache_bytes=2)


@pytest.mark.parametrize("foreign", ['{"a": 1}', '{"policy_name": "full", "scores": ["1"]}', '{"scores": []}'])
def test_foreign_records_are_refused_before_anything_is_answered(llm, source, tmp_path, foreign):
    (tmp_path / "mini.jsonl").write_text(foreign + "\n")
    with pytest.raises(InputError, match=r"mini\.jsonl holds a line that is no record of scores: move it away"):
        run(llm, source, tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["mini.jsonl"]


def test_a_whole_answer_without_its_newline_is_not_asked_again(llm, source, whole, tmp_path):
    run(llm, source, tmp_path)
    file = tmp_path / "mini.answers.jsonl"
    held = file.read_bytes()
    file.write_bytes(held.removesuffix(b"\n"))
    totals = []
    more = (task(numbers=range(5, 9)), task("two-hop"))
    run(llm, source, tmp_path, more, on_answers=lambda answered, total: totals.append(total))
    assert totals[0] == 3
    assert file.read_bytes().startswith(held)


def test_two_runs_do_not_write_to_one_file(llm, source, tmp_path):
    def start_another(answered, total):
        with pytest.raises(InputError, match=r"another run writes to .*mini\.answers\.jsonl"):
            run(llm, source, tmp_path, SMALL, few)
        run(llm, source, tmp_path, SMALL, replace(few, shard=(1, 2)))

    few = study(variants=study().variants[:1])
    assert len(run(llm, source, tmp_path, SMALL, few, on_answers=start_another)) == 1


def test_a_task_that_cannot_be_asked_is_refused_before_any_answer(llm, source, tmp_path):
    short = replace(task("two-hop"), length=9)
    with pytest.raises(InputError, match="length 9 is too short"):
        run(llm, source, tmp_path, (task(), short))
    assert list(tmp_path.iterdir()) == []


def test_a_policy_without_a_budget_runs_once():
    names = [policies.named(name) for name in ("none", "full", "maskkv")]
    assert [variant.budget for variant in runs.variants(names, [4, 8, 4])] == [None, None, 4, 8]


def test_tasks_measured_one_after_the_other_are_those_measured_together(llm, source, whole, tmp_path):
    with Store(conditions.read, tmp_path, "mini") as store:
        found = [each for one in TASKS for each in runs.run(llm, source, [one], study(), store)]
    assert measured(found) == measured(whole)
    assert measured(records.read(tmp_path / "mini.jsonl")) == measured(whole)


def test_a_folder_is_read_once(llm, source, tmp_path, monkeypatch):
    run(llm, source, tmp_path, SMALL)
    files, plain = [], records.read
    monkeypatch.setattr(records, "read", lambda file: files.append(file.name) or plain(file))
    run(llm, source, tmp_path, SMALL, study(schedule=Generation(block_length=8)))
    # The records before anything is answered, and again where they are changed.
    assert files == ["mini.jsonl", "mini.answers.jsonl", "mini.jsonl"]


def test_what_does_not_fit_into_memory_is_refused_before_hours_are_spent(llm, source, tmp_path, monkeypatch):
    monkeypatch.setattr("maskkv.memory.available", lambda device: 1)
    with pytest.raises(InputError, match="needs about"):
        run(llm, source, tmp_path, SMALL)
    assert not list(tmp_path.iterdir())


def test_memory_is_looked_at_for_pairs_as_they_are_stored(source, tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(runs, "check_fits", lambda model, work: looked.append((work.budget, work.kv_dtype)))
    chosen = replace(source, kv_dtype="int8")
    run(api.load_model(chosen), chosen, tmp_path, SMALL)
    assert looked == [(None, "int8"), (2, "int8"), (4, "int8")]
