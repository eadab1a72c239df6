"""Seconds of single steps and of whole runs, including the device's work."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from maskkv.cache import Refresh
from maskkv.decoding.engine import Engine


@dataclass(frozen=True)
class TimedStep:
    """Say what a step recomputed, how long it took, and whether it committed tokens of the first sequence."""

    kind: str
    seconds: float
    cpu_seconds: float = 0.0
    """Over all threads of the process; other programs hardly change it."""
    commits: bool = False


def kind(refresh: Refresh | None) -> str:
    """Name what a step recomputes."""
    return "everything" if refresh is None else refresh.value


def timed_steps(engine: Engine, device: torch.device, most: int | None = None) -> list[TimedStep]:
    """Take steps until the responses end, or `most` of them, and time each by itself."""
    taken: list[TimedStep] = []
    while most is None or len(taken) < most:
        synchronize(device)
        wall, cpu = time.perf_counter(), time.process_time()
        steps = engine.step()
        synchronize(device)
        if not steps:
            break
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        taken.append(TimedStep(kind(steps[0].refresh), seconds, cpu_seconds, bool(steps[0].positions)))
    return taken


def spent(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one run, from its first call on the host to the device's last result."""
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait until the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
