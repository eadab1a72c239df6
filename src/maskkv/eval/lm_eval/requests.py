"""What a task of lm-evaluation-harness asks of one answer, in maskkv's own words, and the line that keeps it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from sys import float_info
from typing import Any

from maskkv.api import LanguageModel
from maskkv.errors import InputError
from maskkv.eval.answering import UnscoredAnswer
from maskkv.eval.fields import filled
from maskkv.eval.lm_eval.likelihood import Likelihood
from maskkv.eval.lm_eval.pairs import Pair
from maskkv.generation import Generation
from maskkv.json_lines import Record
from maskkv.renamed import RENAMED, SETTINGS, under_new_names

LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""The names by which tasks give the length of an answer; the first one given counts."""
_LATER = ("shares", "edit_threshold", "max_post_steps", "min_transfer")
_FIELDS = tuple(field.name for field in fields(Generation) if field.name != "gen_length")
_WORDS = {"true": True, "false": False, "none": None, "null": None}


@dataclass(frozen=True)
class Asked:
    """Say how an answer is made, and the texts before which it ends."""

    generation: Generation
    until: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """Hold a request in tokens, and how it is answered."""

    task: str
    prompt: tuple[int, ...]
    asked: Asked

    def drawn_anew(self, repeat: int) -> Request:
        """Return the request with a seed of its own, for the repeat-th time it is made."""
        generation = self.asked.generation
        return replace(self, asked=replace(self.asked, generation=replace(generation, seed=generation.seed + repeat)))


@dataclass(frozen=True, kw_only=True)
class Estimate(UnscoredAnswer):
    """Report an estimated negative log-likelihood in nats, and whether greedy decoding gives the same text.

    `gen_length` and `tokens` count what was scored, `steps` the masked copies. No cache takes part: its sizes are 0.
    """

    nll: float
    greedy: bool


def key(llm: LanguageModel, fingerprint: str, request: Request, timed: bool) -> str:
    """Return a hash of everything that decides an answer; `timed` answers, which have a latency, are kept apart."""
    importance = None if llm.profile is None else llm.profile.importance
    policy = llm.policy_for()
    decides = [
        [fingerprint, str(llm.model.dtype), llm.kv_dtype, llm.rope_scale, importance],
        [repr(policy), llm.budget_for(policy), timed],
        [_as_first_written(request.asked.generation), request.asked.until],
        request.prompt,
    ]
    spelled = json.dumps(decides)
    for before, now in RENAMED.items():  # keys from before a name changed stay valid
        spelled = spelled.replace(now, before)
    return hashlib.sha256(spelled.encode()).hexdigest()


def _as_first_written(generation: Generation) -> Record:
    """Leave settings out that came later and say nothing: keys from before they existed stay valid."""
    silent = {name for name in _LATER if getattr(generation, name) == getattr(Generation, name)}
    return {name: value for name, value in asdict(generation).items() if name not in silent}


def estimate_key(
    llm: LanguageModel, fingerprint: str, pairs: Sequence[Pair], settings: Likelihood, schedule: Generation
) -> str:
    """Return a hash of everything that decides an estimate of several pairs together."""
    decides = [
        ["likelihood", fingerprint, str(llm.model.dtype), llm.rope_scale],
        [asdict(settings), schedule.seed, schedule.cfg_scale],
        [asdict(pair) for pair in pairs],
    ]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()


def to_line(key: str, answer: UnscoredAnswer) -> Record:
    """Put an answer into a line of its own."""
    return {"key": key, **asdict(answer)}


def from_line(line: Record) -> Iterator[tuple[str, UnscoredAnswer]]:
    """Read an answer and its key from a line; KeyError or TypeError if the line holds something else."""
    kind = Estimate if "nll" in line else UnscoredAnswer
    yield str(line["key"]), filled(kind, {name: value for name, value in line.items() if name != "key"})


def read(given: Mapping[str, Any], schedule: Generation) -> Asked:
    """Translate a task's `generation_kwargs`; `schedule` holds what it leaves open, the length included.

    The length is rounded up to whole blocks. Without sampling, the temperature is 0 and `top_p` and `top_k` mean
    nothing. Every field of `Generation` may be given as well, and texts (`"False"`, `"0.7"`) mean what they say.

    Raises:
        InputError: An option is unknown or has no such value, or one of them samples and another does not.
    """
    named = under_new_names(given, SETTINGS)
    rest = {name: value if name == "until" else meaning(value) for name, value in named.items()}
    until = _until(rest.pop("until", None))
    lengths = [rest.pop(name, None) for name in LENGTHS]
    length = next((each for each in lengths if each is not None), schedule.gen_length)
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise InputError(f"{LENGTHS[0]} must be a whole number of at least 1, not {length!r}")
    if (beams := rest.pop("num_beams", 1)) != 1:
        raise InputError(f"num_beams={beams!r}: a diffusion language model has no beam search, expected 1")
    sampled = rest.pop("do_sample", None)
    temperature = _temperature(sampled, _number(rest.pop("temperature", None)), schedule.temperature)
    if not temperature:
        rest = {name: value for name, value in rest.items() if name not in ("top_p", "top_k")}
    unknown = [name for name in rest if name not in _FIELDS]
    if unknown:
        known = ("until", LENGTHS[0], "do_sample", *_FIELDS)
        raise InputError(f"unknown generation option {unknown[0]!r}: expected one of {', '.join(known)}")
    block = rest.get("block_length", schedule.block_length)
    whole = -(-length // block) * block if isinstance(block, int) and block > 0 else length
    return Asked(replace(schedule, gen_length=whole, temperature=temperature, **rest), until)


def meaning(value: Any) -> Any:
    """Return what a text spells (true, false, none or a number, in any case), and anything else as it is."""
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    if word in _WORDS:
        return _WORDS[word]
    for number in (int, float):
        with suppress(ValueError):
            return number(word)
    return value


def _temperature(sampled: object, given: float | None, usual: float) -> float:
    """Return 0 unless the task samples, by saying so or by naming a temperature; `usual` is the user's own."""
    if sampled is not None and not isinstance(sampled, bool):
        raise InputError(f"do_sample must be true or false, not {sampled!r}")
    if sampled is None and given != 0:
        return usual if given is None else given
    if sampled:
        if given == 0:
            raise InputError("do_sample=true samples and temperature=0 does not: leave one of them out")
        return given or usual or 1.0
    said = "temperature=0" if sampled is None else "do_sample=false"
    for other in (usual, 0 if given == 1 else given):  # tasks that do not sample often have a temperature of 1
        if other:
            raise InputError(f"{said} does not sample and temperature={other:g} does: leave one of them out")
    return 0.0


def _number(given: object) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= float_info.max:
        raise InputError(f"temperature must be a number of at least 0, not {given!r}")
    return float(given)


def _until(given: object) -> tuple[str, ...]:
    stops = [] if given is None else [given] if isinstance(given, str) else given
    if not isinstance(stops, list | tuple) or not all(isinstance(stop, str) for stop in stops):
        raise InputError(f"until must be a text or a list of texts, not {given!r}")
    return tuple(stop for stop in stops if stop)


def cut(text: str, until: tuple[str, ...]) -> str:
    """Return the text before the first of the stops."""
    return text[: min((text.index(stop) for stop in until if stop in text), default=len(text))]
