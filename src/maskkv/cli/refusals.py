"""What a user reads when something cannot be done: one line on standard error."""

from __future__ import annotations

import sys
from typing import Any


def report(message: str) -> None:
    """Print an error as its one line."""
    print(f"maskkv: error: {' '.join(message.split())}", file=sys.stderr, flush=True)


def out_of_memory(error: Any) -> str | None:
    """Say what helps if an error means that memory ran out; None for any other."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate" in str(error):
        return "out of memory: a shorter prompt, --dtype bfloat16 or another --device needs less"
    return None
