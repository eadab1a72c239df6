"""The adapter answers as the model itself does, whatever runs side by side and wherever a stop is."""

import json
import math
from dataclasses import asdict, fields, replace

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model

import maskkv
from maskkv.errors import CheckpointError, InputError
from maskkv.eval.answering import UnscoredAnswer
from maskkv.eval.lm_eval import arguments
from maskkv.eval.lm_eval.model import MaskKVModel
from maskkv.eval.lm_eval.requests import Asked, Request, from_line, key, read
from maskkv.eval.store import Store
from maskkv.generation import Generation
from maskkv.loading import Loading
from tests.eval.byte_level import save_byte_level

CONTEXTS = ("How many?", "A longer question, with ü: how many?", "Q")
GREEDY = {"max_gen_toks": 24, "do_sample": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_byte_level(tmp_path_factory.mktemp("bytes")))


@pytest.fixture(scope="module")
def llm(folder):
    return maskkv.load(folder, budget=4)


def requests(*arguments):
    return [
        Instance(request_type="generate_until", doc={}, arguments=each, idx=0, metadata=("quiz", number, 1))
        for number, each in enumerate(arguments)
    ]


def opened(folder):
    return Store(from_line, folder, "lm-eval")


def alone(llm, context, **settings):
    return llm.generate(context, Generation(gen_length=24, **settings), raw=True)


def test_answers_are_those_of_one_call_each_in_the_requests_order(llm):
    model = MaskKVModel(llm, together=2)
    asked = requests(*((context, {**GREEDY, "max_gen_toks": 24 - 8 * n}) for n, context in enumerate(CONTEXTS)))
    single = [llm.generate(context, gen_length=24 - 8 * n, raw=True) for n, context in enumerate(CONTEXTS)]
    assert model.generate_until(asked) == [each.text for each in single]
    assert [each.cache_bytes for each in model.answers["quiz"]] == [each.cache_bytes for each in single]
    assert [each.steps for each in model.answers["quiz"]] == [each.steps for each in single]
    assert [each.prompt_length for each in model.answers["quiz"]] == [each.prompt_length for each in single]
    assert [each.tokens for each in model.answers["quiz"]] == [len(llm.said(each.tokens)) for each in single]


def test_an_answer_ends_before_a_stop_and_costs_no_more_steps(llm):
    whole = alone(llm, "How many?")
    stop = whole.text[5:7]
    end = whole.text.index(stop)
    model = MaskKVModel(llm)
    assert model.generate_until(requests(("How many?", {**GREEDY, "until": ["\u2603", stop]}))) == [whole.text[:end]]
    assert model.answers["quiz"][0].steps < whole.steps
    # Blocks of 8 from left to right: the stop is certain once its block is done, at the latest.
    assert model.answers["quiz"][0].steps <= 8 * (1 + (end + 1) // 8)
    assert model.generate_until(requests(("How many?", {**GREEDY, "until": ["\u2603", ""]}))) == [whole.text]


def test_repeated_requests_draw_anew_and_reproducibly(llm):
    sampled = {"max_gen_toks": 24, "do_sample": True, "temperature": 2.0}
    asked = requests(*[("How many?", sampled)] * 3)
    texts = MaskKVModel(llm).generate_until(asked)
    assert len(set(texts)) == 3
    assert MaskKVModel(llm, together=1).generate_until(asked) == texts
    assert texts[2] == alone(llm, "How many?", temperature=2.0, seed=2).text


def test_an_interrupted_run_goes_on_where_it_stopped(llm, tmp_path, monkeypatch):
    file = tmp_path / "lm-eval.answers.jsonl"
    short = {**GREEDY, "max_gen_toks": 8}
    asked = requests(*((context, short) for context in CONTEXTS))
    whole = MaskKVModel(llm).generate_until(asked)
    with opened(tmp_path) as store:
        MaskKVModel(llm, store=store).generate_until(asked[:1])
    held = file.read_text()
    with opened(tmp_path) as store:
        model = MaskKVModel(llm, store=store)
        assert model.generate_until(asked) == whole
    assert file.read_text().startswith(held)
    assert len(file.read_text().splitlines()) == 3
    monkeypatch.setattr("maskkv.decoding.engine.Engine.step", None)  # nothing is left to do
    with opened(tmp_path) as store:
        again = MaskKVModel(llm, store=store)
    assert again.generate_until(asked) == whole
    assert again.answers == model.answers


@pytest.mark.parametrize("changed", [{"until": ["x"]}, {"max_gen_toks": 16}, {"temperature": 0.5}, {"threshold": 0.9}])
def test_what_is_asked_otherwise_is_answered_anew(llm, changed):
    first, other = ({"max_gen_toks": 8} | each for each in ({}, changed))
    keys = [key(llm, "f", Request("quiz", (1, 2), read(each, Generation())), timed=False) for each in (first, other)]
    assert keys[0] != keys[1]


def test_another_prompt_model_policy_or_budget_is_another_answer(llm, folder):
    request = Request("quiz", (1, 2), read({}, Generation()))
    others = [
        key(llm, "f", request, timed=False),
        key(llm, "g", request, timed=False),
        key(llm, "f", request, timed=True),
        key(llm, "f", replace(request, prompt=(1, 3)), timed=False),
        key(maskkv.load(folder, budget=5), "f", request, timed=False),
        key(maskkv.load(folder, policy="full"), "f", request, timed=False),
        key(maskkv.load(folder, budget=4, evicted="host"), "f", request, timed=False),
        key(maskkv.load(folder, budget=4, rope_scale=2.0), "f", request, timed=False),
        key(maskkv.load(folder, budget=4, dtype="bfloat16"), "f", request, timed=False),
        key(maskkv.load(folder, budget=4, kv_dtype="int8"), "f", request, timed=False),
    ]
    assert len(set(others)) == len(others)
    assert key(llm, "f", replace(request, task="other"), timed=False) == others[0]


def test_answers_from_before_options_had_their_names_count(folder):
    """A key is what it was when `min_confidence`, `value_drift` and `boundary_layers` had other names."""
    llm = maskkv.load(folder, budget=4, dtype="float32")
    request = Request("quiz", (1, 2), Asked(Generation(), ("x",)))
    assert key(llm, "f", request, timed=False) == "8930b04927aab1c9a9181a36256ceea40f8d702f4fef1c768ecd420cb7716bf7"


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "lm-eval.answers.jsonl").write_text('{"key": "x", "text": "y"}\n')
    with pytest.raises(InputError, match=r"lm-eval\.answers\.jsonl holds a line that is no line of answers"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"), [("text", None), ("steps", "8"), ("tokens", 8.5), ("latency_s", math.nan), ("colour", "red")]
)
def test_an_answer_of_another_type_is_named(tmp_path, name, value):
    line = {"key": "x", **asdict(UnscoredAnswer("", 1, 8, 8, 8, 1, 1)), name: value}
    (tmp_path / "lm-eval.answers.jsonl").write_text(json.dumps(line))
    with pytest.raises(InputError, match=rf"holds a line that is no line of answers \(.*{name}"):
        opened(tmp_path)


def test_an_answer_alone_is_timed(llm):
    short = {**GREEDY, "max_gen_toks": 8}
    model = MaskKVModel(llm, together=1)
    model.generate_until(requests(("Q", short)))
    assert model.answers["quiz"][0].latency_s > 0


def test_a_chat_is_the_model_s_own_chat(llm):
    model = MaskKVModel(llm)
    history = [{"role": "user", "content": "How <|end|> many?"}]
    rendered = model.apply_chat_template(history)
    assert rendered.startswith("<|user|>How ")
    assert rendered.endswith(" many?<|end|><|assistant|>")
    answer = llm.chat(history, gen_length=24)
    assert model.generate_until(requests((rendered, GREEDY))) == [answer.text]
    assert model.answers["quiz"][0].prompt_length == answer.prompt_length
    # The same text, not rendered by the model, is text.
    model.generate_until(requests(("<|user|>How many?<|end|><|assistant|>", GREEDY)))
    assert model.answers["quiz"][0].prompt_length == len("<|user|>How many?<|end|><|assistant|>")


def test_a_chat_may_end_in_an_open_answer(llm):
    history = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "It is"}]
    rendered = MaskKVModel(llm).apply_chat_template(history, add_generation_prompt=False)
    assert rendered == "<|user|>How many?<|end|><|assistant|>It is"


def test_a_model_without_a_template_says_so(llm, tmp_path):
    assert MaskKVModel(llm).chat_template(True) == llm.text.chat_template
    assert MaskKVModel(llm).chat_template(False) == ""
    with pytest.raises(InputError, match="there is no chat template named 'tools'"):
        MaskKVModel(llm).chat_template("tools")
    save_byte_level(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no chat template"):
        MaskKVModel(maskkv.load(tmp_path)).apply_chat_template([{"role": "user", "content": "x"}])


def test_an_empty_prompt_is_refused(llm):
    with pytest.raises(InputError, match="the prompt is empty"):
        MaskKVModel(llm).generate_until(requests((" ", GREEDY)))


def test_it_is_registered_and_made_from_arguments(folder):
    line = f"pretrained={folder},policy=maskkv,budget=7,dtype=float32,block_length=4,gen_length=16"
    model = get_model("maskkv").create_from_arg_string(
        line, {"batch_size": "8", "max_batch_size": 9, "device": "cuda:0"}
    )
    assert (model.llm.policy.name, model.llm.budget, model.together) == ("maskkv", 7, 8)
    assert model.schedule == Generation(gen_length=16, block_length=4)
    assert model.device == model.llm.model.device
    info = model.get_model_info()
    assert (info["policy"], info["budget"]) == (repr(model.llm.policy), 7)
    assert model.tokenizer_name == f"maskkv-{info['fingerprint']}"
    # The rest of the harness's models are there as well.
    assert get_model("dummy").__name__ == "DummyLM"


def test_arguments_have_defaults(folder):
    loaded = arguments.load({"pretrained": folder, "policy": "none", "budget": None})
    assert (loaded.llm.policy.name, loaded.together) == ("none", 1)
    assert MaskKVModel(loaded.llm).get_model_info()["budget"] is None
    assert MaskKVModel(arguments.load({"pretrained": folder}).llm).get_model_info()["budget"] == 256
    assert loaded.schedule == Generation(gen_length=256)
    assert arguments.load({"pretrained": folder, "policy": "full", "batch_size": "auto:4"}).together == 16


def test_evicted_pairs_come_back_if_an_argument_says_so(folder):
    loaded = arguments.load({"pretrained": folder, "budget": 4, "evicted": "host"})
    assert loaded.llm.policy_for().name == "maskkv(evicted=host)"
    assert "recall=Recall(" in MaskKVModel(loaded.llm).get_model_info()["policy"]


def test_arguments_that_are_texts_mean_what_they_say(folder):
    spelled = {"budget": "7", "rope_scale": "1.5", "temperature": "0.5", "stop_at_eos": "False", "batch_size": "3"}
    loaded = arguments.load({"pretrained": folder, **spelled})
    assert (loaded.llm.budget, loaded.llm.rope_scale, loaded.together) == (7, 1.5, 3)
    assert loaded.schedule == Generation(gen_length=256, temperature=0.5, stop_at_eos=False)


def test_every_loading_option_is_an_argument(monkeypatch, llm):
    got = []

    def load(loading, **rest):
        got.append(loading)
        return llm

    monkeypatch.setattr("maskkv.api.load_model", load)
    line = "device=cpu,dtype=bf16,rope_scale=2.5,profile=p.json,kv_dtype=int8,quantize=int8,compile=True"
    arguments.load({"pretrained": "a/b", "budget": 4, **dict(pair.split("=") for pair in line.split(","))})
    arguments.load({"pretrained": "a/b", "budget": 4, "tensor_parallel": "3"})
    assert got == [
        Loading("a/b", "cpu", "bf16", 2.5, "p.json", "int8", "int8", compile=True),
        Loading("a/b", tensor_parallel=3),
    ]
    for field in fields(Loading):
        assert {getattr(each, field.name) for each in got} != {field.default}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"compile": "perhaps", "budget": 4}, "compile 'perhaps': expected True or False"),
        ({"budget": "many"}, "budget=many: expected a whole number of at least 1"),
        ({"budget": 0}, "budget=0: expected a whole number"),
        ({"budget": True}, "budget=True: expected a whole number"),
        ({"policy": 3, "budget": 4}, "policy '3'"),
        ({"rope_scale": "wide", "budget": 4}, "rope_scale=wide: expected a number"),
        ({"rope_scale": True, "budget": 4}, "rope_scale=True: expected a number"),
        ({"batch_size": "some", "budget": 4}, "batch_size=some: expected a number of at least 1, or auto"),
        ({"batch_size": 0, "budget": 4}, "batch_size=0: expected a number"),
        ({"temperature": -1.0, "budget": 4}, "temperature must be a number"),
        (
            {"trust_remote_code": True, "budget": 4},
            "unknown model argument 'trust_remote_code': expected one of pretrained, ",
        ),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_arguments_that_cannot_be_used_are_refused(folder, given, says):
    with pytest.raises(InputError) as caught:
        arguments.load({"pretrained": folder, **given})
    assert says in str(caught.value)


def test_a_schedule_that_needs_no_request_to_be_refused(llm):
    model = MaskKVModel(llm, replace(Generation(), gen_length=64, steps=32))
    with pytest.raises(InputError, match="steps must be at most gen_length=24"):
        model.generate_until(requests(("x", GREEDY)))


def test_a_request_that_does_not_fit_into_memory_is_refused(llm, monkeypatch):
    monkeypatch.setattr("maskkv.memory.available", lambda device: 1)
    with pytest.raises(InputError, match="needs about"):
        MaskKVModel(llm).generate_until(requests(("How many?", {**GREEDY})))
