"""A request on its way through the model's thread, and what each step reports back to the event loop."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from maskkv.decoding.engine import Step
from maskkv.decoding.sequence import RunningSequence
from maskkv.plan import Need
from maskkv.server.errors import ApiError
from maskkv.server.translate import EngineRequest


@dataclass(frozen=True)
class Kept:
    """Say what the latest vote kept: prompt pairs in all, per KV head and layer, and how many heads hold each one."""

    pairs: int
    pairs_per_head: float
    layers: tuple[float, ...]
    holders: tuple[int, ...]

    @classmethod
    def of(cls, sequence: RunningSequence) -> Kept | None:
        """Read a sequence after a prompt refresh; None without a cache."""
        holders = sequence.holders()
        if holders is None:
            return None
        heads = sequence.config.num_kv_heads
        layers = holders.sum(1).tolist()
        return cls(
            pairs=sum(layers),
            pairs_per_head=sum(layers) / (heads * len(layers)),
            layers=tuple(pairs / heads for pairs in layers),
            holders=tuple(holders.sum(0).tolist()),
        )


@dataclass(frozen=True)
class Progress:
    """Report one step of one request; `kept` is set where the step voted, `recalled` counts all steps so far."""

    step: Step
    cache_bytes: int
    full_cache_bytes: int
    host_bytes: int
    recalled: int
    kept: Kept | None

    @classmethod
    def of(cls, step: Step, sequence: RunningSequence, itemsize: int) -> Progress:
        """Read a sequence after a step of a model whose numbers have `itemsize` bytes."""
        voted = step.refresh is not None and step.refresh.value == "prompt"
        return cls(
            step=step,
            cache_bytes=sequence.cache_bytes,
            full_cache_bytes=sequence.full_cache_bytes(itemsize),
            host_bytes=sequence.host_bytes,
            recalled=sequence.recalled,
            kept=Kept.of(sequence) if voted else None,
        )


@dataclass(frozen=True)
class Place:
    """Hold a job in the queue or among the running; `since` is when it came, by `time.monotonic`."""

    job: Job
    need: Need
    since: float


@dataclass(frozen=True)
class Deadline:
    """Hold the time by which a request must be answered, on the event loop's clock."""

    at: float
    seconds: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Start the clock."""
        return cls(asyncio.get_running_loop().time() + seconds, seconds)

    @asynccontextmanager
    async def kept(self, what: str) -> AsyncGenerator[None, None]:
        """Cancel what runs inside when time is up; `what` names it in the error.

        Raises:
            ApiError: Time is up.
        """
        try:
            async with asyncio.timeout_at(self.at):
                yield
        except TimeoutError:
            raise ApiError(504, f"{what} took longer than {self.seconds:g} s", "timeout") from None


class Job:
    """Carry a request to the model's thread and its progress back; create it in the event loop that reads it."""

    def __init__(self, request: EngineRequest, deadline: Deadline) -> None:
        self.request = request
        self.id = uuid.uuid4().hex
        self.cancelled = False
        self._loop = asyncio.get_running_loop()
        self.deadline = deadline
        self._events: asyncio.Queue[Progress | ApiError] = asyncio.Queue()

    def post(self, event: Progress | ApiError) -> None:
        """Report from the model's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    def cancel(self) -> None:
        """Have the model's thread drop this job before its next step."""
        self.cancelled = True

    async def progress(self) -> AsyncGenerator[Progress, None]:
        """Yield every step.

        Raises:
            ApiError: The model failed, or time is up.
        """
        while True:
            async with self.deadline.kept("the answer"):
                event = await self._events.get()
            if isinstance(event, ApiError):
                raise event
            yield event
            if event.step.finished:
                return
