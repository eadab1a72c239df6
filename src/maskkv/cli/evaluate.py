"""`maskkv eval`: score policies and budgets on benchmarks."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskkv import records
from maskkv.cli import lm_eval, observe, scores, terminal
from maskkv.cli.elsewhere import check_address, sharing
from maskkv.cli.flags import PolicyFlags, Without, flagged, load
from maskkv.cli.stretched import Notice
from maskkv.cli.variants import VariantFlags
from maskkv.errors import InputError
from maskkv.eval.lm_eval.likelihood import Likelihood
from maskkv.generation import Generation
from maskkv.loading import Loading

if TYPE_CHECKING:
    from maskkv.api import LanguageModel
    from maskkv.eval.answering import Answered
    from maskkv.eval.benchmark import Chosen, Task
    from maskkv.eval.lm_eval.harness import Harness
    from maskkv.json_lines import Record

BENCHMARKS = {
    "mini": "maskkv.eval.mini",
    "niah": "maskkv.eval.niah",
    "ruler": "maskkv.eval.ruler",
    "longbench": "maskkv.eval.longbench.tasks",
}
"""Every benchmark, with the module that lists its tasks."""
LM_EVAL = "lm-eval"
"""Another program's benchmarks, which make their own requests and scores."""
OBSERVE = "observe"
"""No benchmark, but its examples are chosen like theirs: nothing is scored, and no policy takes part."""
NAMES = (*BENCHMARKS, LM_EVAL, OBSERVE)
FIRST_SEED = 1000


@dataclass(frozen=True)
class ExampleFlags(lm_eval.LmEvalFlags):
    """Say which examples are asked about."""

    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task", "--tasks", metavar="NAME", help="Only this task; may be repeated, or several with commas between."
        ),
    ] = None
    n: Annotated[
        int | None, typer.Option("-n", min=1, max=10**6, help="Examples per task; default: the benchmark's own.")
    ] = None
    length: Annotated[
        list[int] | None,
        typer.Option(
            "--length",
            "--max-length",
            min=1,
            max=1 << 24,
            help="Tokens of each prompt, at most; may be repeated; default: the benchmark's own.",
        ),
    ] = None
    first_seed: Annotated[int, typer.Option(min=0, help="Seed of the first example.")] = FIRST_SEED
    depth: Annotated[
        list[int] | None,
        typer.Option(metavar="PERCENT", help="niah: where the needle is; may be repeated; default: ten depths from 0."),
    ] = None
    haystack: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="niah: hide the needle in this text; may be repeated; default: generated text."
        ),
    ] = None
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="longbench: folder with files like hotpotqa.jsonl; default: the hub's cache."),
    ] = None
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="longbench: its prompt templates; default: DIR/dataset2prompt.json."),
    ] = None

    @property
    def names(self) -> list[str]:
        """Return the tasks that are named."""
        return [name for each in self.task or [] for name in each.split(",")]

    def tasks(self, name: str, llm: LanguageModel) -> Sequence[Task]:
        """List the tasks of a benchmark that the flags leave."""
        from maskkv.eval.observe import N

        if self.haystack and name != "niah":
            own = "has texts of its own" if name == "longbench" else "makes its own text"
            raise InputError(f"--haystack is for niah, {name} {own}: leave it out")
        if (self.data or self.prompts) and name != "longbench":
            raise InputError(f"--data and --prompts are for longbench, {name} reads no such files: leave them out")
        chosen = self.chosen(N if name == OBSERVE else None)
        module = importlib.import_module(BENCHMARKS["mini" if name == OBSERVE else name])
        tasks: Sequence[Task] = module.tasks(llm, chosen)
        if name == "longbench":  # it has names for several at once, and its files need not all be there
            return tasks
        known = list(dict.fromkeys(task.name for task in tasks))
        for each in self.names:
            if each not in known:
                raise InputError(f"unknown task {each!r}: {name} has {', '.join(known)}")
        return [task for task in tasks if not self.names or task.name in self.names]

    def chosen(self, n: int | None) -> Chosen:
        """Return what the benchmark is told; `n` examples per task, unless the flags say how many."""
        from maskkv.eval.benchmark import Chosen

        return Chosen(
            names=self.names,
            lengths=self.length or (),
            n=self.n or n,
            first_seed=self.first_seed,
            depths=self.depth or (),
            haystack=self.haystack or (),
            data=self.data,
            prompts=self.prompts,
        )

    def check_lm_eval(self, running: RunFlags) -> None:
        """Refuse what lm-eval cannot do before a model is loaded."""
        if self.length or (running.jobs or 1) > 1 or running.shard is not None or running.ray is not None:
            raise InputError(
                "lm-eval makes its own prompts, in one process: leave out --length, --jobs, --ray and --shard"
            )
        self.check(self.names)

    def harness(self, likelihood: Likelihood) -> Harness:
        """Return what lm-eval is to run."""
        from maskkv.eval.lm_eval.harness import Harness

        return Harness(
            tasks=tuple(dict.fromkeys(self.names)),
            include=self.include_path,
            n=self.n,
            num_fewshot=self.num_fewshot,
            chat=self.apply_chat_template,
            unsafe_code=self.confirm_run_unsafe_code,
            likelihood=likelihood,
        )


@dataclass(frozen=True)
class RunFlags:
    """Say how the work is done and where its results go."""

    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Answers go to DIR/NAME.answers.jsonl, records to DIR/NAME.jsonl.")
    ] = Path("results")
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that measure side by side; default: 1, with --ray what has room."),
    ] = None
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]",
            help="Measure on a Ray cluster: auto, HOST:PORT or ray://HOST:PORT; local, or nothing: on this host.",
        ),
    ] = None
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Do the I-th of N parts; a run without --shard puts the parts together."),
    ] = None
    isolated: Annotated[
        bool, typer.Option("--isolated", help="Run every answer by itself, and measure its time and memory.")
    ] = False
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables in Markdown.")] = False

    def __post_init__(self) -> None:
        """Refuse what cannot be done before a model is loaded."""
        if self.isolated and (self.jobs or 1) > 1:
            raise InputError(
                f"--isolated measures time, which other processes would take part of: --jobs 1, not {self.jobs}"
            )
        if self.isolated and self.ray is not None and self.jobs is None:
            raise InputError("--isolated measures time, which other workers would take part of: with --ray, --jobs 1")
        check_address(self.ray)
        self.part()

    def part(self) -> tuple[int, int]:
        """Return the shard as two numbers, the first from 1 to the second."""
        if self.shard is None:
            return 1, 1
        index, slash, count = self.shard.partition("/")
        if not (slash and index.isascii() and index.isdigit() and count.isascii() and count.isdigit()):
            raise InputError(f"shard {self.shard!r}: expected I/N, as in 1/4")
        if not 1 <= int(index) <= int(count):
            raise InputError(f"shard {self.shard!r}: expected a part from 1/{count} to {count}/{count}")
        return int(index), int(count)


def _room(flags: Mapping[str, Any]) -> int:
    """Return a length that any blocks and steps fit: the examples have lengths of their own."""
    return max(1, flags["block_length"] * (flags["steps"] or 1))


@flagged
def evaluate(  # noqa: PLR0913 (each group of flags by itself)
    benchmarks: Annotated[list[str], typer.Argument(metavar="NAME", help=f"One of {', '.join(NAMES)}.")],
    *,
    examples: ExampleFlags,
    variants: VariantFlags,
    running: RunFlags,
    loading: Loading,
    mixing: Annotated[PolicyFlags, Without("policy", "budget")],
    schedule: Annotated[Generation, Without(gen_length=_room)],
    likelihood: Annotated[Likelihood, Without("max_length")],
) -> None:
    """Score every task under every policy and budget.

    What DIR has answers to is not asked again, so an interrupted run goes on where it stopped. The variants of an
    example share the first pass over its prompt. `observe` scores nothing: it records what queries read, for figures.
    """
    from maskkv.eval import conditions, runs
    from maskkv.eval.runs import Study
    from maskkv.eval.store import Store

    for name in benchmarks:
        if name not in NAMES:
            raise InputError(f"unknown benchmark {name!r}: expected one of {', '.join(NAMES)}")
    if OBSERVE in benchmarks and (variants, mixing, running) != (VariantFlags(), PolicyFlags(), RunFlags(running.out)):
        raise InputError("observe watches a model without a cache, in one process: no flags but of examples and --out")
    if LM_EVAL in benchmarks:
        examples.check_lm_eval(running)
    variants.check(benchmarks)
    chosen = variants.variants(mixing, length=1)
    records.prepare(running.out)
    with sharing(running.ray, running.jobs) as elsewhere:
        llm = load(loading)
        if OBSERVE in benchmarks:
            observe.observe(llm, loading.name, examples.tasks(OBSERVE, llm), schedule, running.out)
        own = [name for name in dict.fromkeys(benchmarks) if name in BENCHMARKS]
        with terminal.waiting("making the examples"):
            parts = {name: variants.alike(examples.tasks(name, llm)) for name in own}
        tell = Notice(llm)
        for name in own:
            with Store(conditions.read, running.out, name, running.part()) as store:
                for length, tasks in parts[name]:
                    study = Study(variants.variants(mixing, length), schedule, running.isolated, running.part())
                    with terminal.progress(name, 1) as advance:
                        progress = _Progress(name, advance, tell)
                        found = runs.run(llm, loading, tasks, study, store, elsewhere, progress)
                    _report(name, len(tasks) * len(study.variants), found, running)
    if LM_EVAL in benchmarks:
        study = Study(chosen, schedule, running.isolated)
        found = lm_eval.run(llm, loading.name, examples.harness(likelihood), study, running.out)
        scores.show(found, markdown=running.markdown)


class _Progress:
    """Show how many answers there are, and the mean score so far; tell when positions are stretched."""

    def __init__(self, name: str, advance: terminal.Advance, tell: Notice) -> None:
        self._name = name
        self._advance = advance
        self._tell = tell
        self._scores: dict[str, list[float]] = {}

    def __call__(self, answered: Sequence[Answered], total: int) -> None:
        for each in answered:
            self._tell(each.prompt_length + each.gen_length)
            for answer in each.answers:
                self._scores.setdefault(answer.policy_name, []).append(answer.score)
        means = {name: math.fsum(scores) / len(scores) for name, scores in self._scores.items()}
        shown = ", ".join(f"{name} {mean:.1%}" for name, mean in list(means.items())[:4])
        self._advance(sum(map(len, self._scores.values())), f"{self._name}: {shown}", total)


def _report(name: str, cells: int, found: list[Record], running: RunFlags) -> None:
    if len(found) < cells:
        terminal.note(
            f"{name}: {cells - len(found)} of {cells} cells still lack answers of other shards; "
            f"once all are in {running.out}, the same command without --shard puts them together"
        )
    scores.show(found, markdown=running.markdown)
