"""`maskkv sample`: documents that `maskkv generate` reads."""

import json
from dataclasses import asdict

import pytest

from maskkv.mini import tasks


@pytest.mark.parametrize("task", ["multi-key", "multi-key-first", "multi-key-middle"])
def test_document_with_its_question_on_stdout_and_the_answer_on_stderr(run, task):
    expected = tasks.sample(task, 200, 5)
    ran = run("sample", task, "--length", 200, "--seed", 5)
    assert (ran.status, ran.out) == (0, expected.content + "\n")
    assert ran.out.count("question :") == 1
    assert ran.err == f"expected answer: {expected.answer}\n"


def test_json_has_all_of_a_sample(run):
    ran = run("sample", "two-hop", "--length", 100, "--seed", 1, "--json")
    assert (ran.status, ran.err) == (0, "")
    assert json.loads(ran.out) == asdict(tasks.sample("two-hop", 100, 1))


def test_what_it_prints_is_what_generate_reads(run, tiny, tmp_path):
    (tmp_path / "doc.txt").write_text(run("sample", "multi-key-first", "--length", 80).out, encoding="utf-8")
    ran = run("generate", "--model", tiny, "--file", tmp_path / "doc.txt", "--gen-length", 8, "--json")
    assert json.loads(ran.out)["prompt_length"] == len(tasks.sample("multi-key-first", 80, 0).prompt.split())


def test_list_names_every_task(run):
    assert [line.split()[0] for line in run("sample", "--list").out.splitlines()[1:] if line[0] != " "] == list(
        tasks.TASKS
    )
    assert list(json.loads(run("sample", "--list", "--json").out)) == list(tasks.TASKS)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "there is no TASK: expected one of single-key, "),
        (("lookup-ish",), "unknown task 'lookup-ish': expected one of single-key, "),
        (("multi-key", "--length", "5"), "too short"),
        (("multi-key", "--length", "0"), "'--length'"),
        (("multi-key", "--seed", "-1"), "'--seed'"),
    ],
)
def test_bad_input_is_refused_in_one_line(refused, args, says):
    assert says in refused("sample", *args)
