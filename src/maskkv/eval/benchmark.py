"""What the framework asks of a benchmark, and how to add one.

A benchmark is a file (or folder) of `maskkv.eval`. It has

1. a frozen dataclass that satisfies `Task`: one row of the table. It travels to other processes, so it holds plain
   values only, and makes an `Example` when it is asked for one by number;
2. a function `tasks(llm, chosen)` that lists the tasks for what a user chose: lengths, seeds, files;
3. a line in `maskkv.cli.evaluate.BENCHMARKS`, which names the module.

Variants, batches, processes, shards, resumption, records and tables are the framework's:
`runs.run(llm, loading, tasks, study, store, …)` takes any tasks. See `maskkv.eval.mini` for the shortest example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from maskkv.api import LanguageModel


@dataclass(frozen=True)
class Chosen:
    """Say which examples a user chose; empty or None leaves it to the benchmark.

    `names` are tasks: a benchmark may list others as well, they are left out. `depths` and `haystack` are for needles,
    `data` and `prompts` for benchmarks that read files.
    """

    names: Sequence[str] = ()
    lengths: Sequence[int] = ()
    n: int | None = None
    first_seed: int = 0
    depths: Sequence[int] = ()
    haystack: Sequence[str] = ()
    data: Path | None = None
    prompts: Path | None = None

    def seeds(self, n: int) -> range:
        """Return the seeds of generated examples: `n`, unless the user chose how many."""
        return range(self.first_seed, self.first_seed + (self.n or n))


@dataclass(frozen=True)
class Example:
    """One question as the model reads it.

    `gen_length` is how long the answer may get (the framework rounds it up to whole blocks), `score` what an answer's
    text is worth, from 0 to 1. The text ends before the first end token.
    """

    prompt: Sequence[int]
    gen_length: int
    score: Callable[[str], float]


@runtime_checkable
class Task(Protocol):
    """One row of a table: examples of one kind."""

    @property
    def benchmark(self) -> str:
        """Return the benchmark's name, which names its files."""
        ...

    @property
    def name(self) -> str:
        """Return the row's name."""
        ...

    @property
    def metric(self) -> str:
        """Return what a score measures, as a table's title says it."""
        ...

    @property
    def numbers(self) -> Sequence[int]:
        """Return the numbers of the examples: seeds of generated ones, positions in a file of others."""
        ...

    @property
    def settings(self) -> dict[str, object]:
        """Return what else decides the examples (a length, a hash of the data), ready for JSON.

        Answers to the same number under the same benchmark, name and settings are taken for the same measurement.
        """
        ...

    def example(self, llm: LanguageModel, number: int) -> Example:
        """Make an example; it depends on the arguments only.

        Raises:
            InputError: The model cannot read it, or the settings leave no room for it.
        """
        ...
