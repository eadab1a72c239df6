"""A line of answers: those to one example, and the conditions under which they were given.

An answer counts for a study if model, dtype, schedule, task, settings and example number are the same, whoever
measured it and whenever.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from maskkv import records
from maskkv.api import LanguageModel
from maskkv.checkpoints import quantizing
from maskkv.eval.answering import Answered, ScoredAnswer
from maskkv.eval.benchmark import Task
from maskkv.eval.fields import filled, whole
from maskkv.generation import Generation
from maskkv.json_lines import Record


@dataclass(frozen=True)
class Conditions:
    """Say what all answers of a run have in common: the model, the schedule, the machine.

    `schedule` has no `gen_length`, which is the example's own. `shared_prompt_pass` says that the variants of an
    example ran together, so that no variant has a latency of its own.
    """

    model: Record
    schedule: Record
    shared_prompt_pass: bool
    environment: Record

    @classmethod
    def of(cls, llm: LanguageModel, name: str, schedule: Generation, isolated: bool) -> Conditions:
        """Describe a loaded model and how it is run."""
        model: Record = {
            "model": name,
            "fingerprint": llm.fingerprint(),
            "dtype": str(llm.model.dtype).removeprefix("torch."),
            "quantize": quantizing.quantization(llm.model),
            "kv_dtype": llm.kv_dtype,
            "rope_scale": llm.rope_scale,
            "profile": None if llm.profile is None else _digest(llm.profile.importance),
        }
        if llm.model.ranks.count > 1:
            # Bytes are those of one device.
            model["tensor_parallel"] = llm.model.ranks.count
        environment: Record = {"device": str(llm.model.device), **records.environment()}
        return cls(model, _without_length(schedule), not isolated, environment)

    def identity(self, task: Task) -> str:
        """Return what an answer's line must agree in to count for this task."""
        return _identity(
            {
                **asdict(self),
                "benchmark": task.benchmark,
                "task": task.name,
                "settings": task.settings,
            }
        )

    def line(self, answered: Answered) -> Record:
        """Put the answers to one example into a line."""
        return {
            "benchmark": answered.task.benchmark,
            "task": answered.task.name,
            "settings": answered.task.settings,
            "number": answered.number,
            "prompt_length": answered.prompt_length,
            "gen_length": answered.gen_length,
            "answers": [asdict(answer) for answer in answered.answers],
            **asdict(self),
        }


@dataclass(frozen=True)
class Held:
    """Hold one answer with what its line says of the example and the machine."""

    prompt_length: int
    gen_length: int
    environment: Record
    answer: ScoredAnswer


Key = tuple[str, int, str, int | None]
"""A line's identity, the example's number, and the variant's `key`."""


def read(line: Record) -> Iterator[tuple[Key, Held]]:
    """Read the answers of a line with their keys; KeyError or TypeError if the line holds something else."""
    identity = _identity(line)
    number, prompt, response = (whole(name, line[name]) for name in ("number", "prompt_length", "gen_length"))
    environment, answers = line["environment"], line["answers"]
    if not isinstance(environment, dict) or not isinstance(answers, list):
        raise TypeError("environment or answers")
    for fields in answers:
        answer = filled(ScoredAnswer, fields)
        if answer.score > 1:
            raise TypeError(f"score is {answer.score}")
        yield (identity, number, answer.policy, answer.budget), Held(prompt, response, environment, answer)


def _identity(line: Record) -> str:
    model, schedule = line["model"], line["schedule"]
    if not isinstance(model, dict) or not isinstance(schedule, dict):
        raise TypeError("model or schedule")
    # Where the weights were called something else, or lay elsewhere, they are the same by their fingerprint. A line
    # from before a setting existed was measured with what is that setting's default.
    alike = {
        "model": {
            "quantize": None,
            "kv_dtype": "auto",
            **{name: value for name, value in model.items() if name != "model"},
        },
        "schedule": {**_without_length(Generation()), **schedule},
        **{name: line[name] for name in ("benchmark", "task", "settings", "shared_prompt_pass")},
    }
    return json.dumps(alike, sort_keys=True)


def _without_length(schedule: Generation) -> Record:
    return {name: value for name, value in asdict(schedule).items() if name != "gen_length"}


def _digest(importance: Sequence[float]) -> str:
    return hashlib.sha256(json.dumps(importance).encode()).hexdigest()[:16]
