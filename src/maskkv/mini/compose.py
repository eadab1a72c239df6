"""Documents with a question and its answer, as words: what `sample` publishes and training reads.

A composition is made in two moves: the *kind* of task says which facts must be there, what is asked and what
the answer is; the *placement* says where the question stands. Everything random comes from one `Random`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from maskkv.mini import filler, words
from maskkv.mini.facts import Facts, describe
from maskkv.mini.filler import Sentence

Placement = Literal["last", "first", "middle", "instructed"]

CUE: Sentence = ("answer", ":")
_ASK: Sentence = ("question", ":")
# The largest share of a document that facts nobody asks for may take.
_MOST_DISTRACTORS = 0.3


@dataclass(frozen=True)
class Line:
    """A sentence of a document; `open` are the words that another line of the document gives away."""

    words: Sentence
    open: tuple[int, ...] = ()


@dataclass(frozen=True)
class Composition:
    """A document with its question placed, and the answer; `open` are prompt positions as in `Line`."""

    document: Sentence
    question: Sentence
    answer: Sentence
    placement: Placement
    open: tuple[tuple[int, ...], ...]

    @property
    def inside(self) -> bool:
        """Tell whether the document already contains its question."""
        return self.placement in ("first", "middle")

    @property
    def content(self) -> Sentence:
        """Join document and question, as a user would send them."""
        return self.document if self.inside else self.document + self.question

    @property
    def prompt(self) -> Sentence:
        """Add the cue after which the model answers."""
        return self.content + CUE


@dataclass
class Material:
    """What a kind of task puts into a document."""

    question: Sentence
    answer: Sentence
    needed: list[Line]
    # Draws the lines of one more fact that nobody asks for; None when there are no more.
    distractors: Iterator[list[Line]]
    share: float
    # Lines that must follow each other (a passage) are joined after filler has been made.
    passages: list[Sentence] = field(default_factory=list)


def compose(
    kind: str, placement: Placement, length: int, rng: Random, questions: int = 1, crowd: float | None = None
) -> Composition:
    """Make one document of at most `length` words, question and cue included.

    `crowd` is the share of the document given to facts nobody asks for, drawn at random by default.
    Raises ValueError when `length` has no room for what the task must state.
    """
    material = KINDS[kind](rng, questions, crowd)
    question = material.question
    if placement == "instructed":
        question += tuple(word for clause in rng.sample(words.INSTRUCTIONS, 3) for word in clause)
    room = length - len(question) - len(CUE)
    lines = _fill(material, room, rng)
    if lines is None:
        least = length - room + sum(len(line.words) for line in material.needed)
        raise ValueError(f"length {length} is too short for {kind!r}: this one needs at least {least} words")
    if placement in ("first", "middle"):
        lines.insert(0 if placement == "first" else _middle(lines, rng), Line(question))
    document: list[str] = []
    gaps = []
    for line in lines:
        if line.open:
            gaps.append(tuple(len(document) + index for index in line.open))
        document += line.words
    return Composition(tuple(document), question, material.answer, placement, tuple(gaps))


def _middle(lines: list[Line], rng: Random) -> int:
    """Draw a place for the question in the middle half of the document."""
    return rng.randint(len(lines) // 4, max(len(lines) // 4, len(lines) * 3 // 4))


def _fill(material: Material, room: int, rng: Random) -> list[Line] | None:
    """Mix what is needed with distractors and filler up to exactly `room` words where that can be done."""
    used = sum(len(line.words) for line in material.needed)
    if used > room:
        return None
    added: list[list[Line]] = []
    limit = material.share * room
    for lines in material.distractors:
        size = sum(len(line.words) for line in lines)
        if size > limit or used + size > room:
            break
        added.append(lines)
        used += size
        limit -= size
    while 0 < room - used < filler.SHORTEST and added:
        used -= sum(len(line.words) for line in added.pop())
    lines = material.needed + [line for group in added for line in group]
    lines += [Line(sentence) for sentence in filler.sentences(rng, room - used)]
    rng.shuffle(lines)
    return lines


def _crowd(rng: Random, crowd: float | None) -> float:
    return rng.uniform(0.0, _MOST_DISTRACTORS) if crowd is None else crowd


def _distractors(rng: Random, facts: Facts, relation: str) -> Iterator[list[Line]]:
    """State facts nobody asks for, three in five of the relation asked for; some documents state some twice."""
    twice = rng.choice((0.0, 0.5))
    while True:
        kind = relation if rng.random() < 0.6 else rng.choice(("holds", "carries", "likes", "trusts"))
        name = facts.name(kind)
        if name is None:
            return
        stated = facts.state(kind, name)
        lines = [Line(said) for said in stated]
        if rng.random() < twice:
            lines += [Line(said, tuple(range(len(said) - 1))) for said in stated]
        yield lines


def _asked(rng: Random, relation: str, crowd: float | None, questions: int) -> Material:
    """Ask for one relation of `questions` names; several questions and their answers are numbered."""
    facts = Facts(rng)
    question, answer, needed = list(_ASK), [], []
    for number in range(questions):
        name = facts.name(relation)
        assert name is not None, "there are more names than questions"
        stated = facts.state(relation, name)
        numbered = [words.ORDINALS[number]] if questions > 1 else []
        question += [*numbered, *describe(name, relation)]
        answer += numbered + [word for said in stated for word in said]
        needed += [Line(said) for said in stated]
    distractors = _distractors(rng, facts, relation)
    return Material(tuple(question), tuple(answer), needed, distractors, _crowd(rng, crowd))


def _lookup(rng: Random, questions: int, crowd: float | None) -> Material:
    return _asked(rng, "holds", crowd, questions)


def _long(rng: Random, questions: int, crowd: float | None) -> Material:
    return _asked(rng, "carries", crowd, questions)


def _spread(rng: Random, questions: int, crowd: float | None) -> Material:
    return _asked(rng, "likes", crowd, questions)


def _chain(rng: Random, questions: int, crowd: float | None) -> Material:
    """Ask what is held by the one whom somebody trusts: two facts, told as one line that joins them."""
    facts = Facts(rng)
    first, second = rng.sample(words.NAMES, 2)
    facts.reserve("trusts", first)
    facts.reserve("holds", second)
    needed: list[Sentence] = [(first, "trusts", second, "."), *facts.state("holds", second)]
    answer = (first, "trusts", *needed[1])
    question = (*_ASK, first, "trusts", "who", "holds", "what", "?")
    lines = [Line(said) for said in needed]
    # Half of the distractors trust somebody, or the first hop would be the only one of its kind.
    distractors = _distractors(rng, facts, rng.choice(("trusts", "holds")))
    return Material(question, answer, lines, distractors, _crowd(rng, crowd))


def _labels(rng: Random, questions: int, crowd: float | None) -> Material:
    """Show members of categories under invented labels and ask for a member that was not shown."""
    categories = rng.sample(words.CATEGORIES, rng.randint(3, 5))
    labels = rng.sample(words.LABELS, len(categories))
    members = [rng.sample(category, len(category)) for category in categories]
    asked = rng.randrange(len(categories))
    item = members[asked].pop()

    def example(index: int, shown: bool) -> Line:
        said = (rng.choice(members[index]), "counts", "as", labels[index], ".")
        return Line(said, (3,) if shown else ())

    def examples() -> Iterator[list[Line]]:
        while True:
            yield [example(rng.randrange(len(categories)), rng.random() < 0.3)]

    question = (*_ASK, item, "counts", "as", "what", "?")
    answer = (item, "counts", "as", labels[asked], ".")
    needed = [example(index, False) for index in range(len(categories))]
    share = rng.uniform(0.2, 0.9) if crowd is None else crowd
    return Material(question, answer, needed, examples(), share)


def _passages(rng: Random, questions: int, crowd: float | None) -> Material:
    """Make numbered passages and ask in which of them a sentence stands."""
    numbers = [(tens, units) for tens in words.DIGITS[1:] for units in words.DIGITS]
    rng.shuffle(numbers)

    def passage() -> tuple[Sentence, list[Sentence]]:
        head = ("passage", *numbers.pop(), ".")
        return head, [filler.sentence(rng, rng.randint(6, 10)) for _ in range(rng.randint(1, 4))]

    def joined(head: Sentence, said: list[Sentence]) -> Line:
        return Line(head + tuple(word for one in said for word in one))

    def others() -> Iterator[list[Line]]:
        while numbers:
            yield [joined(*passage())]

    head, said = passage()
    question = (*_ASK, "which", "passage", "says", *rng.choice(said)[:-1], "?")
    return Material(question, head, [joined(head, said)], others(), 1.0)


KINDS = {
    "lookup": _lookup,
    "long": _long,
    "spread": _spread,
    "chain": _chain,
    "labels": _labels,
    "passages": _passages,
}
