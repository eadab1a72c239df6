"""What LongBench asks of each data set: the length of the answer, how it is prompted and how it is scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from maskkv.errors import InputError
from maskkv.eval.longbench import metrics

MetricName = Literal["f1", "rouge_l", "classification", "count", "retrieval", "edit_similarity"]


@dataclass(frozen=True)
class Dataset:
    """Describe one data set; `gen_length` is the longest answer in tokens."""

    metric: MetricName
    gen_length: int
    chat: bool = True
    """Whether the prompt is a user's message; few-shot and code prompts stand as they are."""
    first_line: bool = False
    """Whether only the answer's first line is scored, leading newlines left out."""


CATALOGUE = {
    "narrativeqa": Dataset("f1", 128),
    "qasper": Dataset("f1", 128),
    "multifieldqa_en": Dataset("f1", 64),
    "hotpotqa": Dataset("f1", 32),
    "2wikimqa": Dataset("f1", 32),
    "musique": Dataset("f1", 32),
    "gov_report": Dataset("rouge_l", 512),
    "qmsum": Dataset("rouge_l", 512),
    "multi_news": Dataset("rouge_l", 512),
    "trec": Dataset("classification", 64, chat=False, first_line=True),
    "triviaqa": Dataset("f1", 32, chat=False, first_line=True),
    "samsum": Dataset("rouge_l", 128, chat=False, first_line=True),
    "passage_count": Dataset("count", 32),
    "passage_retrieval_en": Dataset("retrieval", 32),
    "lcc": Dataset("edit_similarity", 64, chat=False),
    "repobench-p": Dataset("edit_similarity", 64, chat=False),
}
DATASETS = tuple(CATALOGUE)
PAPER = tuple(name for name in DATASETS if name not in ("narrativeqa", "passage_count"))
"""The 14 data sets that the paper's averages are over."""
METRICS: dict[str, MetricName] = {name: each.metric for name, each in CATALOGUE.items()}
"""Each data set's metric: the name of a function of `maskkv.eval.longbench.metrics`."""

_SCORERS: dict[str, Callable[[str, str], float]] = {
    "f1": metrics.f1,
    "rouge_l": metrics.rouge_l,
    "count": metrics.count,
    "retrieval": metrics.retrieval,
    "edit_similarity": metrics.edit_similarity,
}


def score(dataset: str, prediction: str, answers: Sequence[str], all_classes: Sequence[str] | None = None) -> float:
    """Score one prediction, 0 to 1: the best over the answers, 0 without any.

    Raises:
        InputError: There is no such data set, its classes are missing, or an answer is not of its form.
    """
    asked = named(dataset)
    if asked.first_line:
        prediction = prediction.lstrip("\n").split("\n")[0]
    if asked.metric == "classification":
        if all_classes is None:
            raise InputError(f"{dataset} is scored by its classes: expected all_classes")
        scores = [metrics.classification(prediction, answer, all_classes) for answer in answers]
    else:
        scores = [_SCORERS[asked.metric](prediction, answer) for answer in answers]
    return max(scores, default=0.0)


def named(dataset: str) -> Dataset:
    """Return a data set's settings; InputError if there is no such data set."""
    if dataset not in CATALOGUE:
        raise InputError(f"unknown LongBench data set {dataset!r}: expected one of {', '.join(DATASETS)}")
    return CATALOGUE[dataset]


def dataset_score(scores: Sequence[float]) -> float:
    """Return a data set's score as LongBench publishes it: 100 times the mean, rounded to two decimals."""
    return round(100 * sum(scores) / len(scores), 2)
