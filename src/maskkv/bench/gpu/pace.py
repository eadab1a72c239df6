"""How long steps and responses take: MaskKV alone, against no cache and dLLM-Cache, and many sequences together."""

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
    by_kind,
    milliseconds,
)
from maskkv.bench.gpu.device import Peak, driver, free_unused
from maskkv.bench.gpu.subject import Fields, Setup, Subject
from maskkv.bench.timed import TimedStep, spent, timed_steps
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
    """Time a prompt refresh and the steps after it one by one, and compare the peak with the plan."""
    for length in (8 * subject.unit, _LONGEST * subject.unit):
        skipped = subject.skipped(2 * subject.pass_s(length) + 32 * subject.step_s)
        yield {"prompt_length": length, **(skipped or _alone(subject, Setup(length, subject.generation())))}


def _alone(subject: Subject, setup: Setup) -> Fields:
    timed_steps(subject.open(setup), subject.device, 3)
    engine = subject.open(setup)
    peak = Peak.watch(subject.device)
    times = timed_steps(engine, subject.device, 1)
    taken = peak.taken()
    times += timed_steps(engine, subject.device, 5 * (EAGER + 3))
    subject.learn(setup.prompt_length, times)
    cache_bytes, planned, weights = engine[0].cache_bytes, subject.planned(setup), weight_bytes(subject)
    return {
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


def _kinds(subject: Subject, setup: Setup, times: list[TimedStep], cache_bytes: int) -> Fields:
    """Describe each kind of step, once it no longer records a graph, beside its least possible time."""
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
            skipped = subject.skipped(passes * subject.pass_s(length) + 12 * subject.step_s)
            measured = skipped or _case(subject, length, policy, whole=multiple == _LONGEST)
            yield {"prompt_length": length, "policy": policy, **measured}


def _case(subject: Subject, length: int, policy: str, *, whole: bool) -> Fields:
    # Every kind of step before the second prompt refresh, as a warm-up, and three of each after it.
    warmed = subject.generation(one_pass=False, prompt_interval=7, response_interval=2)
    setup = Setup(length, warmed, policy)
    peak = Peak.watch(subject.device)
    engine = subject.open(setup)
    pace = Pace.of(timed_steps(engine, subject.device, 2 if policy == "none" else 14))
    response = {name: pace.response(each) for name, each in _schedules(subject).items()}
    if policy == "none":
        subject.none_s[length] = response
    fields: Fields = {
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
    """Time a first prompt refresh that has to measure the layers' importance."""
    engine = subject.open(replace(setup, profiled=False))
    first = timed_steps(engine, subject.device, 1)[0].seconds
    longer = {name: value + first - prompt_s for name, value in response.items()}
    return {
        "first_refresh_ms": milliseconds(first),
        "response_s": _rounded(longer),
        "speedup": _speedup(subject, setup.prompt_length, longer),
    }


def _measured(subject: Subject, length: int) -> float | None:
    """Time a whole response on the paper's schedule, as a check on the composed time."""
    generation = _schedules(subject)["paper"]
    if subject.left < 4 * subject.pass_s(length) + generation.num_steps * subject.step_s:
        return None
    engine = subject.open(Setup(length, generation))
    return round(spent(partial(_to_the_end, engine), subject.device), 3)


def _to_the_end(engine: Engine) -> None:
    while engine.step():
        pass


def together(subject: Subject) -> Iterator[Fields]:
    """Time one sequence, then many together: a round of prompt refreshes, then steps."""
    length = 8 * subject.unit
    alone = None
    timed_steps(subject.open(Setup(length, subject.generation())), subject.device, 2)
    for count in (1, subject.sequences):
        fields: Fields = {"prompt_length": length, "sequences": count}
        skipped = subject.skipped(count * subject.pass_s(length) + 32 * subject.step_s)
        if skipped:
            yield fields | skipped
            continue
        peak = Peak.watch(subject.device)
        setup = Setup(length, subject.generation(), sequences=count)
        pace = Pace.of(timed_steps(subject.open(setup), subject.device, 1 + 5 * (EAGER + 1)))
        speed = count / pace.mean_step(setup.generation.response_interval)
        alone = alone or speed
        taken = peak.taken()
        yield {
            **fields,
            "budget": subject.budget,
            "refresh_s": round(pace.prompt, 4),
            "step_ms": {name: pace.step_ms()[name] for name in (PARTIAL, RESPONSE)},
            "first_ms": pace.first_ms(),
            "tokens_per_s": round(speed, 2),
            "over_one": ratio(speed, alone),
            **taken,
            "planned": subject.planned(setup),
        }


def weight_bytes(subject: Subject) -> int:
    """Return the bytes of the weights."""
    return sum(weight.nbytes for weight in subject.model.parameters())


def ratio(one: float | int | None, other: float | int) -> float | None:
    """Divide and round; None if there is nothing to divide."""
    return None if one is None else round(one / other, 4)


def _schedules(subject: Subject) -> dict[str, Generation]:
    """Return the paper's schedule (T_p 50, T_r 5), and one that reads the prompt once."""
    return {
        "paper": subject.generation(one_pass=False, prompt_interval=50, response_interval=5),
        "one_pass": subject.generation(response_interval=5),
    }


def _speedup(subject: Subject, length: int, response: dict[str, float]) -> dict[str, float] | None:
    none = subject.none_s.get(length)
    return None if none is None else {name: round(none[name] / value, 3) for name, value in response.items()}


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in seconds.items()}
