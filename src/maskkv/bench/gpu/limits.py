"""How long a prompt fits into 24 GB, whatever the card has."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from maskkv.bench.gpu.clock import milliseconds, steps
from maskkv.bench.gpu.device import Peak, free_unused
from maskkv.bench.gpu.subject import Fields, Setup, Subject
from maskkv.plan import longest_prompt

RESERVE_S = 45
"""Seconds that very long prompts leave to the items that follow."""
LIMIT = 24 * 10**9
"""Bytes that the allocator may hold; the driver's own half gigabyte is not in it."""


def small_card(subject: Subject) -> Iterator[Fields]:
    """Read ever longer prompts with no more memory than a small card has."""
    total = torch.cuda.get_device_properties(subject.device).total_memory
    longest = {policy: _longest(subject, policy) for policy in ("none", "full", "maskkv")}
    yield {"limit_bytes": LIMIT, "planned_longest": longest}
    fits_full = longest["full"] // subject.unit * subject.unit
    free_unused(subject.device)
    index: int = subject.device.index or 0
    torch.cuda.set_per_process_memory_fraction(min(1.0, LIMIT / total), index)
    try:
        yield from _read(subject, 128 * subject.unit, "maskkv")
        if fits_full:
            yield from _read(subject, fits_full, "full")
        yield from _read(subject, 192 * subject.unit, "maskkv")
        yield from _read(subject, 256 * subject.unit, "maskkv")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, index)


def _longest(subject: Subject, policy: str) -> int:
    return longest_prompt(lambda length: subject.planned(Setup(length, subject.generation(), policy)), LIMIT)


def _read(subject: Subject, length: int, policy: str) -> Iterator[Fields]:
    setup = Setup(length, subject.generation(), policy)
    fields: Fields = {"prompt_length": length, "policy": policy, "budget": subject.budget_of(policy)}
    reason = subject.short_of(1.1 * subject.pass_s(length) + 2 * subject.step_s + RESERVE_S)
    if reason:
        yield {**fields, "skipped": reason}
        return
    peak = Peak.watch(subject.device)
    try:
        times = steps(subject.open(setup), subject.device, 3)
        subject.learn(length, times[:1])
    except torch.OutOfMemoryError as error:
        times = []
        fields["out_of_memory"] = str(error).partition(". ")[0]
    yield {
        **fields,
        "fits": bool(times),
        "refresh_s": round(times[0].seconds, 3) if times else None,
        "steps_ms": [milliseconds(each.seconds) for each in times[1:]],
        **peak.taken(),
        "planned": subject.planned(setup),
    }
    free_unused(subject.device)
