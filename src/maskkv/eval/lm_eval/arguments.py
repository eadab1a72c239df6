"""The `--model_args` of lm-evaluation-harness: which model, under which policy, on which schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args, get_type_hints

from maskkv import api
from maskkv.budget import DEFAULT_BUDGET
from maskkv.errors import InputError
from maskkv.eval.lm_eval import likelihood
from maskkv.eval.lm_eval.likelihood import Likelihood
from maskkv.eval.lm_eval.requests import meaning
from maskkv.generation import Generation
from maskkv.loading import Loading
from maskkv.renamed import SETTINGS, under_new_names

GEN_LENGTH = 256
"""Tokens of an answer where neither task nor user says: the harness's own default."""
TOGETHER = 16
"""Sequences that denoise side by side for `batch_size=auto`."""

_MODEL = "pretrained"
"""What the harness calls `Loading.model`."""
# The fields of `Loading` by the names that the harness's users give; those that may be text are taken as they stand.
_LOADING = {_MODEL if name == "model" else name: kind for name, kind in get_type_hints(Loading).items()}
_TEXTS = ("policy", "evicted", *(name for name, kind in _LOADING.items() if str in (kind, *get_args(kind))))
_SETTINGS = tuple(field.name for field in fields(Generation))
_KNOWN = (*_LOADING, "policy", "budget", "evicted", "batch_size", *likelihood.SETTINGS, *_SETTINGS)


@dataclass(frozen=True)
class Arguments:
    """Hold a loaded model (with its policy and budget), the schedule, and how many sequences run side by side.

    `likelihood` says how likelihoods are estimated.
    """

    llm: api.LanguageModel
    schedule: Generation
    together: int
    likelihood: Likelihood


def load(given: Mapping[str, Any]) -> Arguments:
    """Load what the arguments say: `pretrained`, what else `maskkv.load` takes, `batch_size`, a response's settings.

    Those are the fields of `Generation` and of `Likelihood`.

    Raises:
        InputError: An argument is unknown or unusable.
    """
    stated = {name: value for name, value in under_new_names(given, SETTINGS).items() if value is not None}
    rest: dict[str, Any] = {name: str(value) if name in _TEXTS else meaning(value) for name, value in stated.items()}
    rest = {name: value for name, value in rest.items() if value is not None}
    for name in rest:
        if name not in _KNOWN:
            raise InputError(f"unknown model argument {name!r}: expected one of {', '.join(_KNOWN)}")
    budget, rope_scale = rest.pop("budget", DEFAULT_BUDGET), rest.get("rope_scale")
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
        raise InputError(f"budget={budget}: expected a whole number of at least 1")
    if rope_scale is not None and (isinstance(rope_scale, bool) or not isinstance(rope_scale, int | float)):
        raise InputError(f"rope_scale={rope_scale}: expected a number")
    together = _together(rest.pop("batch_size", 1))
    policy, evicted = rest.pop("policy", "maskkv"), rest.pop("evicted", None)
    options = {name: rest.pop(name) for name in _LOADING if name in rest}
    estimates = Likelihood(**{name: rest.pop(name) for name in likelihood.SETTINGS if name in rest})
    loading = Loading(options.pop(_MODEL, None), **options)
    schedule = Generation(**{"gen_length": GEN_LENGTH, **rest})
    llm = api.load_model(loading, policy=policy, budget=budget, evicted=evicted)
    return Arguments(llm, schedule, together, estimates)


def _together(given: object) -> int:
    """Read a batch size: a number, or auto."""
    text = str(given)
    if text.startswith("auto"):
        return TOGETHER
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"batch_size={text}: expected a number of at least 1, or auto")
    return int(text)
