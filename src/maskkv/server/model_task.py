"""Other work with the model than answering, done by its thread between two steps."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from maskkv.errors import InputError
from maskkv.plan import Need
from maskkv.server import logs
from maskkv.server.errors import model_failed

Result = TypeVar("Result")


@dataclass(frozen=True)
class ModelTask(Generic[Result]):
    """Hold work with the model, and what comes of it."""

    work: Callable[[], Result]
    need: Need
    done: Future[Result]

    def run(self) -> None:
        """Do the work."""
        try:
            self.done.set_result(self.work())
        except InputError as error:
            self.done.set_exception(error)
        except Exception as error:
            logs.say("task failed", logging.ERROR, **logs.failure(type(error), error.__traceback__))
            self.done.set_exception(model_failed())
