"""How long steps and responses take: MaskKV alone, beside no cache and dLLM-Cache, and many sequences together."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial

import torch

from maskkv.bench.gpu.clock import (
    EAGER,
    PARTIAL,
    PROMPT,
    RESPONSE,
    Pace,
    Timed,
    by_kind,
    milliseconds,
    spent,
    steps,
)
from maskkv.bench.gpu.device import Peak, driver, free_unused
from maskkv.bench.gpu.subject import Fields, Setup, Subject
from maskkv.cache import Refresh
from maskkv.decoding.engine import Engine
from maskkv.generation import Generation

_LONGEST = 32


def card(subject: Subject) -> Iterator[Fields]:
    """Name the card and its software, measure what it can do, and draw the weights on it."""
    on_cuda = subject.on_cuda
    machine = subject.machine
    free_unused(subject.device)
    drawn = spent(lambda: subject.model, subject.device)
    yield {
        "memory_bytes": torch.cuda.get_device_properties(subject.device).total_memory if on_cuda else None,
        "driver": driver() if on_cuda else None,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if on_cuda else None,
        **asdict(machine),
        "weight_bytes": weight_bytes(subject),
        "weights_s": round(drawn, 3),
    }


def maskkv(subject: Subject) -> Iterator[Fields]:
    """Time a prompt refresh and the steps after it, each for itself, and compare the peak with the plan."""
    for length in (8 * subject.unit, _LONGEST * subject.unit):
        short = _short_of(subject, 2 * subject.pass_s(length) + 32 * subject.step_s, length)
        yield short or _alone(subject, Setup(length, subject.generation()))
        free_unused(subject.device)


def _alone(subject: Subject, setup: Setup) -> Fields:
    steps(subject.open(setup), subject.device, 3)
    engine = subject.open(setup)
    peak = Peak.watch(subject.device)
    times = steps(engine, subject.device, 1)
    taken = peak.taken()
    times += steps(engine, subject.device, 5 * (EAGER + 3))
    subject.learn(setup.prompt_length, times)
    cache_bytes, planned, weights = engine[0].cache_bytes, subject.planned(setup), weight_bytes(subject)
    return {
        "prompt_length": setup.prompt_length,
        "budget": subject.budget,
        "steps": _kinds(subject, setup, times, cache_bytes),
        "first_ms": [milliseconds(each.seconds) for each in times[1:4]],
        "cache_bytes": cache_bytes,
        "weight_bytes": weights,
        **taken,
        "planned": planned,
        "peak_over_plan": ratio(taken["peak_allocated"], planned),
        "peak_over_weights": ratio(taken["peak_allocated"], weights),
    }


def _kinds(subject: Subject, setup: Setup, times: list[Timed], cache_bytes: int) -> Fields:
    """Describe each kind of step once it no longer records a graph, beside the least that it could take."""
    found: Fields = {}
    for name, own in by_kind(times).items():
        later = own if name == PROMPT else own[EAGER:]
        median = statistics.median(later)
        floor = subject.floor_s(setup, Refresh(name), cache_bytes)
        found[name] = {
            "n": len(later),
            "median_ms": milliseconds(median),
            "min_ms": milliseconds(min(later)),
            "max_ms": milliseconds(max(later)),
            "floor_ms": milliseconds(floor),
            "over_floor": ratio(median, floor),
        }
    return found


def side_by_side(subject: Subject) -> Iterator[Fields]:
    """Compare responses without a cache, with dLLM-Cache and with MaskKV, composed from steps of each kind."""
    for multiple in (8, 16, _LONGEST):
        length = multiple * subject.unit
        for policy in ("none", "full", "maskkv"):
            passes = 4 if policy == "maskkv" else 2
            short = _short_of(subject, passes * subject.pass_s(length) + 12 * subject.step_s, length)
            if short:
                yield {**short, "policy": policy}
                continue
            yield _case(subject, length, policy, whole=multiple == _LONGEST)
            free_unused(subject.device)


def _case(subject: Subject, length: int, policy: str, *, whole: bool) -> Fields:
    # Every kind of step before the prompt is read again, which warms up, and thrice after it.
    warmed = subject.generation(one_pass=False, prompt_interval=7, response_interval=2)
    setup = Setup(length, warmed, policy)
    peak = Peak.watch(subject.device)
    engine = subject.open(setup)
    pace = Pace.of(steps(engine, subject.device, 2 if policy == "none" else 14))
    response = {name: pace.response(each) for name, each in _schedules(subject).items()}
    if policy == "none":
        subject.none_s[length] = response
    fields: Fields = {
        "prompt_length": length,
        "policy": policy,
        "budget": subject.budget_of(policy),
        "step_ms": pace.step_ms(),
        "first_ms": pace.first_ms(),
        "composed": True,
        "response_s": _rounded(response),
        "speedup": _speedup(subject, length, response),
        "peak_bytes": peak.taken()["peak_allocated"],
        "cache_bytes": engine[0].cache_bytes,
        "weight_bytes": weight_bytes(subject),
    }
    del engine
    if policy == "maskkv":
        fields["no_profile"] = _without_profile(subject, setup, pace.prompt, response)
        fields["measured_response_s"] = _measured(subject, length) if whole else None
    return fields


def _without_profile(subject: Subject, setup: Setup, prompt_s: float, response: dict[str, float]) -> Fields:
    """Time a first prompt refresh that finds out the layers' importance."""
    engine = subject.open(replace(setup, profiled=False))
    first = steps(engine, subject.device, 1)[0].seconds
    longer = {name: value + first - prompt_s for name, value in response.items()}
    return {
        "first_refresh_ms": milliseconds(first),
        "response_s": _rounded(longer),
        "speedup": _speedup(subject, setup.prompt_length, longer),
    }


def _measured(subject: Subject, length: int) -> float | None:
    """Time a whole response on the paper's schedule, which the composed one can be checked against."""
    generation = _schedules(subject)["paper"]
    if subject.left < 4 * subject.pass_s(length) + generation.num_steps * subject.step_s:
        return None
    engine = subject.open(Setup(length, generation))
    return round(spent(partial(_to_the_end, engine), subject.device), 3)


def _to_the_end(engine: Engine) -> None:
    while engine.step():
        pass


def together(subject: Subject) -> Iterator[Fields]:
    """Time many sequences beside one: a round of prompt refreshes, then steps."""
    length = 8 * subject.unit
    alone = None
    steps(subject.open(Setup(length, subject.generation())), subject.device, 2)
    for count in (1, subject.sequences):
        short = _short_of(subject, count * subject.pass_s(length) + 32 * subject.step_s, length)
        if short:
            yield {**short, "sequences": count}
            continue
        peak = Peak.watch(subject.device)
        setup = Setup(length, subject.generation(), sequences=count)
        pace = Pace.of(steps(subject.open(setup), subject.device, 1 + 5 * (EAGER + 1)))
        speed = count / pace.mean_step(setup.generation.response_interval)
        alone = alone or speed
        taken = peak.taken()
        yield {
            "prompt_length": length,
            "sequences": count,
            "budget": subject.budget,
            "refresh_s": round(pace.prompt, 4),
            "step_ms": {name: pace.step_ms()[name] for name in (PARTIAL, RESPONSE)},
            "first_ms": pace.first_ms(),
            "tokens_per_s": round(speed, 2),
            "over_one": ratio(speed, alone),
            **taken,
            "planned": subject.planned(setup),
        }
        free_unused(subject.device)


def weight_bytes(subject: Subject) -> int:
    """Return the bytes of the weights."""
    return sum(weight.nbytes for weight in subject.model.parameters())


def ratio(one: float | int | None, other: float | int) -> float | None:
    """Divide; None if there is no number to divide."""
    return None if one is None else round(one / other, 4)


def _short_of(subject: Subject, needed: float, length: int) -> Fields | None:
    """Return a line that says a length is skipped, unless there is time for it."""
    reason = subject.short_of(needed)
    return {"prompt_length": length, "skipped": reason} if reason else None


def _schedules(subject: Subject) -> dict[str, Generation]:
    """Return the paper's schedule (T_p 50, T_r 5), and the one that reads the prompt once."""
    return {
        "paper": subject.generation(one_pass=False, prompt_interval=50, response_interval=5),
        "one_pass": subject.generation(response_interval=5),
    }


def _speedup(subject: Subject, length: int, response: dict[str, float]) -> dict[str, float] | None:
    none = subject.none_s.get(length)
    return None if none is None else {name: round(none[name] / value, 3) for name, value in response.items()}


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in seconds.items()}
