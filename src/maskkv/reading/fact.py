"""What a document states, and how somebody asks for it."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Fact:
    """One sentence or line of a document that answers a question.

    `text` is the sentence or line as it stands there, and the right answer; `value` is the part of it that any
    right answer must contain; `key` says what is asked for, so that no document states it twice.
    """

    text: str
    value: str
    key: str
    question: str


@dataclass(frozen=True)
class Block:
    """Text that stands together in a document: a sentence of a paragraph, or the lines of a file."""

    text: str
    facts: tuple[Fact, ...]


# A phrasing turns the names of what is asked for into a question.
Phrasing = str


@dataclass(frozen=True)
class Phrasings:
    """Ways to ask for one kind of fact; the held-out ones are for evaluation alone.

    Each is a format string such as "What is the {attribute} of {entity}?".
    """

    training: tuple[Phrasing, ...]
    held_out: tuple[Phrasing, ...]

    def draw(self, rng: Random, unseen: bool) -> Phrasing:
        """Draw one of the held-out phrasings where `unseen`, else one of the others."""
        return rng.choice(self.held_out if unseen else self.training)
