"""A study small enough for tests: two tasks, a few documents, three variants."""

from dataclasses import replace

from maskkv import policies
from maskkv.eval import conditions, mini, runs
from maskkv.eval.runs import Study
from maskkv.eval.store import Store
from maskkv.generation import Generation

LENGTH = 64
NUMBERS = range(5, 8)


def task(name="multi-key", numbers=NUMBERS):
    return mini.MiniTask(name, LENGTH, numbers)


TASKS = (task(), task("two-hop"))


def study(**changes):
    chosen = runs.variants([policies.named("full"), policies.named("maskkv")], [2, 4])
    return replace(Study(chosen, Generation(block_length=4)), **changes)


def run(llm, source, folder, measured=TASKS, studied=None, **others):
    """Run a study in a folder; by default the one above."""
    studied = study() if studied is None else studied
    with Store(conditions.read, folder, measured[0].benchmark, studied.shard) as store:
        return runs.run(llm, source, measured, studied, store, **others)
