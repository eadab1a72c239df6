"""What a user reads when something cannot be done: one line on standard error."""

from __future__ import annotations

import traceback
from typing import Any

from maskkv.cli import streams, terminal

LONGEST = 2000
"""Characters of an error's line."""


def report(message: str) -> None:
    """Print an error as its one line, without the middle of what would fill the screen."""
    line = f"maskkv: error: {' '.join(message.split())}"
    terminal.note(line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}")


def trace(error: BaseException) -> None:
    """Print where an error came from."""
    terminal.note("".join(traceback.format_exception(error)).rstrip())


def not_ours(error: Any) -> str | None:
    """Say what an error of the machine's means: no memory, no room, a file that is not there; None for any other."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate" in str(error):
        return "out of memory: a shorter prompt, --dtype bfloat16 or another --device needs less"
    if isinstance(error, OSError) and error.strerror:
        what = "read or write" if error.filename is None else f"use {error.filename}"
        return f"cannot {what}: {streams.reason(error)}"
    return None
