"""Tasks of lm-evaluation-harness under policies and budgets, with records like those of the other benchmarks."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from lm_eval.evaluator import simple_evaluate  # type: ignore[import-untyped]
from lm_eval.tasks import TaskManager  # type: ignore[import-untyped]

from maskkv.api import LanguageModel
from maskkv.errors import InputError
from maskkv.eval import cells
from maskkv.eval.answering import UnscoredAnswer, Variant
from maskkv.eval.conditions import Conditions
from maskkv.eval.lm_eval import arguments
from maskkv.eval.lm_eval.likelihood import Likelihood, check_uncached
from maskkv.eval.lm_eval.model import MaskKVModel
from maskkv.eval.lm_eval.requests import Estimate
from maskkv.eval.runs import Study
from maskkv.eval.store import Store
from maskkv.json_lines import Record
from maskkv.statistics import standard_error

BENCHMARK = "lm-eval"
_Results = dict[str, Any]


@dataclass(frozen=True)
class Harness:
    """Say which tasks are run, and how their prompts are made; `include` is a folder with tasks of the user's own.

    `n` limits the documents per task, `num_fewshot` None leaves the examples in a prompt to the task. `unsafe_code`
    lets tasks run the code that the model writes. `likelihood` says how likelihoods are estimated.
    """

    tasks: tuple[str, ...]
    include: Path | None = None
    n: int | None = None
    num_fewshot: int | None = None
    chat: bool = False
    unsafe_code: bool = False
    likelihood: Likelihood = field(default_factory=Likelihood)

    def manager(self) -> Any:
        """Look for the tasks in the user's folder, and only then among the thousands that the harness brings."""
        if self.include is not None:
            own = TaskManager(include_path=str(self.include), include_defaults=False)
            if set(self.tasks) <= set(own.all_tasks):
                return own
        return TaskManager(include_path=None if self.include is None else str(self.include))

    def load(self, manager: Any, variants: Sequence[Variant]) -> list[Any]:
        """Load the tasks from their files and their data from wherever `datasets` finds it.

        Raises:
            InputError: A task is unknown, cannot be loaded, runs code without leave, or asks for likelihoods while one
                of the variants has a cache.
        """
        known = set(manager.all_tasks)
        for name in self.tasks:
            if name not in known:
                raise InputError(f"unknown task {name!r}: `lm-eval ls tasks` lists all, --include-path adds your own")
        try:
            loaded = list(manager.load(list(self.tasks))["tasks"].values())
        except Exception as error:  # A task's file, its code and its data may fail in any way they like.
            raise InputError(f"cannot load {', '.join(self.tasks)}: {_reason(error)}") from error
        for task in loaded:
            for variant in variants if task.OUTPUT_TYPE != "generate_until" else ():
                check_uncached(task.task_name, variant.policy)
            if getattr(task, "UNSAFE_CODE", False) and not self.unsafe_code:
                raise InputError(
                    f"the task {task.task_name} runs code that the model writes: --confirm-run-unsafe-code allows it"
                )
        return loaded


def run(
    llm: LanguageModel, name: str, harness: Harness, study: Study, store: Store[str, UnscoredAnswer]
) -> list[Record]:
    """Answer the requests that the store has no answers to; return a record per task, metric, filter and variant.

    `name` is what records call the model.

    Raises:
        InputError: A task cannot be put to this model, or a file cannot be written.
    """
    manager, conditions = harness.manager(), Conditions.of(llm, name, study.schedule, isolated=True)
    found: list[Record] = []
    for variant in study.variants:
        model = _under(variant, llm, study, store, harness.likelihood)
        results = _evaluated(model, harness, harness.load(manager, study.variants), manager)
        about = _about(conditions, variant)
        for task, answers in model.answers.items():
            settings: Record = {"chat": harness.chat}
            if any(isinstance(each, Estimate) for each in answers):
                settings["likelihood"] = asdict(model.likelihood)
            found += [{**about, **each} for each in _measured(results, task, answers, settings)]
    return store.keep(found)


def _under(
    variant: Variant, llm: LanguageModel, study: Study, store: Store[str, UnscoredAnswer], likelihood: Likelihood
) -> MaskKVModel:
    """Return the model as the harness wants it, under a policy and budget."""
    blocks = -(-arguments.GEN_LENGTH // study.schedule.block_length)
    schedule = replace(study.schedule, gen_length=blocks * study.schedule.block_length)
    own = LanguageModel(
        llm.model,
        llm.text,
        policy=variant.policy,
        budget=variant.budget,
        profile=llm.profile,
        loading=llm.loading,
    )
    together = 1 if study.isolated else arguments.TOGETHER
    return MaskKVModel(own, schedule, together=together, store=store, likelihood=likelihood)


def _evaluated(model: MaskKVModel, harness: Harness, tasks: list[Any], manager: Any) -> _Results:
    results: _Results = simple_evaluate(
        model,
        tasks=tasks,
        limit=harness.n,
        num_fewshot=harness.num_fewshot,
        apply_chat_template=harness.chat,
        task_manager=manager,
        confirm_run_unsafe_code=harness.unsafe_code,
        bootstrap_iters=0,  # the standard error of a mean needs none
    )
    return results


def _about(conditions: Conditions, variant: Variant) -> Record:
    return {
        "benchmark": BENCHMARK,
        **conditions.model,
        "policy": repr(variant.policy),
        "policy_name": variant.policy.name,
        "budget": variant.budget,
        "seed": conditions.schedule["seed"],
        "schedule": conditions.schedule,
        "shared_prompt_pass": conditions.shared_prompt_pass,
        **conditions.environment,
        "lm_eval": importlib.metadata.version("lm_eval"),
    }


def _measured(results: _Results, task: str, answers: Sequence[UnscoredAnswer], settings: Record) -> list[Record]:
    """Return what every metric of a task came to; the harness names them `metric,filter`."""
    found: list[Record] = []
    for name, value in results["results"][task].items():
        metric, comma, chosen = name.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        samples = [each for each in results["samples"][task] if each["filter"] == chosen]
        scores = _scores([each.get(metric) for each in samples], float(value))
        found.append(
            {
                "task": f"{task} {metric}" if chosen == "none" else f"{task} {metric} ({chosen})",
                "metric": metric,
                "settings": {
                    "filter": chosen,
                    "version": results["versions"].get(task),
                    "num_fewshot": results["n-shot"].get(task),
                    **settings,
                },
                "n": len(samples),
                "gen_length": max(each.gen_length for each in answers),
                "score": float(value) if math.isfinite(value) else None,
                "standard_error": standard_error(scores) if scores else None,
                "scores": scores,
                **cells.costs([each.prompt_length for each in answers], answers),
            }
        )
    return found


def _scores(values: Sequence[object], total: float) -> list[float]:
    """Return the documents' scores; none where the total is not their mean, as of a metric over the whole set."""
    if not all(isinstance(value, int | float) for value in values):
        return []
    scores = [float(value) for value in values if isinstance(value, int | float)]
    return scores if scores and math.isclose(fmean(scores), total, abs_tol=1e-9) else []


def _reason(error: Exception) -> str:
    """Return the first line of a message with a word in it."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if any(map(str.isalnum, line))), type(error).__name__)
