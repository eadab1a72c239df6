"""How long a prompt fits into 24 GB, on a card that has more."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from maskkv.bench.gpu.clock import milliseconds
from maskkv.bench.gpu.device import Peak
from maskkv.bench.gpu.subject import Fields, Setup, Subject
from maskkv.bench.timed import timed_steps
from maskkv.plan import longest_prompt

RESERVE_S = 45
"""Seconds reserved for the items that follow."""
LIMIT = 24 * 10**9
"""Bytes that the allocator may hold; the driver takes half a gigabyte more."""


def small_card(subject: Subject) -> Iterator[Fields]:
    """Read longer and longer prompts with the memory of a small card."""
    total = torch.cuda.get_device_properties(subject.device).total_memory
    longest = {policy: _longest(subject, policy) for policy in ("none", "full", "maskkv")}
    yield {"limit_bytes": LIMIT, "planned_longest": longest}
    fits_full = longest["full"] // subject.unit * subject.unit
    index: int = subject.device.index or 0
    torch.cuda.set_per_process_memory_fraction(min(1.0, LIMIT / total), index)
    try:
        yield _read(subject, 128 * subject.unit, "maskkv")
        if fits_full:
            yield _read(subject, fits_full, "full")
        yield _read(subject, 192 * subject.unit, "maskkv")
        yield _read(subject, 256 * subject.unit, "maskkv")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, index)


def _longest(subject: Subject, policy: str) -> int:
    return longest_prompt(lambda length: subject.planned(Setup(length, subject.generation(), policy)), LIMIT)


def _read(subject: Subject, length: int, policy: str) -> Fields:
    setup = Setup(length, subject.generation(), policy)
    fields: Fields = {"prompt_length": length, "policy": policy, "budget": subject.budget_of(policy)}
    skipped = subject.skipped(1.1 * subject.pass_s(length) + 2 * subject.step_s + RESERVE_S)
    if skipped:
        return fields | skipped
    peak = Peak.watch(subject.device)
    try:
        times = timed_steps(subject.open(setup), subject.device, 3)
        subject.learn(length, times[:1])
    except torch.OutOfMemoryError as error:
        times = []
        fields["out_of_memory"] = str(error).partition(". ")[0]
    return {
        **fields,
        "fits": bool(times),
        "refresh_s": round(times[0].seconds, 3) if times else None,
        "steps_ms": [milliseconds(each.seconds) for each in times[1:]],
        **peak.taken(),
        "planned": subject.planned(setup),
    }
