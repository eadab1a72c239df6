"""The scores that the paper states, to be drawn beside measured ones (`paper.csv`; its first line names the source)."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from functools import cache
from importlib import resources

SOURCE = "arXiv 2510.09309"

Curve = dict[int | None, float]
"""Scores in percent by budget; None is no eviction."""


def curves(model: str, tasks: Sequence[str]) -> dict[str, Curve]:
    """Return each policy's mean score over the tasks, for the paper's model that `model` names (a hub id or a folder).

    Empty unless the paper has that model and every one of the tasks.
    """
    stated = _stated()
    named = next((name for name, _ in stated if name in model), None)
    by_task = [stated.get((named or "", task), {}) for task in tasks]
    policies = by_task[0] if all(by_task) else ()
    return {
        policy: {
            budget: math.fsum(task[policy][budget] for task in by_task) / len(tasks) for budget in by_task[0][policy]
        }
        for policy in policies
    }


def retained(stated: dict[str, Curve], reference: str) -> dict[str, Curve]:
    """Return the curves in percent of the paper's score of a policy without a budget; none if it has none."""
    base = stated.get(reference, {}).get(None)
    if not base:
        return {}
    return {policy: {budget: 100 * score / base for budget, score in curve.items()} for policy, curve in stated.items()}


@cache
def _stated() -> dict[tuple[str, str], dict[str, Curve]]:
    lines = (resources.files("maskkv") / "plots" / "paper.csv").read_text("utf-8").splitlines()
    found: dict[tuple[str, str], dict[str, Curve]] = {}
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        scores = {key: value for key, value in row.items() if value and key not in ("model", "task", "policy")}
        found.setdefault((row["model"], row["task"]), {})[row["policy"]] = {
            None if key == "unlimited" else int(key): float(value) for key, value in scores.items()
        }
    return found
