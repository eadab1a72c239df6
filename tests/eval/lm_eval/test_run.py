"""Tasks of lm-evaluation-harness from the user's own files, without a network, under policies and budgets."""

import json
import math
import shlex
import socket
from pathlib import Path

import pytest
from lm_eval._cli import HarnessCLI
from lm_eval.api.instance import Instance
from lm_eval.utils import simple_parse_args_string

import maskkv
from maskkv import policies, records
from maskkv.api import LanguageModel
from maskkv.checkpoints import weights
from maskkv.cli import main
from maskkv.errors import InputError
from maskkv.eval.answering import UnscoredAnswer, Variant
from maskkv.eval.lm_eval import arguments, harness
from maskkv.eval.lm_eval.estimator import LikelihoodEstimator
from maskkv.eval.lm_eval.harness import Harness, _measured
from maskkv.eval.lm_eval.likelihood import Likelihood
from maskkv.eval.lm_eval.model import MaskKVModel
from maskkv.eval.lm_eval.requests import from_line
from maskkv.eval.runs import Study
from maskkv.eval.store import Store
from maskkv.eviction.profile import LayerProfile
from maskkv.generation import Generation
from maskkv.loading import Loading
from tests.eval.byte_level import save_byte_level

DOCUMENTS = [
    {"question": question, "answer": answer} for question, answer in (("1+1", "2"), ("1+2", "3"), ("2+2", "4"))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_byte_level(tmp_path_factory.mktemp("bytes")))


@pytest.fixture(scope="module")
def llm(folder):
    return maskkv.load(folder)


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args):
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def quizzes(tmp_path, offline):
    """Write tasks over a local file: JSON is YAML."""
    data = tmp_path / "quiz.data.jsonl"
    data.write_text("\n".join(map(json.dumps, DOCUMENTS)))
    task = {
        "task": "quiz",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(tmp_path / "cache")},
        "output_type": "generate_until",
        "test_split": "test",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 10, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
    others = {
        "choice": {
            "output_type": "multiple_choice",
            "doc_to_choice": ["2", "3"],
            "doc_to_target": "{{['2', '3'].index(answer) if answer in '23' else 0}}",
            "metric_list": [{"metric": "acc"}],
        },
        "last": {"output_type": "loglikelihood", "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}]},
        "prose": {
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "{{question}} = {{answer}}",
            "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
        },
        "code": {"unsafe_code": True},
        "lost": {"dataset_kwargs": {"data_files": {"test": str(tmp_path / "nowhere.jsonl")}}},
    }
    for name, changes in {"quiz": {}, **others}.items():
        (tmp_path / f"{name}.yaml").write_text(json.dumps({**task, "task": name, **changes}))
    return tmp_path


def run(llm, harnessed, out):
    with Store(from_line, out, "lm-eval") as store:
        return harness.run(llm, "bytes", harnessed, Study(variants(4)), store)


def variants(*budgets):
    return [Variant(policies.named("full"), None), *(Variant(policies.named("maskkv"), each) for each in budgets)]


def test_records_are_like_those_of_other_benchmarks(llm, quizzes, monkeypatch):
    # A model that knows the first answer only.
    monkeypatch.setattr("maskkv.eval.lm_eval.model.cut", lambda text, until: "2")
    full, ours = run(llm, Harness(("quiz",), quizzes), quizzes / "out")
    assert (full["policy_name"], ours["policy_name"], ours["budget"]) == ("full", "maskkv", 4)
    assert ours["task"] == "quiz exact_match"
    assert (ours["scores"], ours["n"]) == ([1.0, 0.0, 0.0], 3)
    assert ours["score"] == pytest.approx(1 / 3)
    assert ours["standard_error"] == pytest.approx((1 / 3 * 2 / 3 / 3) ** 0.5)
    assert ours["retention"]["full"]["ratio"] == 1.0
    assert (ours["gen_length"], ours["mean_prompt_length"]) == (16, len("Question: 1+1\nAnswer:"))
    assert ours["mean_cache_bytes"] < ours["mean_full_cache_bytes"]
    assert {"fingerprint", "model", "device", "dtype", "torch", "lm_eval", "commit", "seed"} <= ours.keys()
    assert list(records.read(quizzes / "out" / "lm-eval.jsonl")) == [full, ours]


def test_the_harness_answers_with_the_model_as_it_was_loaded(llm, tmp_path):
    loading = Loading(rope_scale=2.0, kv_dtype="int8")
    profile = LayerProfile("x", weights.fingerprint(llm.model), 1, 8, (1.0,) * 3, (0.0,) * 3)
    loaded = LanguageModel(llm.model, llm.text, profile=profile, loading=loading)
    (variant,) = variants(4)[1:]
    with Store(from_line, tmp_path, "lm-eval") as store:
        study = Study([variant], Generation(block_length=64))
        model = harness._under(variant, loaded, study, store, Likelihood(mc_num=2))
    assert (model.llm.loading, model.llm.profile) == (loading, profile)
    assert (model.llm.policy, model.llm.budget) == (variant.policy, 4)
    assert (model.schedule.gen_length, model.store, model.likelihood.mc_num) == (256, store, 2)


def without_cache(llm, folder, *tasks, **settings):
    chosen = Likelihood(mc_num=4, **settings)
    with Store(from_line, folder / "out", "lm-eval") as store:
        study = Study([Variant(policies.named("none"), None)])
        return harness.run(llm, "bytes", Harness(tasks, folder, likelihood=chosen), study, store)


def test_multiple_choice_takes_the_likeliest(llm, quizzes, monkeypatch):
    told = {" 2": 1.0, " 3": 2.0}  # a model that always prefers 2

    def nll(self, pair):
        return told[llm.text.decode(pair.answer)]

    monkeypatch.setattr(LikelihoodEstimator, "negative_log_likelihood", nll)
    (record,) = without_cache(llm, quizzes, "choice")
    assert (record["task"], record["scores"], record["policy_name"]) == ("choice acc", [1.0, 0.0, 1.0], "none")
    assert record["score"] == pytest.approx(2 / 3)
    assert record["settings"]["likelihood"]["mc_num"] == 4
    assert (record["mean_steps"], record["mean_tokens"], record["mean_cache_bytes"]) == (4, 2, 0)


def test_the_harness_s_metrics_are_those_of_the_estimates(llm, quizzes):
    records_ = {record["task"]: record for record in without_cache(llm, quizzes, "last", "prose", "choice", "quiz")}
    model = MaskKVModel(
        LanguageModel(llm.model, llm.text, policy="none"), likelihood=Likelihood(mc_num=4), schedule=Generation()
    )
    asked = [(f"Question: {each['question']}\nAnswer:", f" {each['answer']}") for each in DOCUMENTS]
    # The harness puts no blank before the text of such a task.
    found = model.loglikelihood(instances(*[(context, answer.strip()) for context, answer in asked]))
    mean = sum(value for value, _ in found) / 3
    assert records_["last perplexity"]["score"] == pytest.approx(math.exp(-mean))
    assert records_["last acc"]["scores"] == [float(greedy) for _, greedy in found]
    prose = [f"{each['question']} = {each['answer']}" for each in DOCUMENTS]
    total = sum(model.loglikelihood_rolling(instances(*[(each,) for each in prose])))
    assert records_["prose bits_per_byte"]["score"] == pytest.approx(-total / sum(map(len, prose)) / math.log(2))
    choices = model.loglikelihood(instances(*[(context, f" {each}") for context, _ in asked for each in "23"]))
    right = [int(two[0] < three[0]) for two, three in zip(choices[::2], choices[1::2], strict=True)]
    assert records_["choice acc"]["scores"] == [
        float(each == gold) for each, gold in zip(right, (0, 1, 0), strict=True)
    ]
    assert "quiz exact_match" in records_
    assert "likelihood" not in records_["quiz exact_match"]["settings"]


def instances(*arguments):
    return [
        Instance(request_type="loglikelihood", doc={}, arguments=each, idx=0, metadata=("quiz", number, 1))
        for number, each in enumerate(arguments)
    ]


def test_answers_are_kept_and_not_asked_again(llm, quizzes, monkeypatch):
    first = run(llm, Harness(("quiz",), quizzes, n=2, chat=True), quizzes / "out")
    assert [each["n"] for each in first] == [2, 2]
    assert len((quizzes / "out" / "lm-eval.answers.jsonl").read_text().splitlines()) == 4
    monkeypatch.setattr("maskkv.decoding.engine.Engine.step", None)  # nothing is left to do
    assert run(llm, Harness(("quiz",), quizzes, n=2, chat=True), quizzes / "out") == first


@pytest.mark.parametrize(
    ("values", "total", "scores", "score"),
    [
        ([1.0, 0.0], 0.5, [1.0, 0.0], 0.5),
        ([1.0, 0.0], 0.7, [], 0.7),  # no mean over documents
        ([1.0, math.nan], math.nan, [], None),
        ([math.nan, math.nan], math.inf, [], None),
        ([1.0, None], 1.0, [], 1.0),
        ([(1.0, 2.0), (1.0, 2.0)], 0.3, [], 0.3),
    ],
)
def test_a_metric_that_is_no_number_is_recorded_as_none(values, total, scores, score):
    results = {
        "results": {"quiz": {"alias": "quiz", "f1,none": total, "f1_stderr,none": 0.1}},
        "samples": {"quiz": [{"filter": "none", "f1": value} for value in values]},
        "versions": {},
        "n-shot": {},
    }
    (found,) = _measured(results, "quiz", [UnscoredAnswer("", 1, 8, 8, 8, 1, 1)] * 2, {})
    assert (found["scores"], found["score"], found["n"]) == (scores, score, 2)
    assert found["standard_error"] == (pytest.approx(0.5 / 2**0.5) if scores else None)


def test_two_runs_do_not_write_to_one_file(llm, quizzes):
    (quizzes / "out").mkdir()
    with (
        records.Journal(quizzes / "out" / "lm-eval.answers.jsonl"),
        pytest.raises(InputError, match=r"another run writes to .*lm-eval\.answers\.jsonl"),
    ):
        run(llm, Harness(("quiz",), quizzes), quizzes / "out")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "choice",
            "the task choice asks for likelihoods, which are estimated without a cache: expected the policy none",
        ),
        ("code", "the task code runs code that the model writes: --confirm-run-unsafe-code allows it"),
        ("lost", "cannot load lost: "),
    ],
)
def test_tasks_that_cannot_be_run_are_refused(llm, quizzes, name, says):
    with pytest.raises(InputError) as caught:
        run(llm, Harness((name,), quizzes), quizzes / "out")
    assert says in str(caught.value)


@pytest.mark.slow
def test_an_unknown_task_is_named(llm, quizzes):
    with pytest.raises(InputError, match="unknown task 'chess'"):
        run(llm, Harness(("quiz", "chess"), quizzes), quizzes / "out")


def test_the_harness_s_own_command_line_is_documented_as_it_is():
    document = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text().replace("\\\n", " ")
    lines = [line for line in document.splitlines() if line.startswith("python -m maskkv.eval.lm_eval ")]
    assert lines
    for line in lines:
        parsed = HarnessCLI()._parser.parse_args(shlex.split(line)[3:])
        assert parsed.model == "maskkv"
        given = parsed.model_args
        assert set(given if isinstance(given, dict) else simple_parse_args_string(given)) <= set(arguments._KNOWN)


def test_the_command(folder, quizzes, capsys):
    out = quizzes / "out"
    args = ("eval", "lm-eval", "--tasks", "quiz", "--include-path", quizzes, "-n", 2, "--model", folder, "--out", out)
    status = main([str(arg) for arg in (*args, "--policy", "full", "--policy", "maskkv", "--budget", 4, "--markdown")])
    printed = capsys.readouterr().out
    assert status == 0
    assert "| task | full | maskkv 4 |" in printed
    assert "| quiz exact_match | " in printed
    assert len((out / "lm-eval.jsonl").read_text().splitlines()) == 2


def test_the_command_for_likelihoods(folder, quizzes, capsys):
    flags = ("--policy", "none", "--mc-num", 4, "--mc-batch-size", 2, "--no-is-check-greedy", "--markdown")
    args = ("eval", "lm-eval", "--tasks", "choice", "--include-path", quizzes, "--model", folder)
    status = main([str(arg) for arg in (*args, "--out", quizzes / "out", *flags)])
    printed = capsys.readouterr().out
    assert status == 0
    assert "| choice acc | " in printed
    (record,) = records.read(quizzes / "out" / "lm-eval.jsonl")
    assert record["settings"]["likelihood"] == {
        "mc_num": 4, "mc_batch_size": 2, "estimator": "llada", "sampling_eps": 1e-3,
        "is_check_greedy": False, "add_bos_token": False, "max_length": 4096,
    }  # fmt: skip


def test_block_causal_models_are_asked_by_blocks(tmp_path, quizzes, capsys):
    folder, out = save_byte_level(tmp_path / "sdar", causal=True), quizzes / "out"
    args = ["eval", "lm-eval", "--tasks", "choice,last,prose", "--include-path", quizzes, "--model", folder]
    args = [str(each) for each in (*args, "--policy", "none", "--mc-num", 32, "--out", out)]
    for flag, said in (
        (("--estimator", "llada"), "estimator=llada is for bidirectional models, and sdar is block-causal: leave it"),
        (("--cfg-scale", "0.5"), "cfg_scale=0.5 is for bidirectional models, and sdar is block-causal: leave it out"),
    ):
        assert main([*args, *flag]) != 0
        assert said in capsys.readouterr().err
    assert main(args) == 0
    found = {record["task"]: record for record in records.read(out / "lm-eval.jsonl")}
    assert {record["settings"]["likelihood"]["estimator"] for record in found.values()} == {"blocks"}
    model = MaskKVModel(maskkv.load(folder, policy="none"), likelihood=Likelihood(mc_num=32))
    contexts = [f"Question: {each['question']}\nAnswer:" for each in DOCUMENTS]
    choices = model.loglikelihood(instances(*[(context, f" {each}") for context in contexts for each in "23"]))
    right = [int(two[0] < three[0]) for two, three in zip(choices[::2], choices[1::2], strict=True)]
    assert found["choice acc"]["scores"] == [float(each == gold) for each, gold in zip(right, (0, 1, 0), strict=True)]
    last = model.loglikelihood(
        instances(*[(each, document["answer"]) for each, document in zip(contexts, DOCUMENTS, strict=True)])
    )
    assert found["last perplexity"]["score"] == pytest.approx(math.exp(-sum(value for value, _ in last) / 3))
    prose = [f"{each['question']} = {each['answer']}" for each in DOCUMENTS]
    total = sum(model.loglikelihood_rolling(instances(*[(each,) for each in prose])))
    assert found["prose bits_per_byte"]["score"] == pytest.approx(-total / sum(map(len, prose)) / math.log(2))
    assert found["last perplexity"]["mean_steps"] == 1  # an answer of one token has one copy
