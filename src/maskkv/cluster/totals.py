"""What all processes of a cluster tell about every second: their metrics, and whether requests are still accepted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from maskkv.cluster.sums import Families, Sums
from maskkv.server import logs

BEAT_S = 1.0
"""How often a process tells."""
PATIENCE_S = 30.0
"""How long a process waits for another, as while one that died is being replaced."""


class Totals:
    """Add up the metrics of all processes, and tell the fronts when to accept no more."""

    def __init__(self) -> None:
        self._sums = Sums()
        self._stage = "open"
        self._fronts: dict[str, tuple[float, int]] = {}

    async def tell(self, name: str, families: Families) -> None:
        """Take the metrics of a replica."""
        self._sums.tell(name, families, is_replica=True)

    async def leave(self, name: str) -> None:
        """Count a replica as gone."""
        self._sums.leave(name)

    async def tell_front(self, name: str, families: Families, stage: str, running: int) -> str:
        """Take the metrics of a front and the stage that it is in, and return the stage that all are to be in."""
        self._sums.tell(name, families, is_replica=False)
        # One that has not heard yet may be accepting a request.
        self._fronts[name] = (time.monotonic(), running if stage == self._stage else running + 1)
        return self._stage

    async def text(self) -> bytes:
        """Return everything for a scraper."""
        return self._sums.text()

    async def enter(self, stage: str) -> None:
        """Have all fronts be `closed`, where what runs may finish, or `ended`, where nothing does."""
        self._stage = stage
        self._fronts = {name: (at, running + 1) for name, (at, running) in self._fronts.items()}

    async def running(self) -> int:
        """Return how many requests the fronts are answering, and more while one has not entered the stage."""
        now = time.monotonic()
        return sum(running for at, running in self._fronts.values() if now - at < 5 * BEAT_S)


async def every_beat(tell: Callable[[], Awaitable[None]]) -> None:
    """Do something about every second, whether or not it works."""
    while True:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await tell()
        except Exception as error:
            logs.say("metrics not told", logging.WARNING, **logs.failure(type(error), error.__traceback__))
        await asyncio.sleep(BEAT_S)
