"""LongBench's metrics, with what its published code does at the edges: 0 to 1 for one prediction and one answer.

Scores that are compared with published ones have to share the quirks: articles go after the punctuation, ROUGE-L
is that of the package `rouge` (word sets, summary level), edit similarity is difflib's in whole percent.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher

from rouge import Rouge  # type: ignore[import-untyped]

from maskkv.errors import InputError

LARGEST_TABLE = 2**20
"""Words of two sentences, multiplied, up to which `rouge` is asked: it needs some 200 bytes for each."""

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NUMBER = re.compile(r"\d+")
_PARAGRAPH = re.compile(r"Paragraph (\d+)")
_NO_CODE = ("`", "#", "//")


def f1(prediction: str, answer: str) -> float:
    """Return the F1 of the words that both have, counted with repetition, articles and punctuation left out."""
    said, wanted = normalised_words(prediction), normalised_words(answer)
    shared = (Counter(said) & Counter(wanted)).total()
    if shared == 0:
        return 0.0
    precision, recall = shared / len(said), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def normalised_words(text: str) -> list[str]:
    """Lower the case, delete ASCII punctuation, then leave out the articles."""
    return _ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def rouge_l(prediction: str, answer: str) -> float:
    """Return the summary-level ROUGE-L F of the package `rouge`; 0 where that package gives up.

    It gives up on a text without a sentence (nothing but full stops), and where it would recurse through a pair of
    sentences of a thousand words and more, one of a size that would fill the memory included.
    """
    if not prediction.strip(".") or not answer.strip("."):
        return 0.0
    if _longest_sentence(prediction) * _longest_sentence(answer) > LARGEST_TABLE:
        return 0.0
    try:
        return float(Rouge(metrics=["rouge-l"], stats=["f"]).get_scores(prediction, answer)[0]["rouge-l"]["f"])
    except RecursionError:
        return 0.0


def _longest_sentence(text: str) -> int:
    return max(len(sentence.split()) for sentence in text.split("."))


def classification(prediction: str, answer: str, classes: Sequence[str]) -> float:
    """Return 1 over the number of classes that the prediction names, if the answer is one of them.

    A class that is part of the answer's name does not count, except one that stands right after another such class.
    """
    named = [each for each in classes if each in prediction]
    # Removing from the list that is walked skips the next element: the published scores depend on it.
    for each in named:
        if each in answer and each != answer:
            named.remove(each)
    return 1 / len(named) if answer in named else 0.0


def count(prediction: str, answer: str) -> float:
    """Return the share of the prediction's numbers that are the answer."""
    numbers = _NUMBER.findall(prediction)
    return numbers.count(answer) / len(numbers) if numbers else 0.0


def retrieval(prediction: str, answer: str) -> float:
    """Return the share of the prediction's numbers that are the answer's, which reads "Paragraph N".

    Raises:
        InputError: The answer names no paragraph.
    """
    paragraph = _PARAGRAPH.search(answer)
    if paragraph is None:
        raise InputError(f"the answer {answer[:40]!r} names no paragraph: expected one like 'Paragraph 7'")
    return count(prediction, paragraph[1])


def edit_similarity(prediction: str, answer: str) -> float:
    """Return difflib's similarity, in whole percent, of the answer and the prediction's first line of code."""
    lines = prediction.lstrip("\n").split("\n")
    code = next((line for line in lines if not any(mark in line for mark in _NO_CODE)), "")
    return round(100 * SequenceMatcher(None, code, answer).ratio()) / 100
