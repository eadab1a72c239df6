"""The tasks: plain texts with facts among them, a question, and the quotation that answers it.

`sample(task, length, seed, count)` is a pure function. Its passages and its phrasings are never trained on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from random import Random

from maskkv.reading.compose import Asked, Count, Placement, ask, ask_in_vain, assemble, make, place, without
from maskkv.reading.several import ABSENT
from maskkv.reading.values import Values


@dataclass(frozen=True)
class Recipe:
    """What a task's documents state, where the question stands and how long its answers are."""

    kind: str
    placement: Placement
    gen_length: int
    about: str
    questions: int = 1
    stated: bool = True


CATALOGUE = {
    "stated": Recipe("stated", "last", 48, "a fact stated in a sentence, question at the end"),
    "stated-first": Recipe("stated", "first", 48, "the same with the question before the text"),
    "stated-middle": Recipe("stated", "middle", 48, "the same with the question inside the text"),
    "stated-instructed": Recipe("stated", "instructed", 48, "the same, the question followed by three instructions"),
    "event": Recipe("event", "last", 48, "who, when or where something was done"),
    "config": Recipe("config", "last", 48, "a line of a configuration file"),
    "log": Recipe("log", "last", 64, "a line of a log"),
    "table": Recipe("table", "last", 48, "a row of a CSV or Markdown table"),
    "long-value": Recipe("long", "last", 96, "a path, an address, a list or a sentence, question at the end"),
    "long-value-first": Recipe("long", "first", 96, "the same with the question before the text"),
    "several": Recipe("stated", "last", 112, "three facts at once", 3),
    "several-first": Recipe("stated", "first", 112, "three facts at once, questions before the text", 3),
    "absent": Recipe("stated", "last", 48, "a fact that the text does not state", stated=False),
}
TASKS = tuple(CATALOGUE)


@dataclass(frozen=True)
class Sample:
    """A text with its question and the expected answer; `values` are what a right answer must contain."""

    task: str
    length: int
    seed: int
    content: str
    question: str
    answer: str
    values: tuple[str, ...]
    gen_length: int


@cache
def passages() -> tuple[str, ...]:
    """Return the paragraphs that come with the package, in a fixed order."""
    folder = resources.files("maskkv.reading") / "passages"
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    texts = [file.read_text(encoding="utf-8") for file in files if file.name.endswith(".txt")]
    return tuple(paragraph for text in texts for paragraph in text.strip().split("\n\n"))


def filler(rng: Random) -> Iterator[str]:
    """Yield runs of paragraphs, each in the order of its passage."""
    while True:
        start = rng.randrange(len(passages()))
        for offset in range(rng.randint(1, 4)):
            yield passages()[(start + offset) % len(passages())]


def sample(task: str, length: int, seed: int, count: Count) -> Sample:
    """Make the text of `task` with `seed`, at most about `length` tokens by `count` with question and cue.

    Raises KeyError for an unknown task, ValueError when `length` has no room for the task.
    """
    how = CATALOGUE[task]
    rng = Random(f"reading/{task}/{length}/{seed}")
    crowd = max(how.questions + 1, rng.randint(length // 200, length // 80))
    blocks = make(how.kind, Values(rng), crowd, unseen=True)
    facts = [fact for block in blocks for fact in block.facts]
    chosen = rng.sample(facts, how.questions)
    asked: Asked = ask(chosen, rng) if how.stated else ask_in_vain(chosen[0])
    if not how.stated:
        blocks = without(blocks, chosen[0])
    room = length - count(asked.question) - (60 if how.placement == "instructed" else 20)
    document = assemble(rng, blocks, filler(rng), room, count)
    content = place(document, asked.question, how.placement, rng)
    return Sample(task, length, seed, content, asked.question, asked.answer, asked.values, how.gen_length)


def score(sample: Sample, text: str) -> float:
    """Give 1.0 when an answer contains every value, word by word, and says nothing of «not in the text» beside it."""
    said = " ".join(text.split())
    if sample.values != (ABSENT,) and ABSENT in said:
        return 0.0
    return float(all(" ".join(value.split()) in said for value in sample.values))
