"""A study small enough for tests: two tasks, a few documents, three variants."""

from dataclasses import replace

from maskkv import policies
from maskkv.eval import mini, runs
from maskkv.eval.runs import Study
from maskkv.generation import Generation

LENGTH = 64
NUMBERS = range(5, 8)


def task(name="multi-key", numbers=NUMBERS):
    return mini.MiniTask(name, LENGTH, numbers)


def study(**changes):
    chosen = runs.variants([policies.named("full"), policies.named("maskkv")], [2, 4])
    plain = Study((task(), task("two-hop")), chosen, Generation(block_length=4))
    return replace(plain, **changes)
