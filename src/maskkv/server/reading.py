"""Work beside the event loop that needs no model: rendering and encoding prompts, writing examples and pages."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from maskkv.server.errors import ApiError

_THREADS = 2

Result = TypeVar("Result")


class Readers:
    """Run work on a few threads; what finds none free waits, and beyond `most_waiting` it is refused.

    The threads are daemons: unlike those of `asyncio.to_thread` they do not keep the process from ending.
    """

    def __init__(self, most_waiting: int) -> None:
        self._most_waiting = most_waiting
        self._waiting = 0
        self._free = asyncio.Semaphore(_THREADS)

    async def do(self, work: Callable[[], Result]) -> Result:
        """Run the work and return its result; cancelling the wait does not stop the work.

        Raises:
            ApiError: Too many wait already.
        """
        if self._waiting >= self._most_waiting and self._free.locked():
            message = f"{self._most_waiting} prompts are waiting to be read already; try again later"
            raise ApiError(429, message, "queue_full", headers={"retry-after": "1"})
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        loop = asyncio.get_running_loop()
        done: Future[Result] = Future()
        done.set_running_or_notify_cancel()  # It runs to its end, and its thread is taken until then.

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)
            finally:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(self._free.release)

        threading.Thread(target=run, name="reader", daemon=True).start()
        return await asyncio.wrap_future(done)
