"""Work with the model that is no answer, done by the model's thread a piece at a time, between two steps of others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Generator
from typing import Generic, TypeVar

from maskkv.errors import InputError
from maskkv.plan import Need
from maskkv.server import logs
from maskkv.server.errors import ApiError, invalid, model_failed
from maskkv.server.jobs import Deadline

Piece = TypeVar("Piece")


class ModelTask(Generic[Piece]):
    """Carry work to the model's thread and its pieces back; create it in the event loop that reads them.

    Between two pieces others use the model; what the work `need`s of memory it holds until its end.
    """

    def __init__(self, work: Generator[Piece, None, object], need: Need) -> None:
        self.need = need
        self.cancelled = False
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[Piece | ApiError | None] = asyncio.Queue()

    def advance(self) -> bool:
        """Make the next piece, and tell whether there may be more.

        An InputError refuses the request; any other error is logged and becomes status 500.
        """
        if self.cancelled:
            self._work.close()
            return False
        try:
            self.post(next(self._work))
        except StopIteration:
            self.post(None)
        except InputError as error:
            self.post(invalid(str(error)))
        except Exception as error:
            logs.say("task failed", logging.ERROR, **logs.failure(type(error), error.__traceback__))
            self.post(model_failed())
        else:
            return True
        return False

    def post(self, piece: Piece | ApiError | None) -> None:
        """Report from the model's thread; None is the end."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

    def cancel(self) -> None:
        """Have the model's thread drop this task before its next piece."""
        self.cancelled = True

    async def pieces(self, deadline: Deadline, what: str) -> AsyncGenerator[Piece, None]:
        """Yield every piece; `what` names the work where it takes too long.

        Raises:
            ApiError: The work failed, time is up, or the server is ending.
        """
        while True:
            async with deadline.kept(what):
                piece = await self._pieces.get()
            if piece is None:
                return
            if isinstance(piece, ApiError):
                raise piece
            yield piece
