"""Documents state what they are asked for, once, in a text of the wanted length."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskkv.reading.compose import KINDS, Document, ask, ask_in_vain, assemble, make, place, without
from maskkv.reading.fact import Block, Fact
from maskkv.reading.several import ABSENT, INSTRUCTIONS
from maskkv.reading.tasks import CATALOGUE, TASKS, Recipe, Sample, filler, passages, sample, score
from maskkv.reading.values import Values

GATE = Fact("The code for the gate is 4417.", "4417", "code gate", "What is the code for the gate?")
BARN = Fact("The code for the barn is 9035.", "9035", "code barn", "What is the code for the barn?")
LINES = Block(
    "[server]\n  port = 80,\n  host = web",
    (Fact("port = 80", "80", "port", "Which port?"), Fact("host = web", "web", "host", "Which host?")),
)


def words(text: str) -> int:
    return len(text.split())


def asked_of(made: Sample) -> str:
    """Give what the model reads, without the question."""
    return made.content.replace(made.question, "")


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_answer_stands_in_the_text_unless_it_is_that_it_does_not(task: str, seed: int) -> None:
    made = sample(task, 400, seed, words)
    quoted = [line for line in made.answer.split("\n") if line in asked_of(made)]
    assert len(quoted) == (len(made.answer.split("\n")) if CATALOGUE[task].stated else 0)
    assert made.question in made.content
    assert score(made, made.answer) == 1.0
    assert all(value not in made.question for value in made.values)
    # A short text is one that its facts alone make long.
    assert words(made.content) <= 400


@pytest.mark.parametrize("task", TASKS)
def test_a_sample_is_decided_by_its_seed(task: str) -> None:
    assert sample(task, 300, 5, words) == sample(task, 300, 5, words)
    assert sample(task, 300, 5, words).content != sample(task, 300, 6, words).content


def test_tasks_are_what_the_catalogue_says() -> None:
    several = sample("several", 500, 1, words)
    assert len(several.values) == len(several.answer.split("\n")) == 3
    assert sample("absent", 500, 1, words).answer == ABSENT
    first = sample("stated-first", 500, 1, words)
    assert first.question in first.content.split("\n\n")[0]
    last = sample("stated", 500, 1, words)
    assert last.content.endswith(last.question)
    assert "Question: " in sample("stated-middle", 500, 1, words).content
    with pytest.raises(KeyError):
        sample("nothing", 500, 1, words)
    with pytest.raises(ValueError, match="too few"):
        sample("several", 40, 1, words)


@pytest.mark.parametrize(
    ("said", "points"),
    [
        ("The code for the gate is 4417.", 1.0),
        ("It is\n4417", 1.0),
        ("The code for the gate is 441.", 0.0),
        ("4417 Not in the text.", 0.0),
        ("", 0.0),
    ],
)
def test_a_right_answer_contains_the_value(said: str, points: float) -> None:
    made = Sample("stated", 10, 1, "", "", GATE.text, (GATE.value,), 8)
    assert score(made, said) == points


def test_what_is_not_in_the_text_is_said_in_these_words() -> None:
    made = Sample("absent", 10, 1, "", "", ABSENT, (ABSENT,), 8)
    assert score(made, "Not in the text.") == 1.0
    assert score(made, "The code is 4417.") == 0.0


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 8))
def test_a_fact_that_is_taken_out_is_gone(kind: str, seed: int, count: int) -> None:
    blocks = make(kind, Values(Random(seed)), count, unseen=False)
    facts = [fact for block in blocks for fact in block.facts]
    assert len(facts) == count
    left = without(blocks, facts[0])
    assert [fact for block in left for fact in block.facts] == facts[1:]
    assert facts[0].text not in "\n".join(block.text for block in left).split("\n")
    assert all(fact.text in block.text for block in left for fact in block.facts)


def test_a_line_is_taken_out_with_its_indent_and_comma() -> None:
    assert without([LINES], LINES.facts[0]) == [Block("[server]\n  host = web", LINES.facts[1:])]
    assert without([Block(GATE.text, (GATE,))], GATE) == []


def test_facts_lie_among_the_filler_and_files_stay_whole() -> None:
    blocks = [Block(GATE.text, (GATE,)), LINES]
    made = assemble(Random(3), blocks, iter(["One. Two. Three."] * 40), 60, words)
    text = str(made)
    assert GATE.text in text
    assert LINES.text in made.parts
    assert 35 <= words(text) <= 60
    assert set(made.facts) == {GATE, *LINES.facts}
    with pytest.raises(ValueError, match="too few"):
        assemble(Random(3), blocks, iter([]), 5, words)


def test_a_question_stands_where_it_should() -> None:
    document = Document(("One.", "Two.", "Three.", "Four."), ())
    rng = Random(0)
    assert place(document, "Who?", "last", rng).endswith("Who?")
    assert place(document, "Who?", "first", rng).split("\n\n")[0].endswith("Who?")
    parts = place(document, "Who?", "middle", rng).split("\n\n")
    assert "Question: Who?" in parts[1:-1]
    instructed = place(document, "Who?", "instructed", rng).split("\n\n")[-1]
    assert sum(instruction in instructed for instruction in INSTRUCTIONS) == 3


def test_several_questions_are_answered_line_by_line() -> None:
    asked = ask((GATE, BARN), Random(1))
    assert GATE.question in asked.question
    assert asked.question.index(GATE.question) < asked.question.index(BARN.question)
    assert asked.answer == f"{GATE.text}\n{BARN.text}"
    assert asked.values == ("4417", "9035")
    assert ask_in_vain(GATE).answer == ABSENT


def test_filler_is_prose_of_many_passages_without_questions() -> None:
    assert len(passages()) > 200
    assert not any("?" in paragraph for paragraph in passages())
    drawn = filler(Random(1))
    assert len({next(drawn) for _ in range(100)}) > 60


def test_every_kind_of_task_has_its_recipe() -> None:
    assert {how.kind for how in CATALOGUE.values()} == set(KINDS)
    assert {how.placement for how in CATALOGUE.values()} == {"last", "first", "middle", "instructed"}
    assert all(isinstance(how, Recipe) and how.about for how in CATALOGUE.values())
