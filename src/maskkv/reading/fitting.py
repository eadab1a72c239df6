"""Facts that can stand in one document without being taken for one another."""

from collections.abc import Callable
from random import Random

from maskkv.reading.fact import Fact

FEWEST_WORDS = 6
MOST_WORDS = 45
TRIES, TRIES_ALIKE = 40, 6
"""How often a fact is drawn anew for one that does not fit; not often where few are alike."""

Draw = Callable[[], Fact]


def collected(rng: Random, count: int, alike: Draw, any_other: Draw) -> tuple[Fact, ...]:
    """Draw facts that fit together; in half of the cases several are of those that are easily confused.

    Raises:
        ValueError: Too few fit.
    """
    facts: list[Fact] = []
    if count > 1 and rng.random() < 0.5:
        _add(facts, rng.randint(2, count), alike, TRIES_ALIKE)
    _add(facts, count, any_other, TRIES)
    if len(facts) < count:
        raise ValueError(f"only {len(facts)} of {count} facts fit together")
    rng.shuffle(facts)
    return tuple(facts)


def _add(facts: list[Fact], count: int, draw: Draw, tries: int) -> None:
    for _ in range(tries * count):
        if len(facts) >= count:
            return
        fact = draw()
        if sound(fact) and all(apart(fact, other) for other in facts):
            facts.append(fact)


def sound(fact: Fact) -> bool:
    """Say whether a sentence states its value, its question does not, and it is neither too short nor too long."""
    return (
        len(fact.value) > 1
        and fact.value in fact.text
        and fact.value.lower() not in fact.question.lower()
        and FEWEST_WORDS <= len(fact.text.split()) <= MOST_WORDS
    )


def apart(fact: Fact, other: Fact) -> bool:
    """Say whether two facts ask for different things and neither sentence holds the other's value."""
    words, others = set(fact.key.lower().split()), set(other.key.lower().split())
    return (
        not (words <= others or others <= words)
        and fact.value.lower() not in other.text.lower()
        and other.value.lower() not in fact.text.lower()
    )
