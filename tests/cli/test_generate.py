"""`maskkv generate`: what it prints where, and which of its inputs it refuses."""

import json
from dataclasses import fields

import pytest

import maskkv
from maskkv.mini import sample

DOCUMENT = sample("multi-key", 120, 3)
SHORT = ("--gen-length", 8)


@pytest.fixture
def doc(tmp_path):
    path = tmp_path / "doc.txt"
    path.write_text(DOCUMENT.document + "\n", encoding="utf-8")
    return path


def test_answer_is_all_of_stdout_and_the_summary_goes_to_stderr(run, tiny, doc):
    ran = run("generate", "--model", tiny, "--file", doc, "--question", DOCUMENT.question, "--budget", 4, *SHORT)
    llm = maskkv.load(tiny, policy="maskkv", budget=4)
    expected = llm.generate(f"{DOCUMENT.document} {DOCUMENT.question}", gen_length=8)
    assert (ran.status, ran.out) == (0, expected.text + "\n")
    assert ran.err.splitlines()[0].startswith(
        f"maskkv: kept 4.0 of {expected.prompt_length} prompt pairs per KV head, cache "
    )
    assert len(ran.err.splitlines()) == 2


def test_json_is_one_object_with_the_fields_of_result(run, tiny):
    ran = run("generate", "--model", tiny, DOCUMENT.content, "--budget", 4, "--json", *SHORT)
    printed = json.loads(ran.out)
    assert list(printed) == [field.name for field in fields(maskkv.Result)]
    assert ran.err == ""
    expected = maskkv.load(tiny).generate(DOCUMENT.content, policy="maskkv", budget=4, gen_length=8)
    for name in ("text", "tokens", "prompt_length", "steps", "policy", "budget", "cache_bytes", "kept"):
        assert printed[name] == getattr(expected, name)
