"""A cell measures every document once, and nothing depends on what runs beside it."""

from dataclasses import replace

import pytest

import maskkv
from maskkv import policies
from maskkv.errors import InputError
from maskkv.eval import cells, runs
from maskkv.eval.cells import Cell, answer_all, measure
from maskkv.mini import sample
from tests.cli.tiny import save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_tiny(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def llm(folder):
    return maskkv.load(folder)


def cell(**changes):
    return replace(Cell("multi-key", 64, policies.named("maskkv"), 4, n=3, first_seed=5), **changes)


def test_answers_are_those_of_one_call_each_in_the_documents_order(llm, monkeypatch):
    monkeypatch.setattr(cells, "TOGETHER", 2)  # fewer than documents, so that some wait and join later
    samples = [sample("multi-key", 64, seed) for seed in (5, 6, 7)]
    together = answer_all(llm, samples, cell(), lambda answer: None)
    alone = [llm.generate(each.content, gen_length=each.gen_length, policy="maskkv", budget=4) for each in samples]
    assert [each.text for each in together] == [each.text for each in alone]
    assert [each.cache_bytes for each in together] == [each.cache_bytes for each in alone]
    assert [each.sample for each in together] == samples


def test_a_model_that_answers_right_scores_one(llm, monkeypatch):
    right = {tuple(llm.prompt_ids(each.content)): each.answer for each in map(cell_sample, (5, 6, 7))}

    def response(sequence):
        prompt = tuple(sequence.canvas.tokens[: sequence.canvas.prompt_length].tolist())
        return [*llm.text.encode(right[prompt]), llm.model.config.eos_ids[0]]

    monkeypatch.setattr("maskkv.sequence.RunningSequence.response", response)
    record = measure(llm, cell())
    assert record["scores"] == [1.0, 1.0, 1.0]
    assert record["score"] == 1.0
    assert record["standard_error"] == 0.0


def cell_sample(seed):
    return sample("multi-key", 64, seed)


def test_the_record_says_what_was_measured(llm):
    record = measure(llm, cell())
    assert record["task"] == "multi-key"
    assert record["policy"] == repr(policies.named("maskkv"))
    assert record["first_seed"] == 5
    assert len(record["scores"]) == record["n"] == 3
    assert record["mean_cache_bytes"] < record["mean_full_cache_bytes"]
    assert record["mean_prompt_length"] <= 64


@pytest.mark.parametrize("changes", [{"task": "chess"}, {"n": 0}, {"first_seed": -1}])
def test_what_cannot_be_measured_is_refused(changes):
    with pytest.raises(InputError):
        cell(**changes)


def test_an_interrupted_run_goes_on_where_it_stopped(folder, tmp_path):
    file = tmp_path / "mini.jsonl"
    source = runs.Source(folder)
    wanted = [cell(n=2), cell(n=2, policy=policies.named("full"), budget=None)]
    first = runs.run(wanted[:1], source, file, 1, lambda record: None)
    held = file.read_text()
    seen = []
    both = runs.run(wanted, source, file, 1, seen.append)
    assert file.read_text().startswith(held)
    assert len(file.read_text().splitlines()) == 2
    assert both[0] == first[0]
    assert [record["policy_name"] for record in seen] == ["maskkv", "full"]


def test_another_model_is_measured_anew(folder, tmp_path, tmp_path_factory):
    file = tmp_path / "mini.jsonl"
    other = str(save_tiny(tmp_path_factory.mktemp("other"), seed=1))
    for source in (folder, other):
        runs.run([cell(n=1)], runs.Source(source), file, 1, lambda record: None)
    assert len(file.read_text().splitlines()) == 2


@pytest.mark.slow
def test_processes_side_by_side_measure_the_same(folder, tmp_path):
    wanted = [cell(n=2), cell(n=2, task="single-key"), cell(n=2, task="two-hop")]
    one = runs.run(wanted, runs.Source(folder), tmp_path / "one.jsonl", 1, lambda record: None)
    two = runs.run(wanted, runs.Source(folder), tmp_path / "two.jsonl", 2, lambda record: None)
    assert [record["scores"] for record in one] == [record["scores"] for record in two]
    assert [record["task"] for record in two] == [each.task for each in wanted]
