"""Under which policies and budgets `maskkv eval` has its examples answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from maskkv.budget import DEFAULT_BUDGET, pairs_of, read_budget
from maskkv.cli.flags import PolicyFlags
from maskkv.errors import InputError

if TYPE_CHECKING:
    from maskkv.eval.answering import Variant
    from maskkv.eval.benchmark import Task

OWN_LENGTHS = ("longbench", "lm-eval")
"""Benchmarks whose prompts are not made to a length."""


@dataclass(frozen=True)
class VariantFlags:
    """Say under which policies and budgets every example is answered."""

    policy: Annotated[list[str] | None, typer.Option(help="May be repeated; default: maskkv.")] = None
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PAIRS|PERCENT",
            help="Pairs per KV head and layer, or a part of each task's length, as in 5%, rounded up; may be repeated; "
            f"default: {DEFAULT_BUDGET}.",
        ),
    ] = None

    def __post_init__(self) -> None:
        """Refuse what is no budget before a model is loaded."""
        for budget in self.budget or []:
            read_budget(budget)

    def check(self, benchmarks: Sequence[str]) -> None:
        """Refuse a part of the length where prompts have none that records could be compared by."""
        for name in OWN_LENGTHS:
            if self._parts and name in benchmarks:
                raise InputError(
                    f"budget {self._parts[0]}: the prompts of {name} have lengths of their own, give pairs as in 256"
                )

    def variants(self, mixing: PolicyFlags, length: int) -> list[Variant]:
        """Cross policies with budgets, in pairs; every policy that evicts gets the exchanges asked for."""
        from maskkv.eval import runs

        plain = {name: PolicyFlags(policy=name).chosen() for name in self.policy or ["maskkv"]}
        evicting = [name for name, policy in plain.items() if policy.can_evict] or list(plain)
        mixed = [
            replace(mixing, policy=name).chosen() if name in evicting else policy for name, policy in plain.items()
        ]
        given = [pairs_of(read_budget(budget), length) for budget in self.budget or []]
        return runs.variants(mixed, [pairs for pairs in given if pairs is not None] or [DEFAULT_BUDGET])

    def alike(self, tasks: Sequence[Task]) -> list[tuple[int, Sequence[Task]]]:
        """Part tasks by length where a budget depends on it; without such a budget they stay together."""
        if not self._parts:
            return [(1, tasks)]
        lengths = [int(str(task.settings["length"])) for task in tasks]
        return [
            (length, [task for task, own in zip(tasks, lengths, strict=True) if own == length])
            for length in dict.fromkeys(lengths)
        ]

    @property
    def _parts(self) -> list[str]:
        return [budget.strip() for budget in self.budget or [] if isinstance(read_budget(budget), str)]
