"""What RULER's generated tasks put into a prompt: pure functions of how much there is of it and a random source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import pi
from random import Random
from string import ascii_lowercase, ascii_uppercase
from typing import Literal
from uuid import UUID

from maskkv.errors import InputError
from maskkv.mini import words

NOISE = ("The grass is green.", "The sky is blue.", "The sun is yellow.", "Here we go.", "There and back again.")
"""RULER's background, said over and over."""
HOPS = 4
COMMON, OFTEN, SELDOM = 10, 30, 3
"""How many words are common, how often those are listed, and how often the others."""
DOTS, FEWEST = "....", 80
"""The most frequent thing in a coded text, which is no answer, and with how many words the ranking is clear."""

NOUNS = (*words.THINGS, *words.PEOPLE_AND_PLACES, *(member for category in words.CATEGORIES for member in category))


@dataclass(frozen=True)
class RulerPrompt:
    """Hold a prompt, and what an answer must contain."""

    text: str
    references: tuple[str, ...]


def needles(
    units: int,
    rng: Random,
    *,
    key: Literal["words", "uuid"],
    value: Literal["number", "uuid"],
    noise: Literal["sentences", "needles"],
) -> RulerPrompt:
    """Hide a value under a key among `units` lines: of background, or of other keys with their values."""
    seen: set[str] = set()

    def line() -> tuple[str, str, str]:
        name = _fresh(lambda: _spelled(key, rng), seen)
        found = _fresh(lambda: _spelled(value, rng), seen)
        return name, found, f"One of the special magic {value}s for {name} is: {found}."

    name, found, said = line()
    lines = [NOISE[index % len(NOISE)] if noise == "sentences" else line()[2] for index in range(units)]
    lines.insert(rng.randint(0, units), said)
    separator = " " if noise == "sentences" else "\n"
    return RulerPrompt(
        f"A special magic {value} is hidden in the text below. Remember it: you will be asked for it afterwards.\n"
        f"{separator.join(lines)}\n"
        f"What is the special magic {value} for {name} that the text mentions?\n"
        f"The special magic {value} for {name} mentioned in the text is",
        (found,),
    )


def variables(units: int, rng: Random) -> RulerPrompt:
    """Hide a chain of assignments (one value, 4 hops) among `units` lines of background, in order."""
    seen: set[str] = set()
    names = [_fresh(lambda: "".join(rng.choices(ascii_uppercase, k=5)), seen) for _ in range(HOPS + 1)]
    value = str(rng.randint(10_000, 99_999))
    chain = [f"VAR {names[0]} = {value}"] + [f"VAR {new} = VAR {old}" for old, new in pairwise(names)]
    lines = [NOISE[index % len(NOISE)] for index in range(units)]
    places = sorted(rng.randint(0, units) for _ in chain)
    for place, said in reversed(list(zip(places, chain, strict=True))):
        lines.insert(place, said)
    text = "\n".join(lines)
    return RulerPrompt(
        f"Follow the chain of variable assignments that is hidden in the text below.\n\n{text}\n\n"
        f"Question: which variables have the value {value}, given there or taken over from another variable?\n"
        f"Answer: the {len(names)} variables that have the value {value} are",
        tuple(names),
    )


def common_words(units: int, rng: Random) -> RulerPrompt:
    """List 10 words 30 times each among `units` others 3 times each, numbered, and ask for the 10."""
    known = [f"{adjective} {noun}" for adjective in words.ADJECTIVES for noun in NOUNS]
    if COMMON + units > len(known):
        raise InputError(f"cwe has {len(known)} words, too few for this length: expected a shorter one")
    chosen = rng.sample(known, COMMON + units)
    listed = chosen[:COMMON] * OFTEN + chosen[COMMON:] * SELDOM
    rng.shuffle(listed)
    numbered = " ".join(f"{number}. {word}" for number, word in enumerate(listed, start=1))
    return RulerPrompt(
        f"Below is a numbered list. Some entries are in it more often than others. Remember those.\n{numbered}\n"
        f"Question: what are the {COMMON} most common entries of the list?\n"
        f"Answer: the {COMMON} entries that are in the list most often are",
        tuple(chosen[:COMMON]),
    )


def frequent_words(units: int, rng: Random) -> RulerPrompt:
    """Write coded words whose counts fall as 1 / rank², rank 1 being dots, and ask for the ranks 2 to 4.

    The counts are `80 + units` words' expected ones, rounded down: no two of the ranks 1 to 5 are equally frequent.
    """
    seen: set[str] = set()
    said: list[str] = []
    ranked = [DOTS]
    total = (units + FEWEST) * 6 / pi**2
    while total >= len(ranked) ** 2:
        said += [ranked[-1]] * int(total / len(ranked) ** 2)
        ranked.append(_fresh(lambda: "".join(rng.choices(ascii_lowercase, k=6)), seen))
    rng.shuffle(said)
    return RulerPrompt(
        f"Count the coded words of the text below, and find the three most frequent ones.\n{' '.join(said)}\n"
        f"Question: what are the three most frequent coded words of the text? The dots ({DOTS}) do not count.\n"
        "Answer: the three words that are most frequent in the text are",
        tuple(ranked[1:4]),
    )


def _fresh(draw: Callable[[], str], seen: set[str]) -> str:
    """Draw until something new comes."""
    while (drawn := draw()) in seen:
        pass
    seen.add(drawn)
    return drawn


def _spelled(kind: Literal["words", "number", "uuid"], rng: Random) -> str:
    if kind == "uuid":
        return str(UUID(int=rng.getrandbits(128), version=4))
    if kind == "number":
        return str(rng.randint(1_000_000, 9_999_999))
    return f"{rng.choice(words.ADJECTIVES)}-{rng.choice(NOUNS)}"
