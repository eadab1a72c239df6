"""Cell records: scores and costs of all answers to one task under one variant."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from statistics import fmean

from maskkv.eval.answering import ScoredAnswer, UnscoredAnswer, Variant
from maskkv.eval.benchmark import Task
from maskkv.eval.conditions import Conditions, Held, Key
from maskkv.json_lines import Record
from maskkv.statistics import retention, standard_error

REFERENCES = ("full", "none")
"""The policies against which retention is measured."""


def cell(conditions: Conditions, task: Task, variant: Variant, known: dict[Key, Held]) -> Record | None:
    """Return the record of a cell; None while an answer is missing."""
    identity = conditions.identity(task)
    held = [known.get((identity, number, *variant.key)) for number in task.numbers]
    present = [each for each in held if each is not None]
    if len(present) < len(held):
        return None
    answers = [each.answer for each in present]
    return {
        "benchmark": task.benchmark,
        **conditions.model,
        "task": task.name,
        "metric": task.metric,
        "settings": task.settings,
        **task.settings,
        "policy": repr(variant.policy),
        "policy_name": variant.policy.name,
        "budget": variant.budget,
        "n": len(present),
        "first_seed": task.numbers[0],
        "seed": conditions.schedule["seed"],
        "gen_length": max(each.gen_length for each in present),
        "schedule": conditions.schedule,
        **_scores([each.score for each in answers]),
        **costs([each.prompt_length for each in present], answers),
        **_counted(answers),
        "shared_prompt_pass": conditions.shared_prompt_pass,
        **_environment([each.environment for each in present]),
    }


def merged(old: Sequence[Record], new: Sequence[Record]) -> list[Record]:
    """Return all records, new ones in the place of old ones of the same cell, each with its retention."""
    cells = {identity(record): record for record in [*old, *new]}
    bases = {
        identity(record, _REFERENCE): record
        for record in cells.values()
        if record["policy_name"] in REFERENCES and _kv_dtype(record) == "auto"
    }
    return [{**record, "retention": _retention(record, bases)} for record in cells.values()]


_SAME_EXAMPLES = (
    *("fingerprint", "dtype", "rope_scale", "profile"),
    *("benchmark", "task", "settings", "length", "n", "first_seed", "schedule"),
)
_REFERENCE = (*_SAME_EXAMPLES, "policy_name")
_SAME_CELL = (*_SAME_EXAMPLES, "policy", "budget", "kv_dtype", "shared_prompt_pass")


def _retention(record: Record, bases: dict[str, Record]) -> Record:
    """Return the score's ratio to each reference's on the same examples, null where there is none."""
    found: Record = {}
    for name in REFERENCES:
        base = bases.get(identity({**record, "policy_name": name}, _REFERENCE))
        found[name] = None if base is None else _ratio(record, base)
    return found


def _ratio(record: Record, base: Record) -> Record | None:
    own, other = scores(record), scores(base)
    if len(own) != len(other):  # a metric of lm-eval that is no mean over documents in one of them
        return None
    ratio, error = retention(own, other)
    if math.isnan(ratio):
        return None
    return {"ratio": ratio, "standard_error": None if math.isnan(error) else error}


def scores(record: Record) -> list[float]:
    """Return a record's scores, in the order of the examples."""
    found = record["scores"]
    assert isinstance(found, list)
    return [float(score) for score in found]


def identity(record: Record, names: Sequence[str] = _SAME_CELL) -> str:
    """Return what two records of the same cell (or, with `names`, of less) have in common."""
    alike = {**record, "kv_dtype": _kv_dtype(record)}
    return json.dumps({name: alike.get(name) for name in names}, sort_keys=True)


def _kv_dtype(record: Record) -> object:
    """Return what kept pairs were stored in; records from before there was a choice do not say."""
    return record.get("kv_dtype", "auto")


def _scores(scores: Sequence[float]) -> Record:
    return {"score": fmean(scores), "standard_error": standard_error(scores), "scores": list(scores)}


def _counted(answers: Sequence[ScoredAnswer]) -> Record:
    """Return what came back and where it waited; passes and peak memory, where all answers say theirs."""
    peaks = [each.peak_memory_bytes for each in answers if each.peak_memory_bytes is not None]
    passes = [each.prompt_passes for each in answers if each.prompt_passes is not None]
    return {
        "mean_recalled": fmean(each.recalled for each in answers),
        "mean_host_bytes": fmean(each.host_bytes for each in answers),
        "mean_prompt_passes": fmean(passes) if len(passes) == len(answers) else None,
        "peak_memory_bytes": max(peaks) if len(peaks) == len(answers) else None,
    }


def costs(prompt_lengths: Sequence[int], answers: Sequence[ScoredAnswer | UnscoredAnswer]) -> Record:
    """Return what answers cost on average; without a speed unless all of them were timed."""
    latencies = [each.latency_s for each in answers if each.latency_s]
    timed = len(latencies) == len(answers)
    return {
        "mean_prompt_length": fmean(prompt_lengths),
        "mean_steps": fmean(each.steps for each in answers),
        "mean_tokens": fmean(each.tokens for each in answers),
        "mean_cache_bytes": fmean(each.cache_bytes for each in answers),
        "mean_full_cache_bytes": fmean(each.full_cache_bytes for each in answers),
        "mean_latency_s": fmean(latencies) if timed else None,
        "tokens_per_s": sum(each.tokens for each in answers) / math.fsum(latencies) if timed else None,
    }


def _environment(found: Sequence[Record]) -> Record:
    """Say where the answers were measured; a value in which they differ becomes the list of those found."""
    names = dict.fromkeys(name for each in found for name in each)
    merged: Record = {}
    for name in names:
        values = list(dict.fromkeys(json.dumps(each.get(name)) for each in found))
        merged[name] = json.loads(values[0]) if len(values) == 1 else [json.loads(value) for value in values]
    return merged
