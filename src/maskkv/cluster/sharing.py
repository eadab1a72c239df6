"""Units shared out among workers that may be lost: what a lost one had is done again by another."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from maskkv.errors import InputError, MaskKVError
from maskkv.eval.answering import Answered, Unit

TRIES = 3
"""How often a unit may lose its worker before it is taken to be the reason."""
_CORES = 4
"""Cores of a worker without a GPU, where nobody says how many workers there are to be."""


@dataclass(frozen=True)
class Done:
    """Hand over a unit's answers."""

    worker: int
    answered: list[Answered]


@dataclass(frozen=True)
class Lost:
    """Say that a worker is gone, with what it had to do."""

    worker: int
    why: str


@runtime_checkable
class Pool(Protocol):
    """Start workers, each of which does one unit at a time."""

    def start(self) -> int:
        """Start a worker and return its number."""
        ...

    def send(self, worker: int, unit: Unit) -> None:
        """Give an idle worker a unit."""
        ...

    def next(self) -> Done | Lost:
        """Wait until one of the busy workers has done its unit, or is lost.

        Raises:
            MaskKVError: What went wrong in a worker would go wrong in any.
        """
        ...


def share(units: Sequence[Unit], pool: Pool, workers: int) -> Iterator[list[Answered]]:
    """Yield the answers of each unit as it is done; a worker gets its next unit when it has none.

    In place of a lost worker another one is started, and its unit comes first.

    Raises:
        MaskKVError: A worker raised it, or a unit lost its worker `TRIES` times.
    """
    waiting, doing, losses = deque(units), dict[int, Unit](), Counter[int]()
    idle = [pool.start() for _ in range(min(workers, len(units)))]
    while waiting or doing:
        while waiting and idle:
            worker = idle.pop()
            doing[worker] = waiting.popleft()
            pool.send(worker, doing[worker])
        reply = pool.next()
        unit = doing.pop(reply.worker)
        if isinstance(reply, Done):
            idle.append(reply.worker)
            yield reply.answered
            continue
        losses[id(unit)] += 1
        if losses[id(unit)] == TRIES:
            what = f"{unit.task.benchmark} {unit.task.name}, examples {unit.numbers[0]} to {unit.numbers[-1]}"
            raise MaskKVError(
                f"{TRIES} workers were lost, one after the other, over {what} (out of memory?): {reply.why}"
            )
        waiting.appendleft(unit)
        idle.append(pool.start())


@dataclass(frozen=True)
class Host:
    """Say what a host of the cluster has."""

    cores: int
    gpus: int


@dataclass(frozen=True)
class Room:
    """Say how many workers there are, and how many cores each has."""

    workers: int
    cores: int


def room(hosts: Sequence[Host], wanted: int | None, *, on_gpus: bool) -> Room:
    """Return how many workers a cluster takes: one per GPU, or where none computes, one per four cores; or `wanted`.

    Raises:
        InputError: There is no room for so many.
    """
    if on_gpus:
        most, kind = sum(host.gpus for host in hosts), "GPU"
        usual = most
    else:
        most, kind = sum(host.cores for host in hosts), "core"
        usual = sum(max(1, host.cores // _CORES) for host in hosts if host.cores)
    workers = usual if wanted is None else wanted
    if not 1 <= workers <= most:
        raise InputError(f"the cluster has room for {most} workers, one per {kind}, and is to have {max(1, workers)}")
    cores = 1
    # A worker is on one host: what is left over on several adds up to nothing.
    while not on_gpus and sum(host.cores // (cores + 1) for host in hosts) >= workers:
        cores += 1
    return Room(workers, cores)
