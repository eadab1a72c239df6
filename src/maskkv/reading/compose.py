"""Documents: paragraphs of filler with facts among them, and a question about them in its place."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from maskkv.reading import configs, events, logs, long_values, stated, tables
from maskkv.reading.fact import Block, Fact
from maskkv.reading.several import ABSENT, INSTRUCTIONS, LEADS, several
from maskkv.reading.values import Values

Placement = Literal["last", "first", "middle", "instructed"]
Count = Callable[[str], int]

PROSE = {"stated": stated.facts, "event": events.facts, "long": long_values.facts}
LINES = {"config": configs.block, "log": logs.block, "table": tables.block}
KINDS = (*PROSE, *LINES)

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
# How often a sentence stands as a paragraph of its own.
_ALONE = 0.15
_TRIES = 20


@dataclass(frozen=True)
class Asked:
    """A question and its answer; `values` are what a right answer must contain."""

    question: str
    answer: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Document:
    """A text, by its paragraphs and files, and the facts that it states."""

    parts: tuple[str, ...]
    facts: tuple[Fact, ...]

    def __str__(self) -> str:
        """Give the text."""
        return "\n\n".join(self.parts)


def make(kind: str, values: Values, count: int, unseen: bool) -> list[Block]:
    """Make `count` facts of a kind: sentences, or the lines of one file.

    Raises ValueError when not so many can be told apart.
    """
    for _ in range(_TRIES):
        try:
            if kind in LINES:
                return [LINES[kind](values.rng, count, unseen)]
            return [Block(fact.text, (fact,)) for fact in PROSE[kind](values, count, unseen)]
        except ValueError:
            continue
    raise ValueError(f"{count} facts of the kind {kind!r} cannot be told apart: make fewer")


def without(blocks: Sequence[Block], fact: Fact) -> list[Block]:
    """Take one fact out of the blocks."""
    left = []
    for block in blocks:
        if fact not in block.facts:
            left.append(block)
        elif len(block.facts) > 1:
            lines = [line for line in block.text.split("\n") if line.strip().rstrip(",") != fact.text.rstrip(",")]
            left.append(Block("\n".join(lines), tuple(each for each in block.facts if each != fact)))
    return left


def assemble(rng: Random, blocks: Sequence[Block], filler: Iterator[str], room: int, count: Count) -> Document:
    """Lay blocks among paragraphs of filler, at most about `room` tokens together.

    Raises ValueError when the blocks alone take more.
    """
    used = sum(count(block.text) + 2 for block in blocks)
    if used > room:
        raise ValueError(f"{room} tokens are too few for what the document must state: this takes {used}")
    paragraphs = [_SENTENCE_END.split(text) for text in _filling(filler, room - used, count)]
    lines = [block for block in blocks if len(block.facts) > 1 or "\n" in block.text]
    for block in blocks:
        if block in lines:
            continue
        if not paragraphs or rng.random() < _ALONE:
            paragraphs.insert(rng.randint(0, len(paragraphs)), [block.text])
        else:
            chosen = rng.choice(paragraphs)
            chosen.insert(rng.randint(0, len(chosen)), block.text)
    texts = [" ".join(sentences) for sentences in paragraphs]
    for block in lines:
        texts.insert(rng.randint(0, len(texts)), block.text)
    return Document(tuple(texts), tuple(fact for block in blocks for fact in block.facts))


def _filling(filler: Iterator[str], room: int, count: Count) -> list[str]:
    """Take paragraphs, the last one cut behind a sentence, of at most `room` tokens."""
    taken: list[str] = []
    while room > 0:
        paragraph = next(filler)
        cost = count(paragraph) + 2
        if cost > room:
            kept = ""
            for sentence in _SENTENCE_END.split(paragraph):
                longer = f"{kept} {sentence}".strip()
                if count(longer) + 2 > room:
                    break
                kept = longer
            return [*taken, kept] if kept else taken
        taken.append(paragraph)
        room -= cost
    return taken


def ask(facts: Sequence[Fact], rng: Random) -> Asked:
    """Ask for one fact, or for several at once: their quotations are the answer, a line each."""
    question = several(tuple(fact.question for fact in facts), rng) if len(facts) > 1 else facts[0].question
    return Asked(question, "\n".join(fact.text for fact in facts), tuple(fact.value for fact in facts))


def ask_in_vain(fact: Fact) -> Asked:
    """Ask for a fact that the document does not state."""
    return Asked(fact.question, ABSENT, (ABSENT,))


def place(document: Document, question: str, placement: Placement, rng: Random) -> str:
    """Put a question to a text, as somebody would send both."""
    parts, asked = [*document.parts], rng.choice(LEADS) + question
    if placement == "instructed":
        asked = " ".join((asked, *rng.sample(INSTRUCTIONS, 3)))
    if placement == "first":
        parts.insert(0, asked)
    elif placement == "middle":
        # Among other text nobody could tell a question without a mark from the text's own.
        quarter = len(parts) // 4
        parts.insert(rng.randint(quarter, max(quarter, len(parts) * 3 // 4)), f"Question: {question}")
    else:
        parts.append(asked)
    return "\n\n".join(parts)
