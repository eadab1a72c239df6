"""Run a study: tasks × variants, in units that processes and machines share, and that an interruption loses one of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from maskkv.api import LanguageModel
from maskkv.errors import InputError
from maskkv.eval import cells
from maskkv.eval.answering import Answered, Terms, Unit, Variant, answer, fitted
from maskkv.eval.benchmark import Task
from maskkv.eval.conditions import Conditions, Held, Key
from maskkv.eval.store import Store
from maskkv.eviction.policy import Policy
from maskkv.generation import Generation
from maskkv.json_lines import Record
from maskkv.loading import Loading
from maskkv.plan import Workload, check_fits

TOGETHER = 16
"""Sequences that denoise side by side; more only where one example has more variants than that."""


@dataclass(frozen=True)
class Study:
    """Say how tasks are measured: every example under every variant.

    All answers follow `schedule`, except that `gen_length` is the example's own. `isolated` runs every answer by itself
    and measures its time and memory. Shard (i, n) does every n-th unit, i counted from 1.
    """

    variants: Sequence[Variant]
    schedule: Generation = field(default_factory=Generation)
    isolated: bool = False
    shard: tuple[int, int] = (1, 1)


Elsewhere = Callable[[Sequence[Unit], Terms], Iterator[list[Answered]]]
"""Have units answered by other processes, and yield the answers of each unit as they come, in any order."""

OnAnswers = Callable[[Sequence[Answered], int], None]
"""Take note of a unit's answers (at the start: none) and of how many answers the whole run takes."""


def variants(policies: Sequence[Policy], budgets: Sequence[int]) -> list[Variant]:
    """Cross policies with budgets; a policy that evicts nothing is taken once, without a budget."""
    return [
        Variant(policy, budget)
        for policy in policies
        for budget in (dict.fromkeys(budgets) if policy.can_evict else [None])
    ]


def run(
    llm: LanguageModel,
    loading: Loading,
    tasks: Sequence[Task],
    study: Study,
    store: Store[Key, Held],
    elsewhere: Elsewhere | None = None,
    on_answers: OnAnswers = lambda answered, total: None,
) -> list[Record]:
    """Answer the examples that the store has no answers to, and return the records of all complete cells.

    All tasks belong to the store's benchmark. Units are answered here, unless `elsewhere` is given and there are
    several: `loading` says how other processes load the model.

    Raises:
        InputError: A task cannot be put to this model, or a file cannot be written.
    """
    _check(llm, tasks, study)
    conditions = Conditions.of(llm, loading.name, study.schedule, study.isolated)
    missing = [unit for whole in _units(tasks, study) for unit in _missing(whole, conditions, store.known)]
    total = sum(unit.size for unit in missing)
    on_answers([], total)
    for answered in _answered(llm, loading, study, missing, elsewhere):
        store.add([conditions.line(each) for each in answered])
        on_answers(answered, total)
    found = (cells.cell(conditions, task, variant, store.known) for task in tasks for variant in study.variants)
    return store.keep([record for record in found if record is not None])


def _check(llm: LanguageModel, tasks: Sequence[Task], study: Study) -> None:
    """Try the first example of each task, and whether it fits into memory, before hours are spent on others."""
    for task in tasks:
        if not task.numbers:
            raise InputError(f"{task.name} has no examples: expected at least 1")
        example = task.example(llm, task.numbers[0])
        made = fitted(study.schedule, example)
        for each in study.variants:
            check_fits(llm.model, Workload(len(example.prompt), made, each.policy, each.budget, llm.kv_dtype))


def _units(tasks: Sequence[Task], study: Study) -> list[Unit]:
    """Cut the tasks into units, turn by turn so that all tasks advance, and take this shard's part of each task."""
    size = max(1, TOGETHER // len(study.variants))
    longest = max(len(task.numbers) for task in tasks)
    index, count = study.shard
    return [
        Unit(task, tuple(task.numbers[turn * size : (turn + 1) * size]), tuple(study.variants))
        for turn in range(-(-longest // size))
        for place, task in enumerate(tasks)
        if turn * size < len(task.numbers) and (turn + place) % count == index - 1
    ]


def _missing(unit: Unit, conditions: Conditions, known: dict[Key, Held]) -> Iterator[Unit]:
    """Yield what of a unit is not known; examples that lack the same variants stay together."""
    identity = conditions.identity(unit.task)

    def lacking(number: int) -> list[int]:
        return [index for index, each in enumerate(unit.variants) if (identity, number, *each.key) not in known]

    for indices, numbers in groupby(unit.numbers, lacking):
        if indices:
            yield Unit(unit.task, tuple(numbers), tuple(unit.variants[index] for index in indices))


def _answered(
    llm: LanguageModel, loading: Loading, study: Study, units: Sequence[Unit], elsewhere: Elsewhere | None
) -> Iterator[list[Answered]]:
    if elsewhere is None or len(units) < 2:
        return (answer(llm, unit, study.schedule, study.isolated) for unit in units)
    # All on one kind of device and in one dtype: what `auto` chooses may depend on the memory that is free.
    alike = replace(loading, device=str(llm.model.device), dtype=str(llm.model.dtype))
    return elsewhere(units, Terms(alike, llm.fingerprint(), study.schedule, study.isolated))
