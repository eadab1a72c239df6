"""`maskkv demo`: how many questions about long documents are answered on a few percent of their KV pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from maskkv.cli import terminal
from maskkv.cli.flags import flagged, load
from maskkv.cli.generate import sureness
from maskkv.cli.sample import make
from maskkv.cli.stretched import Notice
from maskkv.errors import InputError
from maskkv.generation import Generation
from maskkv.loading import Loading
from maskkv.statistics import wilson

if TYPE_CHECKING:
    from maskkv.api import LanguageModel
    from maskkv.eval.answering import ScoredAnswer, Variant
    from maskkv.eval.benchmark import Example
    from maskkv.eval.mini import MiniTask

TASKS = {"multi-key": "3 digits", "long-value": "8 to 16 words"}
"""What is asked, and what the answers are."""
LENGTH = 1024
PERCENT = 5.0
RECORDED_N = 200
MOST_QUESTIONS = 1000
FIRST_DOCUMENT = 100_000
"""Where the documents begin, apart from those of records and of training; every seed has `MOST_QUESTIONS` of them."""
TOGETHER = 4
"""Documents that are read in turn and answered side by side."""


@dataclass(frozen=True)
class Way:
    """Say how questions are answered: a policy, its budget in percent of the prompt, the place of evicted pairs."""

    policy: str
    percent: float | None = None
    evicted: str | None = None

    def __str__(self) -> str:
        budget = "" if self.percent is None else f" {self.percent:g} %"
        return self.policy + budget + ("" if self.evicted is None else f", evicted={self.evicted}")

    def variant(self, prompt_length: int) -> Variant:
        """Return the policy and the budget in pairs."""
        from maskkv import mixing
        from maskkv.eval.answering import Variant

        pairs = None if self.percent is None else max(1, round(prompt_length * self.percent / 100))
        return Variant(mixing.mix(mixing.resolve(self.policy), evicted=self.evicted), pairs)


SCHEDULE = Generation(gen_length=8)
LEGEND = f"""
"full" keeps every pair; "maskkv" keeps a few and drops the rest, as the paper
does; with "evicted=host" the rest waits in host memory and comes back when it
is wanted (ours). Intervals are Wilson's; one in twenty misses the truth by
chance. "recorded" is what {RECORDED_N} other documents gave. "sure" is the probability
of the answer's least sure token when it was decided; a wrong one can be sure."""

RECORDED = {
    ("multi-key", Way("full")): 0.745,
    ("multi-key", Way("maskkv", PERCENT)): 0.505,
    ("multi-key", Way("maskkv", PERCENT, "host")): 0.74,
    ("long-value", Way("full")): 0.81,
    ("long-value", Way("maskkv", PERCENT)): 0.1,
    ("long-value", Way("maskkv", PERCENT, "host")): 0.79,
}
"""The parts of `RECORDED_N` other documents of 1,024 tokens answered right, in float32: results/recall."""


@flagged
def demo(
    *,
    length: Annotated[int, typer.Option(min=1, help="Tokens of a document with its question, about.")] = LENGTH,
    seed: Annotated[
        int, typer.Option(min=0, max=900_000, help="Which documents; the default is the first, whatever it gives.")
    ] = 0,
    percent: Annotated[
        float, typer.Option(help="Budget of maskkv, in percent of the document, to the nearest pair.")
    ] = PERCENT,
    questions: Annotated[
        int, typer.Option(min=1, max=MOST_QUESTIONS, help="How many, each about a document of its own.")
    ] = 24,
    loading: Loading,
) -> None:
    """Count right answers about long documents on a few percent of their KV pairs.

    Beside them those with every pair kept (full), those with evicted pairs that come back, and what the records say
    of 200 other documents. Documents are generated and the bundled dLLM answers; wrong answers are marked.
    """
    if not 0 < percent <= 100:
        raise InputError(f"--percent must be above 0 and at most 100, not {percent:g}")
    from maskkv.eval.mini import MiniTask

    first = FIRST_DOCUMENT + MOST_QUESTIONS * seed
    # Short and long answers in turn: of an odd number one more is short.
    halves = zip(TASKS, ((questions + 1) // 2, questions // 2), strict=True)
    tasks = [MiniTask(name, length, range(first, first + count)) for name, count in halves if count]
    for task in tasks:
        for number in task.numbers:
            make(task.name, length, number)  # what cannot be made is refused before anything is answered
    llm = load(loading)
    examples = [_first(llm, task) for task in tasks]  # nor is anything said of what a model cannot read
    tell = Notice(llm)
    recorded = RECORDED if length == LENGTH and loading == Loading() else {}
    terminal.put(f"{questions} generated documents of at most {length:,} tokens, each with a question.\n")
    _show_example(llm, examples[0], compared(percent), tell)
    right = _count(llm, tasks, compared(percent))
    _show_counts(right, recorded)


def compared(percent: float) -> list[Way]:
    """List the ways that are compared: everything kept, the paper's way with the rest, and ours."""
    return [Way("full"), Way("maskkv", percent), Way("maskkv", percent, "host")]


def _first(llm: LanguageModel, task: MiniTask) -> tuple[str, Example]:
    """Return the first question of a task, and what it is as an example."""
    number = task.numbers[0]
    return make(task.name, task.length, number).question, task.example(llm, number)


def _show_example(llm: LanguageModel, asked: tuple[str, Example], ways: Sequence[Way], tell: Notice) -> None:
    """Answer a question in every way, one after the other, and show what each took."""
    from maskkv.eval.answering import fitted

    question, example = asked
    table = terminal.table("", "answer", "", "sure", "reads", "cache", "time", title=question)
    for way in ways:
        variant = way.variant(len(example.prompt))
        generation = fitted(SCHEDULE, example)
        tell(len(example.prompt) + generation.gen_length)
        result = llm.generate_ids(example.prompt, generation, policy=variant.policy, budget=variant.budget)
        right = bool(example.score(result.text))
        table.add_row(
            str(way),
            result.text,
            "right" if right else "WRONG",
            sureness(result),
            str(result.prompt_passes),
            decimal(result.cache_bytes) if result.cache_bytes else "-",
            f"{result.latency_s:.2f} s",
            style=None if right else "red",
        )
    terminal.show(table)
    terminal.put("")


def _count(llm: LanguageModel, tasks: Sequence[MiniTask], ways: Sequence[Way]) -> dict[tuple[str, Way], list[bool]]:
    """Answer every question in every way; all ways share the first pass over a prompt."""
    from maskkv.eval.answering import Unit, answer

    right: dict[tuple[str, Way], list[bool]] = {(task.name, way): [] for task in tasks for way in ways}
    done, total = 0, len(ways) * sum(len(task.numbers) for task in tasks)
    with terminal.progress("answering", total) as advance:
        for task in tasks:
            length = len(task.example(llm, task.numbers[0]).prompt)
            variants = tuple(way.variant(length) for way in ways)
            for start in range(0, len(task.numbers), TOGETHER):
                unit = Unit(task, tuple(task.numbers[start : start + TOGETHER]), variants)
                for answered in answer(llm, unit, SCHEDULE, isolated=False):
                    for way, one in zip(ways, answered.answers, strict=True):
                        right[task.name, way].append(_right(one))
                done += unit.size
                advance(done)
    return right


def _right(answer: ScoredAnswer) -> bool:
    return answer.score == 1


def _show_counts(right: dict[tuple[str, Way], list[bool]], recorded: dict[tuple[str, Way], float]) -> None:
    table = terminal.table("answers", "", "right", "95 % interval", "recorded")
    last = ""
    for (task, way), found in right.items():
        low, high = wilson(sum(found), len(found))
        known = recorded.get((task, way))
        table.add_row(
            "" if task == last else TASKS[task],
            str(way),
            f"{sum(found)} of {len(found)}",
            f"{low:.0%} to {high:.0%}",
            "-" if known is None else f"{known:.1%}",
        )
        last = task
    terminal.show(table)
    terminal.put(LEGEND)
