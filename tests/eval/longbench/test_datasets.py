"""Scores of LongBench examples: which metric, over which answers, of which line."""

import subprocess
import sys

import pytest

from maskkv.errors import InputError
from maskkv.eval import longbench
from maskkv.eval.longbench import metrics


def test_the_16_english_data_sets_have_their_metrics():
    by_metric = {
        metric: {name for name, each in longbench.METRICS.items() if each == metric}
        for metric in longbench.METRICS.values()
    }
    assert by_metric == {
        "f1": {"narrativeqa", "qasper", "multifieldqa_en", "hotpotqa", "2wikimqa", "musique", "triviaqa"},
        "rouge_l": {"gov_report", "qmsum", "multi_news", "samsum"},
        "classification": {"trec"},
        "count": {"passage_count"},
        "retrieval": {"passage_retrieval_en"},
        "edit_similarity": {"lcc", "repobench-p"},
    }
    assert len(longbench.DATASETS) == 16
    assert all(callable(getattr(metrics, name)) for name in by_metric)
    assert len(longbench.PAPER) == 14


def test_answer_lengths_and_prompts():
    lengths = {name: each.gen_length for name, each in longbench.CATALOGUE.items()}
    assert {name for name, length in lengths.items() if length == 512} == {"gov_report", "qmsum", "multi_news"}
    assert {name for name, length in lengths.items() if length == 128} == {"narrativeqa", "qasper", "samsum"}
    assert {name for name, length in lengths.items() if length == 64} == {
        "multifieldqa_en", "trec", "lcc", "repobench-p",
    }  # fmt: skip
    assert sum(length == 32 for length in lengths.values()) == 6
    few_shot = {name for name, each in longbench.CATALOGUE.items() if each.first_line}
    assert few_shot == {"trec", "triviaqa", "samsum"}
    assert {name for name, each in longbench.CATALOGUE.items() if not each.chat} == few_shot | {"lcc", "repobench-p"}


def test_the_best_answer_counts():
    assert longbench.score("hotpotqa", "red cat", ["dog", "cat", "red cat"], None) == 1.0
    assert longbench.score("hotpotqa", "red cat", [], None) == 0.0
    assert longbench.score("hotpotqa", "red cat", [""], None) == 0.0


@pytest.mark.parametrize(
    ("dataset", "prediction", "expected"),
    [
        ("triviaqa", "\n\nParis\nQuestion: x", 1.0),
        ("hotpotqa", "\n\nParis\nQuestion: x", 0.5),  # every line counts: one word of three
        ("triviaqa", " \nParis", 0.0),  # a blank line of spaces is the first one
        ("triviaqa", "", 0.0),
        ("samsum", "\nParis\nDialogue: x y z", 1.0),
    ],
)
def test_few_shot_answers_are_their_first_line(dataset, prediction, expected):
    assert longbench.score(dataset, prediction, ["Paris"], None) == pytest.approx(expected, abs=1e-6)


def test_classes_are_looked_for_in_the_first_line():
    classes = ["Date", "Other location", "location"]
    assert longbench.score("trec", "Date\nOther location", ["Date"], classes) == 1.0
    assert longbench.score("trec", "Date Other location", ["Date"], classes) == pytest.approx(1 / 3)


def test_edit_similarity_is_scored_over_all_answers():
    assert longbench.score("lcc", "# say\nx = 1", ["y = 2", "x = 1"], None) == 1.0


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(InputError, match="unknown LongBench data set 'dureader': expected one of narrativeqa, "):
        longbench.score("dureader", "x", ["x"], None)
    with pytest.raises(InputError, match="trec is scored by its classes"):
        longbench.score("trec", "x", ["x"], None)


def test_a_data_set_s_score_is_percent_of_two_decimals():
    assert longbench.dataset_score([1.0, 0.0, 0.0]) == 33.33
    assert longbench.dataset_score([1.0, 1.0, 0.0]) == 66.67
    assert longbench.dataset_score([0.0]) == 0.0


def test_scoring_needs_no_model():
    check = (
        "import sys, maskkv.eval.longbench; sys.exit(sum(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
