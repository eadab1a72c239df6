"""Facts stated in prose: each sentence answers its question, and no two of a document are taken for one another."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskkv.reading import attributes, events, happenings, long_values, names, stated
from maskkv.reading.attribute import Attribute
from maskkv.reading.events import WHEN, WHERE, WHO
from maskkv.reading.fact import Fact, Phrasings
from maskkv.reading.grammar import article, listed, ordinal, possessive, spelled
from maskkv.reading.long_phrasings import LISTS, LOCATIONS, QUOTES, REASONS
from maskkv.reading.stated import QUESTIONS
from maskkv.reading.values import Values

Make = Callable[[Values, int, bool], tuple[Fact, ...]]

KINDS = [pytest.param(each.facts, id=each.__name__.rpartition(".")[2]) for each in (stated, events, long_values)]
PHRASINGS = {
    "stated": QUESTIONS,
    "who": WHO,
    "when": WHEN,
    "where": WHERE,
    "lists": LISTS,
    "locations": LOCATIONS,
    "quotes": QUOTES,
    "reasons": REASONS,
}
SENTENCE_PARTS = [
    "person place company product date month weekday time year code serial password number price percentage path url",
    "host email phone ip_address address full_address item item_list short_sentence slogan proper_name",
]


@pytest.mark.parametrize("make", KINDS)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 12), unseen=st.booleans())
def test_a_sentence_states_what_its_question_asks_for(make: Make, seed: int, count: int, unseen: bool) -> None:
    facts = make(Values(Random(seed)), count, unseen)
    assert len(facts) == count
    for fact in facts:
        assert fact.value in fact.text
        assert fact.value.lower() not in fact.question.lower()
        assert 6 <= len(fact.text.split()) <= 45
        assert fact.text.endswith(".")
        assert fact.text[0] == fact.text[0].upper()
        for text in (fact.text, fact.question):
            assert not set("{}\n") & set(text.replace(fact.value, ""))
            assert "  " not in text
            assert " ," not in text


@pytest.mark.parametrize("make", KINDS)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32))
def test_no_fact_is_taken_for_another(make: Make, seed: int) -> None:
    facts = make(Values(Random(seed)), 8, False)
    assert len({fact.key for fact in facts}) == len(facts)
    for fact in facts:
        assert not any(fact.value in other.text for other in facts if other is not fact)


@pytest.mark.parametrize("make", KINDS)
def test_the_same_seed_makes_the_same_facts(make: Make) -> None:
    assert make(Values(Random(7)), 5, False) == make(Values(Random(7)), 5, False)
    assert make(Values(Random(7)), 5, False) != make(Values(Random(8)), 5, False)


@pytest.mark.parametrize("make", KINDS)
def test_facts_hardly_ever_repeat(make: Make) -> None:
    texts = [fact.text for seed in range(60) for fact in make(Values(Random(seed)), 2, False)]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("make", KINDS)
def test_half_of_the_documents_have_facts_with_words_in_common(make: Make) -> None:
    confusing = 0
    for seed in range(100):
        one, other = (set(fact.key.split()) for fact in make(Values(Random(seed)), 2, False))
        confusing += len(one & other - {"the", "of", "for", "in"}) > 0
    assert 35 <= confusing <= 80


@pytest.mark.parametrize("phrasings", PHRASINGS.values(), ids=PHRASINGS)
def test_a_quarter_of_the_phrasings_is_held_out(phrasings: Phrasings) -> None:
    every = phrasings.training + phrasings.held_out
    assert len(set(every)) == len(every) >= 20
    assert len(phrasings.held_out) == pytest.approx(len(every) / 4, abs=1)


def test_there_are_many_attributes_templates_and_happenings() -> None:
    tables = [each for each in vars(attributes).values() if isinstance(each, tuple)]
    every = [each for table in tables for each in table if isinstance(each, Attribute)]
    assert len({each.name for each in every}) >= 60
    assert {each.sort for each in every} == set(stated.BY_SORT)
    assert len({*stated.ANY, *(each for some in stated.BY_SORT.values() for each in some)}) >= 25
    assert sum(len(verb.objects) for verb in happenings.VERBS) >= 60
    assert len(QUESTIONS.training) == 27
    assert len(QUESTIONS.held_out) == 9


def test_there_are_many_names() -> None:
    assert len(set(names.FIRST_NAMES)) >= 150
    assert len(set(names.SURNAMES)) >= 200


@pytest.mark.parametrize("method", " ".join(SENTENCE_PARTS).split())
def test_values_are_many_and_fit_in_a_line(method: str) -> None:
    values = Values(Random(0))
    drawn = [getattr(values, method)() for _ in range(100)]
    assert all(each == each.strip() and "\n" not in each and not each.endswith(".") for each in drawn)
    assert len(set(drawn)) >= (7 if method == "weekday" else 40)


def test_small_words_and_endings() -> None:
    assert all(article(each) == "an" for each in ("apple", "umbrella", "hourly rate"))
    assert all(article(each) == "a" for each in ("pear", "unit", "user name"))
    assert [f"{each}{ordinal(each)}" for each in (1, 2, 3, 4, 11, 12, 13, 21, 112)] == (
        "1st 2nd 3rd 4th 11th 12th 13th 21st 112th".split()
    )
    assert [spelled(each) for each in (0, 12, 13, 19, 20, 42)] == (
        "zero twelve thirteen nineteen twenty forty-two".split()
    )
    assert listed(["salt", "rope", "two lamps"]) == "salt, rope and two lamps"
    assert [possessive(each) for each in ("the gate", "the Jones")] == ["the gate's", "the Jones'"]
