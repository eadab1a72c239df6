"""Questions that name what is asked for without giving the answer away."""

from random import Random

from maskkv.reading.fact import Phrasings


def ask(rng: Random, phrasings: Phrasings, unseen: bool, value: str, **names: str) -> str:
    """Ask with one of the phrasings, but none that happens to hold the value.

    Raises ValueError when all of them do.
    """
    drawn = phrasings.held_out if unseen else phrasings.training
    questions = [phrasing.format(**names) for phrasing in drawn]
    silent = [question for question in questions if value.lower() not in question.lower()]
    if not silent:
        raise ValueError(f"every question holds the value {value!r}")
    question = rng.choice(silent)
    return question[0].upper() + question[1:] if question.startswith("the ") else question


def told_apart(value: str, line: str, others: list[tuple[str, str]]) -> bool:
    """Whether no other pair of a value and its line holds this value, nor this line one of theirs."""
    return all(value not in other_line and other not in line for other, other_line in others)
