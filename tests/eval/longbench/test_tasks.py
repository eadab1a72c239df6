"""LongBench's examples as the model reads them."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import maskkv
from maskkv.errors import InputError
from maskkv.eval.benchmark import Chosen
from maskkv.eval.longbench.tasks import RESERVED, prompt_ids, tasks
from maskkv.eval.runs import Study, variants
from maskkv.generation import Generation
from maskkv.loading import Loading
from maskkv.policies import named
from tests.eval.byte_level import save_byte_level
from tests.eval.examples import run

TEMPLATES = {"hotpotqa": "Read: {context}\nAsk: {input}", "trec": "{context}\n{input}", "lcc": "{context}"}
EXAMPLE = {"input": "Who?", "context": "Ann did.", "answers": ["Ann"], "all_classes": None}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Loading(str(save_byte_level(tmp_path_factory.mktemp("bytes"))))


@pytest.fixture(scope="module")
def llm(model):
    return maskkv.load(model.model)


@pytest.fixture
def data(tmp_path):
    (tmp_path / "dataset2prompt.json").write_text(json.dumps(TEMPLATES))
    classes = EXAMPLE | {"all_classes": ["Who", "When"], "answers": ["Who"]}
    for name, lines in {"hotpotqa": [EXAMPLE] * 3, "trec": [classes], "lcc": [EXAMPLE]}.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


def test_questions_are_chats_and_few_shot_prompts_stand_as_they_are(llm, data):
    found = tasks(llm, Chosen(data=data, names=["hotpotqa", "trec"], lengths=[100]))
    assert [(each.name, each.metric, list(each.numbers)) for each in found] == [
        ("hotpotqa", "f1", [0, 1, 2]),
        ("trec", "classification", [0]),
    ]
    hotpotqa, trec = (task.example(llm, 0) for task in found)
    assert hotpotqa.prompt == llm.text.chat([{"role": "user", "content": "Read: Ann did.\nAsk: Who?"}])
    assert trec.prompt == llm.text.encode("Ann did.\nWho?")
    assert (hotpotqa.gen_length, trec.gen_length) == (32, 64)
    assert (hotpotqa.score("the Ann"), trec.score("\nWho\nWhen"), trec.score("Who When")) == (1.0, 1.0, 0.5)


def test_long_prompts_are_cut_in_the_middle_before_the_chat_template(llm, data):
    long = EXAMPLE | {"context": "0123456789" * 10}
    (data / "hotpotqa.jsonl").write_text(json.dumps(long))
    (task,) = tasks(llm, Chosen(data=data, names=["hotpotqa"], lengths=[21]))
    # 10 tokens from either side: 21 is no even number.
    assert task.example(llm, 0).prompt == llm.text.chat([{"role": "user", "content": "Read: 0123\nAsk: Who?"}])


@given(st.text(min_size=1).filter(str.strip), st.integers(2, 40), st.booleans())
def test_what_is_left_are_the_first_and_the_last_tokens(llm, prompt, length, raw):
    spelled, half = prompt.encode(), length // 2  # a token per byte
    halves = (spelled[:half], spelled[-half:]) if len(spelled) > length else (spelled,)
    cut = "".join(part.decode(errors="replace") for part in halves)
    if cut.strip():
        assert prompt_ids(llm, prompt, length, raw=raw) == llm.prompt_ids(cut, raw=raw)


@pytest.mark.parametrize(
    ("length", "raw", "times"), [(1000, True, 1), (1000, False, 2), (50, True, 1.1), (50, False, 1.1)]
)
def test_what_is_cut_away_is_encoded_once(llm, monkeypatch, length, raw, times):
    class Counting:
        def __init__(self, tokenizer):
            self._tokenizer = tokenizer
            self.characters = 0

        def __getattr__(self, name):
            return getattr(self._tokenizer, name)

        def encode_batch(self, texts, **options):
            self.characters += sum(map(len, texts))
            return self._tokenizer.encode_batch(texts, **options)

    counting = Counting(llm.text._tokenizer)
    monkeypatch.setattr(llm.text, "_tokenizer", counting)
    prompt_ids(llm, "0123456789" * 100, length, raw=raw)
    assert 1000 <= counting.characters <= 1000 * times


def test_the_first_examples_or_all_of_all_data_sets(llm, data):
    assert len(tasks(llm, Chosen(data=data, names=["hotpotqa"], lengths=[64], n=2))[0].numbers) == 2
    assert [each.length for each in tasks(llm, Chosen(data=data, names=["lcc"], lengths=[32, 64], n=2))] == [32, 64]
    twice = tasks(llm, Chosen(data=data, names=["lcc", "trec", "lcc"], lengths=[64]))
    assert [each.name for each in twice] == ["lcc", "trec"]
    (task,) = tasks(llm, Chosen(data=data, names=["lcc"]))
    assert task.length == llm.model.config.trained_length - RESERVED
    with pytest.raises(InputError, match="has no template for narrativeqa"):
        tasks(llm, Chosen(data=data, lengths=[64]))
    with pytest.raises(InputError, match="has no template for qasper"):
        tasks(llm, Chosen(data=data, names=["paper"], lengths=[64]))


def test_other_data_or_another_template_is_another_measurement(llm, data):
    def digest():
        return tasks(llm, Chosen(data=data, names=["lcc"], lengths=[64], n=1))[0].settings["data"]

    before = digest()
    assert digest() == before
    (data / "dataset2prompt.json").write_text(json.dumps(TEMPLATES | {"lcc": "{context} "}))
    other = digest()
    (data / "lcc.jsonl").write_text(json.dumps(EXAMPLE | {"answers": ["x"]}))
    assert len({before, other, digest()}) == 3


def test_what_cannot_be_asked_is_refused(llm, data):
    with pytest.raises(InputError, match="unknown LongBench data set 'dureader'"):
        tasks(llm, Chosen(data=data, names=["dureader"], lengths=[64]))
    with pytest.raises(InputError, match="1 tokens leave no room for a prompt"):
        tasks(llm, Chosen(data=data, names=["lcc"], lengths=[64, 1]))
    short = maskkv.load(None)
    short.model.config = replace(short.model.config, trained_length=512)
    with pytest.raises(InputError, match="-128 tokens leave no room"):
        tasks(short, Chosen(data=data, names=["lcc"]))


def test_records_have_the_data_set_s_metric(model, llm, data, tmp_path):
    two = tasks(llm, Chosen(data=data, names=["hotpotqa", "lcc"], lengths=[40], n=1))
    study = Study(variants([named("full"), named("maskkv")], [4]), Generation(block_length=32))
    found = run(llm, model, tmp_path / "out", two, study)
    assert [(each["task"], each["metric"], each["gen_length"], each["length"]) for each in found] == [
        ("hotpotqa", "f1", 32, 40),
        ("hotpotqa", "f1", 32, 40),
        ("lcc", "edit_similarity", 64, 40),
        ("lcc", "edit_similarity", 64, 40),
    ]
    assert all(0 <= each["score"] <= 1 for each in found)
