"""Run many cells, on several processes if wanted, and keep what is measured: interrupted runs go on."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import torch

from maskkv import api, checkpoint, records
from maskkv.eval.cells import Cell, measure


@dataclass(frozen=True)
class Source:
    """Say which model is measured, and how it is loaded (the arguments of `maskkv.load`)."""

    model: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    rope_scale: float | None = None
    profile: str | None = None

    def load(self) -> api.LanguageModel:
        """Load the model."""
        return api.load(
            self.model,
            device=self.device,
            dtype=self.dtype,
            rope_scale=self.rope_scale,
            profile=self.profile,
        )


def run(
    cells: Sequence[Cell],
    source: Source,
    file: Path,
    jobs: int,
    on_record: Callable[[dict[str, object]], None],
) -> list[dict[str, object]]:
    """Measure the cells that `file` does not hold yet, append each as it is done, and return all their records.

    A cell counts as held if it was measured on the same weights with the same settings.
    """
    fingerprint = checkpoint.fingerprint(source.load().model)
    held = {_identity(record): record for record in records.read(file)}
    found = {}
    missing = []
    for cell in cells:
        identity = _identity({**cell.key(), "fingerprint": fingerprint})
        if identity in held:
            found[identity] = held[identity]
            on_record(held[identity])
        else:
            missing.append(cell)
    for record in _measured(missing, source, jobs):
        records.append(file, record)
        found[_identity(record)] = record
        on_record(record)
    return [found[_identity({**cell.key(), "fingerprint": fingerprint})] for cell in cells]


def _measured(cells: Sequence[Cell], source: Source, jobs: int) -> Iterator[dict[str, object]]:
    if jobs == 1 or len(cells) < 2:
        for cell in cells:
            yield _measure(cell, source)
        return
    # Forked children would inherit torch's thread pool in an undefined state.
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // jobs)
    with ProcessPoolExecutor(jobs, context, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        for future in as_completed([pool.submit(_measure, cell, source) for cell in cells]):
            yield future.result()


def _measure(cell: Cell, source: Source) -> dict[str, object]:
    llm = source.load()
    return {
        "benchmark": "mini",
        "model": source.model or "mini",
        "fingerprint": checkpoint.fingerprint(llm.model),
        "device": str(llm.model.device),
        "dtype": str(llm.model.dtype).removeprefix("torch."),
        **measure(llm, cell),
        **records.environment(),
    }


def _identity(record: dict[str, object]) -> str:
    """Return what two records of the same cell have in common."""
    names = ("fingerprint", "task", "length", "policy", "budget", "n", "first_seed", "schedule")
    return json.dumps({name: record.get(name) for name in names}, sort_keys=True)
