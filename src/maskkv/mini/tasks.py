"""The project's own benchmark: generated documents with a question and the one right answer.

`sample(task, length, seed)` is a pure function. Seeds below `FIRST_TRAINING_SEED` are for evaluation, seeds
from there on for training: nothing a model was trained on is ever measured.
"""

from dataclasses import dataclass
from random import Random

from maskkv.mini import words
from maskkv.mini.compose import Composition, Placement, compose

FIRST_TRAINING_SEED = 10**9


@dataclass(frozen=True)
class Recipe:
    """How a task is composed and what its answers look like."""

    kind: str
    placement: Placement
    gen_length: int
    about: str
    questions: int = 1
    crowd: float | None = None


CATALOGUE = {
    "single-key": Recipe("lookup", "last", 8, "one fact in filler text, question at the end", crowd=0.0),
    "multi-key": Recipe("lookup", "last", 8, "one fact among many of the same form, question at the end"),
    "multi-key-first": Recipe("lookup", "first", 8, "the same with the question before the document"),
    "multi-key-middle": Recipe("lookup", "middle", 8, "the same with the question inside the document"),
    "multi-key-instructed": Recipe(
        "lookup", "instructed", 8, "the same, the question followed by about 36 words of instructions"
    ),
    "long-value": Recipe("long", "last", 24, "a value of 8 to 16 words, question at the end"),
    "long-value-first": Recipe("long", "first", 24, "a value of 8 to 16 words, question at the start"),
    "multi-value": Recipe("spread", "last", 24, "three facts of three words each about one name"),
    "multi-question": Recipe("lookup", "last", 24, "three questions at the end, answered in order", 3),
    "multi-question-first": Recipe("lookup", "first", 24, "three questions at the start", 3),
    "few-shot": Recipe("labels", "last", 8, "label a new member of a category shown by examples"),
    "two-hop": Recipe("chain", "last", 16, "what does the one hold whom somebody trusts"),
    "passage": Recipe("passages", "last", 8, "the number of the passage that contains a sentence"),
}
TASKS = tuple(CATALOGUE)


@dataclass(frozen=True)
class Sample:
    """A document, its question and the expected answer.

    `document` contains the question where `question_inside` is true; otherwise `content` is the document
    followed by the question. `prompt` is exactly what the model reads: the content and the cue "answer :",
    which the chat template adds to a user's message.
    """

    task: str
    length: int
    seed: int
    document: str
    question: str
    question_inside: bool
    answer: str
    prompt: str
    gen_length: int

    @property
    def content(self) -> str:
        """Give the user's message: the document with its question."""
        return self.document if self.question_inside else f"{self.document} {self.question}"


def sample(task: str, length: int, seed: int) -> Sample:
    """Make the document of `task` with `seed`, its prompt at most `length` words (tokens) long.

    Raises KeyError for an unknown task, ValueError when `length` has no room for the task.
    """
    made = _composition(task, length, seed)
    return Sample(
        task=task,
        length=length,
        seed=seed,
        document=" ".join(made.document),
        question=" ".join(made.question),
        question_inside=made.inside,
        answer=" ".join(made.answer),
        prompt=" ".join(made.prompt),
        gen_length=CATALOGUE[task].gen_length,
    )


def _composition(task: str, length: int, seed: int) -> Composition:
    how = CATALOGUE[task]
    rng = Random(f"{task}/{length}/{seed}")
    return compose(how.kind, how.placement, length, rng, how.questions, how.crowd)


def score(sample: Sample, text: str) -> float:
    """Give 1.0 when the words of `text` before the end-of-text token are the answer, else 0.0."""
    said = text.split(words.EOS)[0].split()
    return float(said == sample.answer.split())
