"""How many copies of a server a load needs: a simulation of requests that arrive, wait and run, step by step.

Each replica works as `maskkv serve` does: a queue, requests that join between two steps while batch and memory have
room, one prompt read per step beside the live rows of all others. Seconds come from a measured `Pace`.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random

from maskkv.errors import InputError
from maskkv.pace import Pace

MOST_REPLICAS = 1024
"""Replicas beyond which nothing is looked for."""
_COLD = 10
"""One in so many requests, the first ones, is not counted: they meet an empty house."""

SPAN = 10
"""How many times as long as an answer in a full batch a load is simulated at least."""


@dataclass(frozen=True)
class Size:
    """Say how large a request is, and what bytes it takes of a replica: `held` while it runs, `reading` at times."""

    prompt_length: int
    gen_length: int
    steps: int
    held: int = 0
    reading: int = 0


@dataclass(frozen=True)
class Arrival:
    """Say when a request comes, in seconds."""

    at: float
    size: Size


@dataclass(frozen=True)
class Limits:
    """Say what a replica takes: requests together and in its queue, and bytes beside the weights (None: any)."""

    max_batch: int
    max_queue: int
    memory: int | None = None


@dataclass
class Visit:
    """Follow a request: when it came, when its prompt began to be read, when its first and its last step were done."""

    arrival: Arrival
    began: float = -1.0
    first: float = -1.0
    done: float = -1.0
    steps: int = 0

    @property
    def refused(self) -> bool:
        """Tell whether the queue was full: a status 429."""
        return self.done < 0

    @property
    def wait(self) -> float:
        """Return the seconds until the prompt began to be read."""
        return self.began - self.arrival.at

    @property
    def until_first(self) -> float:
        """Return the seconds until the first step was done."""
        return self.first - self.arrival.at

    @property
    def latency(self) -> float:
        """Return the seconds until the answer was whole."""
        return self.done - self.arrival.at


@dataclass(frozen=True)
class Run:
    """Hold what became of all requests, in the order in which they came, and each replica's busy seconds.

    Seconds count as busy up to the last arrival, at `until`.
    """

    visits: Sequence[Visit]
    busy: Sequence[float]
    until: float

    @property
    def utilisation(self) -> float:
        """Return the part of the time in which a replica had something to do, on average."""
        return sum(self.busy) / (len(self.busy) * self.until) if self.until else 0.0

    @property
    def counted(self) -> Sequence[Visit]:
        """Return the requests without the first tenth."""
        return self.visits[len(self.visits) // _COLD :]

    @property
    def refused(self) -> float:
        """Return the part of requests that got a 429."""
        return sum(each.refused for each in self.counted) / len(self.counted)

    def seconds(self, name: str) -> list[float]:
        """Return, sorted, the seconds of every request that was not refused: wait, until_first or latency."""
        return sorted(getattr(each, name) for each in self.counted if not each.refused)


def quantile(values: Sequence[float], part: float) -> float | None:
    """Return the value that this part of sorted ones does not exceed; None of none.

    >>> quantile([1.0, 2.0, 3.0, 4.0], 0.5), quantile([1.0, 2.0], 0.9), quantile([], 0.5)
    (2.0, 2.0, None)
    """
    if not values:
        return None
    return values[max(0, math.ceil(part * len(values)) - 1)]


def poisson(rate: float, sizes: Sequence[Size], weights: Sequence[float], count: int, seed: int = 0) -> list[Arrival]:
    """Draw arrivals at a mean rate per second, with sizes drawn by weight; another rate only moves them in time."""
    times, drawn = Random(f"times {seed}"), Random(f"sizes {seed}")
    now, arrivals = 0.0, []
    for size in drawn.choices(sizes, weights, k=count):
        now += times.expovariate(1.0) / rate
        arrivals.append(Arrival(now, size))
    return arrivals


@dataclass
class _Replica:
    """Hold the requests of one copy of the server; `turn` are those whose prompt is due, the longest waiting first."""

    waiting: deque[Visit] = field(default_factory=deque)
    running: list[Visit] = field(default_factory=list)
    turn: deque[Visit] = field(default_factory=deque)
    busy: float = 0.0
    stepping: bool = False

    @property
    def load(self) -> int:
        return len(self.waiting) + len(self.running)


class Simulation:
    """Serve arrivals with a number of replicas; a request goes to the less loaded of two drawn ones, as in Ray Serve.

    Raises:
        InputError: A request can never run.
    """

    def __init__(self, pace: Pace, limits: Limits, seed: int = 0) -> None:
        self._pace = pace
        self._limits = limits
        self._seed = seed
        self._reading = cache(lambda size: pace.reading(size.prompt_length, size.gen_length))
        self._live = cache(lambda size, together: pace.live(size.prompt_length, size.gen_length, together))

    def run(self, arrivals: Sequence[Arrival], replicas: int) -> Run:
        """Follow all requests until the last one is answered."""
        for size in {each.size for each in arrivals}:
            if self._limits.memory is not None and size.held + size.reading > self._limits.memory:
                raise InputError(f"a prompt of {size.prompt_length:,} tokens does not fit into the memory even alone")
        chance, houses = Random(f"routes {self._seed}"), [_Replica() for _ in range(replicas)]
        visits, until = [Visit(each) for each in arrivals], arrivals[-1].at
        ends: list[tuple[float, int]] = []
        for visit in visits:
            now = visit.arrival.at
            while ends and ends[0][0] <= now:
                self._go_on(houses, ends, until)
            drawn = chance.sample(range(replicas), min(2, replicas))
            chosen = min(drawn, key=lambda number: houses[number].load)
            house = houses[chosen]
            if len(house.waiting) < self._limits.max_queue:
                house.waiting.append(visit)
                if not house.stepping:
                    self._begin(house, chosen, now, ends, until)
        while ends:
            self._go_on(houses, ends, until)
        return Run(visits, [house.busy for house in houses], until)

    def _go_on(self, houses: Sequence[_Replica], ends: list[tuple[float, int]], until: float) -> None:
        now, number = heapq.heappop(ends)
        self._finish(houses[number], now)
        self._begin(houses[number], number, now, ends, until)

    def _begin(self, house: _Replica, number: int, now: float, ends: list[tuple[float, int]], until: float) -> None:
        """Admit whom there is room for, and take a step, if there is anyone to take it with."""
        while house.waiting and len(house.running) < self._limits.max_batch and self._fits(house):
            visit = house.waiting.popleft()
            house.running.append(visit)
            house.turn.append(visit)
        house.stepping = bool(house.running)
        if not house.stepping:
            return
        if house.turn and house.turn[0].began < 0:
            house.turn[0].began = now
        due = set(map(id, house.turn))
        live = [visit.arrival.size for visit in house.running if id(visit) not in due]
        seconds = self._reading(house.turn[0].arrival.size) if house.turn else 0.0
        seconds += sum(self._live(size, len(live)) for size in live) / len(live) if live else 0.0
        house.busy += max(0.0, min(now + seconds, until) - now)
        heapq.heappush(ends, (now + seconds, number))

    def _fits(self, house: _Replica) -> bool:
        if self._limits.memory is None:
            return True
        sizes = [visit.arrival.size for visit in (house.waiting[0], *house.running)]
        return sum(size.held for size in sizes) + max(size.reading for size in sizes) <= self._limits.memory

    def _finish(self, house: _Replica, now: float) -> None:
        """End the step: all but those that wait for their prompt's turn have taken it."""
        if house.turn:
            house.turn.popleft()
        still = set(map(id, house.turn))
        stay = []
        for visit in house.running:
            if id(visit) in still:
                stay.append(visit)
                continue
            visit.steps += 1
            if visit.steps == 1:
                visit.first = now
            if visit.steps == visit.arrival.size.steps:
                visit.done = now
                continue
            stay.append(visit)
            if self._pace.prompt_interval is not None and visit.steps % self._pace.prompt_interval == 0:
                house.turn.append(visit)
        house.running = stay


def full_batch(simulation: Simulation, sizes: Sequence[Size], weights: Sequence[float], together: int) -> float:
    """Return the seconds in which a replica answers as many requests as run together, all of which come at once."""
    drawn = [Arrival(0.0, each.size) for each in poisson(1.0, sizes, weights, together)]
    return max(visit.done for visit in simulation.run(drawn, 1).visits)


def enough_requests(rate: float, answer: float) -> int:
    """Return how many requests come in `SPAN` times the seconds of an answer: of fewer, most meet an empty house."""
    return math.ceil(min(rate * answer * SPAN, 1e18))


def fewest(simulation: Simulation, arrivals: Sequence[Arrival], wait: float) -> int:
    """Return the fewest replicas with which nine in ten requests wait at most `wait` seconds, and none is refused.

    Raises:
        InputError: Not even `MOST_REPLICAS` are enough.
    """

    def enough(replicas: int) -> bool:
        run = simulation.run(arrivals, replicas)
        longest = quantile(run.seconds("wait"), 0.9)
        return not run.refused and longest is not None and longest <= wait

    few, many = 0, 1
    while not enough(many):
        few, many = many, 2 * many
        if many > MOST_REPLICAS:
            raise InputError(f"not even {MOST_REPLICAS:,} replicas keep nine in ten requests from waiting {wait:g} s")
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many
