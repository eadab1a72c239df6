"""Work with the model that is no answer, run by the model's thread between two steps."""

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
    """Hold a call that uses the model, the memory that it needs, and the future of its result."""

    work: Callable[[], Result]
    need: Need
    done: Future[Result]

    def run(self) -> None:
        """Call it and settle the future; any error but an InputError is logged and becomes status 500."""
        try:
            self.done.set_result(self.work())
        except InputError as error:
            self.done.set_exception(error)
        except Exception as error:
            logs.say("task failed", logging.ERROR, **logs.failure(type(error), error.__traceback__))
            self.done.set_exception(model_failed())
