"""The generated benchmark: lengths, answers, seeds, and that nothing but the document gives an answer away."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskkv import mini
from maskkv.mini import words
from maskkv.mini.compose import KINDS, compose

ASKING_LATE = [name for name, task in mini.CATALOGUE.items() if task.placement in ("last", "instructed")]

tasks = st.sampled_from(mini.TASKS)
lengths = st.integers(120, 1100)
seeds = st.integers(0, mini.FIRST_TRAINING_SEED - 1)


@settings(max_examples=60, deadline=None)
@given(tasks, lengths, seeds)
def test_a_prompt_is_as_long_as_asked_and_never_longer(task: str, length: int, seed: int) -> None:
    size = len(mini.sample(task, length, seed).prompt.split())
    assert length - 3 <= size <= length


@settings(max_examples=30, deadline=None)
@given(tasks, lengths, seeds)
def test_the_same_arguments_make_the_same_sample(task: str, length: int, seed: int) -> None:
    assert mini.sample(task, length, seed) == mini.sample(task, length, seed)


@settings(max_examples=30, deadline=None)
@given(tasks, seeds)
def test_another_seed_makes_another_document(task: str, seed: int) -> None:
    assert mini.sample(task, 300, seed).document != mini.sample(task, 300, seed + 1).document


@settings(max_examples=60, deadline=None)
@given(tasks, lengths, seeds)
def test_every_word_is_known(task: str, length: int, seed: int) -> None:
    made = mini.sample(task, length, seed)
    assert set(f"{made.prompt} {made.answer}".split()) <= set(words.VOCABULARY) - set(words.SPECIAL)


@settings(max_examples=60, deadline=None)
@given(tasks, lengths, seeds)
def test_the_response_has_room_for_the_answer_and_its_end(task: str, length: int, seed: int) -> None:
    made = mini.sample(task, length, seed)
    assert made.gen_length % 8 == 0
    assert len(made.answer.split()) + 1 <= made.gen_length


@settings(max_examples=120, deadline=None)
@given(tasks, lengths, seeds)
def test_a_reader_who_knows_only_the_prompt_finds_the_answer(task: str, length: int, seed: int) -> None:
    made = mini.sample(task, length, seed)
    assert read(made.prompt) == made.answer


def test_document_and_question_make_the_content_and_the_cue_the_prompt() -> None:
    for task in mini.TASKS:
        made = mini.sample(task, 200, 5)
        assert made.prompt == f"{made.content} answer :"
        assert made.question_inside == (task not in ASKING_LATE)
        assert made.question in made.content
        assert (made.question in made.document) == made.question_inside


def test_questions_stand_where_the_task_says() -> None:
    assert mini.sample("multi-key-first", 200, 1).prompt.startswith("question :")
    late = mini.sample("multi-key", 200, 1)
    assert late.prompt.endswith(f"{late.question} answer :")
    middle = mini.sample("multi-key-middle", 400, 1).prompt.split().index("question")
    assert 80 < middle < 320
    instructed = mini.sample("multi-key-instructed", 200, 1).question.split()
    assert 30 <= len(instructed) - instructed.index("?") - 1 <= 40


def test_one_worked_sample() -> None:
    made = mini.sample("multi-question", 64, 2)
    names = re.findall(r"(?:one|two|three) (\w+) holds what", made.question)
    said = [re.search(rf"{name} holds ((?:\d ){{3}})", made.document) for name in names]
    expected = [
        f"{number} {name} holds {found[1]}."
        for number, name, found in zip(("one", "two", "three"), names, said, strict=True)
        if found
    ]
    assert made.answer == " ".join(expected)


def test_only_the_whole_answer_scores() -> None:
    made = mini.sample("multi-key", 120, 3)
    assert mini.score(made, made.answer) == 1.0
    assert mini.score(made, f" {made.answer}  <|endoftext|> anna holds 1") == 1.0
    assert mini.score(made, made.answer[:-2]) == 0.0
    assert mini.score(made, f"{made.answer} anna") == 0.0
    assert mini.score(made, "") == 0.0


def test_too_short_a_length_is_an_error_that_says_how_much_is_needed() -> None:
    with pytest.raises(ValueError, match=r"length 20 is too short .* at least \d+ words"):
        mini.sample("multi-value", 20, 0)


def test_an_unknown_task_is_an_error() -> None:
    with pytest.raises(KeyError):
        mini.sample("nosuch", 100, 0)


def test_the_vocabulary_names_each_word_once_and_its_parts_do_not_overlap() -> None:
    assert max(Counter(words.VOCABULARY).values()) == 1
    parts = (words.NAMES, words.THINGS, words.LABELS, words.DIGITS, words.PEOPLE_AND_PLACES, *words.CATEGORIES)
    assert max(Counter(word for part in parts for word in part).values()) == 1


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.integers(100, 600), st.randoms(use_true_random=False))
def test_open_words_are_given_away_elsewhere(kind: str, length: int, rng: object) -> None:
    """What training may hide must be stated twice, else hiding it would teach guessing."""
    made = compose(kind, "last", length, rng)  # type: ignore[arg-type]
    text = " ".join(made.document)
    for gap in made.open:
        if kind == "labels" and len(gap) == 1:
            label = made.document[gap[0]]
            assert text.count(f"counts as {label} .") >= 2
        else:
            assert text.count(" ".join(made.document[place] for place in gap)) >= 2


def read(prompt: str) -> str:
    """Answer a prompt by searching its text: an independent restatement of what the tasks mean."""
    asked = re.search(r"question : ([^?]*\?(?: (?:two|three)[^?]*\?)*)", prompt)
    assert asked
    question = asked[1]
    text = prompt.replace(asked[0], "")
    sentences = [f"{part} ." for part in text.split(" . ")]
    sentences = [part.removeprefix(". ").strip() for part in sentences]

    def saying(start: str) -> str:
        (found,) = {part for part in sentences if part.startswith(f"{start} ")}
        return found

    if hop := re.fullmatch(r"(\w+) trusts who holds what \?", question):
        first = saying(f"{hop[1]} trusts")
        return f"{first[:-2]} {saying(f'{first.split()[2]} holds').split(' ', 1)[1]}"
    if likes := re.fullmatch(r"(\w+) likes what \?", question):
        return " ".join(saying(f"{likes[1]} {how}") for how in ("likes", "also likes", "finally likes"))
    if counts := re.fullmatch(r"(\w+) counts as what \?", question):
        (kind,) = [category for category in words.CATEGORIES if counts[1] in category]
        shown = dict(re.findall(r"(\S+) counts as (\w+) \.", text))
        (label,) = {label for item, label in shown.items() if item in kind}
        assert counts[1] not in shown
        return f"{counts[1]} counts as {label} ."
    if passage := re.fullmatch(r"which passage says (.*) \?", question):
        before = text[: text.index(f"{passage[1]} .")]
        (*_, number) = re.findall(r"passage (\d \d) \.", before)
        return f"passage {number} ."
    parts = re.findall(r"(?:(one|two|three) )?(\w+) (holds|carries) what \?", question)
    return " ".join(f"{number} {saying(f'{name} {how}')}".strip() for number, name, how in parts)
