"""Logs: one JSON object a line on standard error, without a word of any prompt or answer."""

from __future__ import annotations

import json
import logging
import time
import traceback
from types import TracebackType

LOGGER = logging.getLogger("maskkv.server")


class JsonFormatter(logging.Formatter):
    """Write a record as one JSON object; `fields` given to `say` become its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _event(record),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line |= failure(record.exc_info[0], record.exc_info[2])
        return json.dumps(line)


def _event(record: logging.LogRecord) -> str:
    """Say of other libraries only what was written in their code: words that they fill in may quote a request."""
    if record.name == "py.warnings":
        return ":".join(record.getMessage().split(":")[:3])  # file, line and kind; then comes what was said
    if isinstance(record.args, tuple) and all(isinstance(each, int | float) for each in record.args):
        return record.getMessage().partition("\n")[0]
    return str(record.msg).partition("\n")[0]


def failure(kind: type[BaseException], trace: TracebackType | None) -> dict[str, object]:
    """Describe an exception by its type and place; its message could quote a prompt."""
    frames = traceback.extract_tb(trace)
    return {"exception": kind.__name__, "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]}


def say(event: str, level: int = logging.INFO, **fields: object) -> None:
    """Log an event with fields."""
    LOGGER.log(level, event, extra={"fields": fields})


def configure() -> None:
    """Send the logs of this process to standard error as JSON, those of the libraries that are loaded included."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in list(logging.root.manager.loggerDict):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # The access log has these lines already.
    logging.getLogger("uvicorn.access").disabled = True


def own_to_stderr() -> None:
    """Send the lines of this module alone to standard error: other libraries of the process log as they were set up."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    LOGGER.handlers = [handler]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
