"""LongBench's metrics on numbers checked by hand, at the edges, and against slow restatements."""

import difflib
import string
from functools import lru_cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskkv.errors import InputError
from maskkv.eval.longbench import metrics

WORDS = st.lists(st.sampled_from(["a", "The", "an", "cat", "Cat,", "dog", "the.", "2", "ü", ".", "theatre"]))
SENTENCES = st.text(alphabet="xyz .\n", max_size=24)


@pytest.mark.parametrize(
    ("prediction", "answer", "expected"),
    [
        ("The cat sat.", "a cat", 2 / 3),  # "cat sat" and "cat": precision 1/2, recall 1
        ("cat cat", "cat", 2 / 3),  # repetition counts
        ("cat, dog", "dog cat", 1.0),
        ("the a an", "the", 0.0),  # nothing is left of either
        ("", "cat", 0.0),
        ("cat", "", 0.0),
        ("", "", 0.0),
        ("A-the", "athe", 1.0),  # punctuation goes first: "athe" is no article
        ("th'e cat", "cat", 1.0),  # and leaves one here
        ("theatre", "atre", 0.0),
        ("«cat»", "cat", 0.0),  # only ASCII punctuation goes
        ("ÉTÉ", "été", 1.0),
        ("3.5", "35", 1.0),
    ],
)
def test_f1(prediction, answer, expected):
    assert metrics.f1(prediction, answer) == pytest.approx(expected)


def slow_words(text):
    kept = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return [word for word in kept.split() if word not in ("a", "an", "the")]


@given(WORDS, WORDS)
def test_f1_is_that_of_matching_words_one_by_one(prediction, answer):
    said, left = slow_words(" ".join(prediction)), slow_words(" ".join(answer))
    total, matched = len(said) + len(left), 0
    for word in said:
        if word in left:
            left.remove(word)
            matched += 1
    expected = 2 * matched / total if matched else 0.0
    assert metrics.f1(" ".join(prediction), " ".join(answer)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("prediction", "answer", "expected"),
    [
        ("w1 w2 w6. w1 w3 w5", "w1 w2 w3 w4 w5", 0.8),  # the union w1 w2 w3 w5: 4 of 5 words on either side
        ("b a", "a b", 0.5),  # a longest common subsequence is one word
        ("x x x", "x", 1.0),  # unique words
        ("x y.", "x y", 1.0),
        ("", "x", 0.0),
        ("x", "", 0.0),
        ("...", "x", 0.0),
        ("x", "...", 0.0),
        ("...", "...", 0.0),
        ("\n", "x", 0.0),
        ("été ß", "été ß", 1.0),
    ],
)
def test_rouge_l(prediction, answer, expected):
    assert metrics.rouge_l(prediction, answer) == pytest.approx(expected, abs=1e-6)


def slow_rouge_l(prediction, answer):
    """Restate the package: where two subsequences are as long, the one that skips the prediction's word is taken."""
    said = [sentence.split() or [""] for sentence in prediction.split(".") if sentence]
    wanted = [sentence.split() or [""] for sentence in answer.split(".") if sentence]
    if not said or not wanted:
        return 0.0

    @lru_cache(None)
    def longest(left, right):
        if not left or not right:
            return ()
        if left[-1] == right[-1]:
            return (*longest(left[:-1], right[:-1]), left[-1])
        shorter, other = longest(left[:-1], right), longest(left, right[:-1])
        return shorter if len(shorter) > len(other) else other

    union = {word for left in wanted for right in said for word in longest(tuple(left), tuple(right))}
    precision = len(union) / len({word for sentence in said for word in sentence})
    recall = len(union) / len({word for sentence in wanted for word in sentence})
    return 2 * precision * recall / (precision + recall + 1e-8)


@given(SENTENCES, SENTENCES)
def test_rouge_l_is_that_of_the_union_of_subsequences(prediction, answer):
    assert metrics.rouge_l(prediction, answer) == pytest.approx(slow_rouge_l(prediction, answer), abs=1e-12)


def test_rouge_l_of_what_the_package_cannot_recurse_through_is_zero():
    assert metrics.rouge_l(" ".join(["x"] * 300), " ".join(["x"] * 300)) == pytest.approx(1.0)
    assert metrics.rouge_l(" ".join(["x"] * 1500), " ".join(["y"] * 5)) == 0.0


def test_rouge_l_of_enormous_sentences_fills_no_memory():
    text = "word " * 100_000
    assert metrics.rouge_l(text, text) == 0.0
    assert metrics.rouge_l(text, "other " * 100) == 0.0


def test_rouge_l_of_a_long_text_of_sentences_is_scored():
    text = "one two three four. " * 30
    assert metrics.rouge_l(text, text) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("prediction", "answer", "classes", "expected"),
    [
        ("Sport", "Sport", ["Sport", "Art"], 1.0),
        ("Sport and Art", "Sport", ["Sport", "Art"], 0.5),
        ("Art", "Sport", ["Sport", "Art"], 0.0),
        ("", "Sport", ["Sport", "Art"], 0.0),
        ("Sport", "Music", ["Sport", "Art"], 0.0),  # an answer that is no class
        ("Sport", "Sport", [], 0.0),
        ("sport", "Sport", ["Sport"], 0.0),
        # "Other" is part of "Other place" and does not count.
        ("Other place", "Other place", ["Other", "Other place"], 1.0),
        ("Other place", "Other", ["Other", "Other place"], 0.5),
        # Removing "Other" skips "place", which stays; were "Other place" between them, "place" would go as well.
        ("Other place", "Other place", ["Other", "place", "Other place"], 0.5),
        ("Other place", "Other place", ["Other", "Other place", "place"], 1.0),
        ("", "", [""], 1.0),
    ],
)
def test_classification(prediction, answer, classes, expected):
    assert metrics.classification(prediction, answer, classes) == expected


def slow_classification(prediction, answer, classes):
    """Walk by index: after a removal the next element takes the removed one's place and is not looked at."""
    named, index = [each for each in classes if prediction.find(each) >= 0], 0
    while index < len(named):
        if answer.find(named[index]) >= 0 and named[index] != answer:
            del named[named.index(named[index])]
        index += 1
    return 1 / len(named) if answer in named else 0


@given(
    st.text("ab", max_size=6),
    st.text("ab", max_size=4),
    st.lists(st.text("ab", max_size=3), max_size=8, unique=True),
)
def test_classification_skips_what_follows_a_removal(prediction, answer, classes):
    assert metrics.classification(prediction, answer, classes) == slow_classification(prediction, answer, classes)


@pytest.mark.parametrize(
    ("prediction", "answer", "expected"),
    [
        ("17", "17", 1.0),
        ("There are 17 of 20.", "17", 0.5),
        ("017", "17", 0.0),  # compared as text
        ("-17", "17", 1.0),
        ("17.0", "17", 0.5),
        ("seventeen", "17", 0.0),
        ("", "17", 0.0),
        ("17", "", 0.0),
    ],
)
def test_count(prediction, answer, expected):
    assert metrics.count(prediction, answer) == expected


@pytest.mark.parametrize(
    ("prediction", "answer", "expected"),
    [
        ("Paragraph 3", "Paragraph 3", 1.0),
        ("3", "Paragraph 3", 1.0),
        ("Paragraph 3, not 30", "Paragraph 3", 0.5),
        ("Paragraph", "Paragraph 3", 0.0),
        ("4", "Paragraph 3 and Paragraph 4", 0.0),  # the first one named
    ],
)
def test_retrieval(prediction, answer, expected):
    assert metrics.retrieval(prediction, answer) == expected


def test_retrieval_refuses_an_answer_that_names_no_paragraph():
    with pytest.raises(InputError, match="'paragraph 3' names no paragraph: expected one like 'Paragraph 7'"):
        metrics.retrieval("3", "paragraph 3")


@pytest.mark.parametrize(
    ("prediction", "answer", "expected"),
    [
        ("x = 1", "x = 1", 1.0),
        ("\n\nx = 1\ny = 2", "x = 1", 1.0),
        ("```python\n# set x\n// set x\nx = 1", "x = 1", 1.0),
        ("# set x\n\nx = 1", "x = 1", 0.0),  # the blank line is the first without a mark
        ("# nothing else", "x = 1", 0.0),
        ("", "", 1.0),
        ("", "x", 0.0),
        ("\r\nx", "x", 0.0),  # only newlines are stripped
        ("    x = 1", "x = 1", 0.71),  # 2 · 5 / 14
        ("ab", "b", 0.67),
        ("aaab", "ab", 0.67),
    ],
)
def test_edit_similarity(prediction, answer, expected):
    assert metrics.edit_similarity(prediction, answer) == expected


def test_edit_similarity_is_of_prediction_against_answer():
    """Difflib's ratio is not symmetric, least of all above 200 characters, where it leaves out frequent ones."""
    pair = ("x = " + "a" * 150, "y = " + "ab" * 110)
    assert metrics.edit_similarity(*pair) == round(100 * difflib.SequenceMatcher(None, *pair).ratio()) / 100
    assert metrics.edit_similarity(*pair) != metrics.edit_similarity(*reversed(pair))


def test_edit_similarity_rounds_halves_to_even():
    # 2 · 1 / 16 = 0.125 and 2 · 3 / 16 = 0.375
    scores = [metrics.edit_similarity("abc"[:n] + "-" * (8 - n), "abc"[:n] + "+" * (8 - n)) for n in (1, 3)]
    assert scores == [0.12, 0.38]


@given(st.text(), st.text())
def test_every_metric_is_between_zero_and_one(prediction, answer):
    for metric in (metrics.f1, metrics.rouge_l, metrics.count, metrics.edit_similarity):
        assert 0.0 <= metric(prediction, answer) <= 1.0
    assert 0.0 <= metrics.classification(prediction, answer, [answer, "a"]) <= 1.0


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_removing_words_from_a_right_prediction_never_raises_its_score(one, two, three):
    parts = [f"x{one}", f"y{two}", f"z{three}"]
    scores = [metrics.f1(" ".join(parts[:n]), " ".join(parts)) for n in (1, 2, 3)]
    assert all(fewer <= more for fewer, more in pairwise(scores))
