"""`maskkv eval observe`: what queries read while a model denoises, for the figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from maskkv.cli import terminal
from maskkv.generation import Generation

if TYPE_CHECKING:
    from maskkv.api import LanguageModel
    from maskkv.eval.benchmark import Task


def observe(llm: LanguageModel, model: str, tasks: Sequence[Task], schedule: Generation, out: Path) -> None:
    """Observe the tasks' examples and say where the records are."""
    from maskkv.eval import observe

    file, total = out / f"{observe.BENCHMARK}.jsonl", sum(len(task.numbers) for task in tasks)
    with terminal.progress(observe.BENCHMARK, total) as advance:
        for done, record in enumerate(observe.run(llm, model, tasks, schedule, file), start=1):
            advance(done, f"{observe.BENCHMARK}: {record['task']} {record['number']}")
    terminal.note(f"{total} observations are in {file}; see `maskkv plot --list` for what draws them")
