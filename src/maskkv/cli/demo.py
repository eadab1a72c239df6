"""`maskkv demo`: questions about a long document, with every pair kept and with a few percent of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from maskkv.cli import terminal
from maskkv.cli.flags import ModelFlags, flagged
from maskkv.cli.generate import pairs_per_head
from maskkv.cli.sample import make
from maskkv.errors import InputError

if TYPE_CHECKING:
    from maskkv.api import LanguageModel
    from maskkv.result import Result

POLICIES = ("none", "full", "maskkv")


@dataclass(frozen=True)
class Question:
    """A question about a document, and the sentence of the document that answers it."""

    text: str
    answer: str
    gen_length: int


@flagged
def demo(
    *,
    length: Annotated[int, typer.Option(min=1, help="Tokens of the document with a question, about.")] = 1024,
    seed: Annotated[int, typer.Option(min=0, help="Which document.")] = 1,
    percent: Annotated[float, typer.Option(help="Budget of maskkv, in percent of the document.")] = 5.0,
    questions: Annotated[int, typer.Option(min=1, help="How many questions.")] = 3,
    model: ModelFlags,
) -> None:
    """Answer questions on a few percent of a document's KV pairs.

    Beside them the same answers without a cache (none) and with every pair kept (full). The document is generated
    and the bundled dLLM answers; some answers may be wrong, and are marked.
    """
    if not 0 < percent <= 100:
        raise InputError(f"--percent must be above 0 and at most 100, not {percent:g}")
    document = make("multi-key", length, seed).document
    known = stated(document)
    if not known:
        raise InputError(f"a document of {length} tokens states nothing to ask for: --length 1024 does")
    asked = choose(known, questions)
    llm = model.load()
    words = len(document.split())
    budget = max(1, round(words * percent / 100))
    cells = [(question, policy) for question in asked for policy in POLICIES]
    results: dict[tuple[Question, str], Result] = {}
    with terminal.progress("answering", len(cells)) as advance:
        for question, policy in cells:
            results[question, policy] = _answer(llm, document, question, policy, budget)
            advance(len(results))
    terminal.put(
        f"A generated document of {words:,} words, with {len(known)} facts to ask for.\n"
        f"Budget of maskkv: {budget} prompt pairs per KV head and layer, on average.\n"
    )
    _show_answers(results)
    terminal.put("")
    _show_costs(results)


def stated(document: str) -> list[Question]:
    """List what the document states in one sentence, with the question that each sentence answers."""
    from maskkv.mini import tasks
    from maskkv.mini.facts import describe

    lengths = {"holds": tasks.CATALOGUE["multi-key"].gen_length, "carries": tasks.CATALOGUE["long-value"].gen_length}
    found = {}
    for sentence in document.removesuffix(".").split(" . "):
        name, _, rest = sentence.partition(" ")
        relation = rest.partition(" ")[0]
        if relation in lengths:
            question = " ".join(("question :", *describe(name, relation)))
            # A fact that is stated twice is one fact.
            found[question] = Question(question, f"{sentence.strip()} .", lengths[relation])
    return list(found.values())


def choose(known: list[Question], count: int) -> list[Question]:
    """Choose questions evenly spread over the document, short and long answers in turn while there are both."""
    long = max(question.gen_length for question in known)
    kinds = [[each for each in known if (each.gen_length == long) == wanted] for wanted in (False, True)]
    wanted = [kinds[turn % 2] or known for turn in range(count)]
    chosen = [kind[(2 * turn + 1) * len(kind) // (2 * count)] for turn, kind in enumerate(wanted)]
    return list(dict.fromkeys(chosen))


def _answer(llm: LanguageModel, document: str, question: Question, policy: str, budget: int) -> Result:
    prompt = f"{document}\n\n{question.text}"
    evicts = policy not in ("none", "full")
    return llm.generate(prompt, gen_length=question.gen_length, policy=policy, budget=budget if evicts else None)


def _right(question: Question, result: Result) -> bool:
    return result.text.split() == question.answer.split()


def _show_answers(results: dict[tuple[Question, str], Result]) -> None:
    table = terminal.table("policy", "answer", "")
    for (question, policy), result in results.items():
        if policy == POLICIES[0]:
            table.add_row("", f"{question.text}", "", style="bold")
        right = _right(question, result)
        table.add_row(policy, result.text, "right" if right else "WRONG", style=None if right else "red")
        if policy == POLICIES[-1]:
            table.add_section()
    terminal.show(table)


def _show_costs(results: dict[tuple[Question, str], Result]) -> None:
    table = terminal.table("policy", "right", "pairs per head", "cache", "time")
    for policy in POLICIES:
        mine = {question: result for (question, name), result in results.items() if name == policy}
        right = sum(_right(question, result) for question, result in mine.items())
        first = next(iter(mine.values()))
        pairs = pairs_per_head(first)
        table.add_row(
            policy,
            f"{right} of {len(mine)}",
            "-" if pairs is None else f"{pairs:,.0f} of {first.prompt_length:,}",
            "-" if pairs is None else decimal(max(result.cache_bytes for result in mine.values())),
            f"{sum(result.latency_s for result in mine.values()):.2f} s",
        )
    terminal.show(table)
