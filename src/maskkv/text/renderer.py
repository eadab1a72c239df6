"""A process of its own that renders chat templates: a template is a stranger's program, so it gets little to use up.

`python -m maskkv.text.renderer` says a line when it is ready, then answers each line of JSON with one; it ends with
its input. The parent (`maskkv.text.rendering`) watches the clock; the system, where it can, limits computing time
and memory.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

resource: Any
try:
    import resource
except ImportError:  # Windows has none: there the parent's clock is the only limit.
    resource = None

SECONDS = 3
"""What a rendering may compute."""

_MEMORY = 512 * 2**20
_MEMORY_PER_CHARACTER = 128
"""A conversation is there several times over, also as JSON of up to twelve bytes a character."""

_LONGEST_REASON = 2000


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; this process ends with its parent.
    from transformers.utils.chat_template_utils import render_jinja_template

    _say("ready")
    for line in sys.stdin:
        _say(json.dumps(_answer(render_jinja_template, json.loads(line))))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _answer(render: Callable[..., Any], request: dict[str, Any]) -> dict[str, str]:
    given, most = request["given"], request["most"]
    try:
        with _limits(_MEMORY + _MEMORY_PER_CHARACTER * given):
            text = str(render([request["messages"]], **request["options"])[0][0])
    except MemoryError:
        return {"error": f"it takes more than {_MEMORY // 2**20} MiB of memory"}
    except Exception as error:  # A template may fail in any way it likes.
        return {"error": (str(error).splitlines() or [type(error).__name__])[0][:_LONGEST_REASON]}
    if len(text) > most:
        return {"error": f"it makes {len(text):,} characters of {given:,}; at most {most:,} are rendered"}
    return {"text": text}


@contextmanager
def _limits(memory: int) -> Iterator[None]:
    """Let this process take so much more memory, and `SECONDS` more of a processor: then the system ends it."""
    if resource is None:
        yield
        return
    limits = {resource.RLIMIT_CPU: int(time.process_time()) + 1 + SECONDS}
    used = Path("/proc/self/statm")
    if used.exists():
        limits[resource.RLIMIT_AS] = int(used.read_text().split()[0]) * resource.getpagesize() + memory
    before = {kind: resource.getrlimit(kind) for kind in limits}
    for kind, limit in limits.items():
        # Only the lower of the two limits, which may be lifted again.
        allowed = [each for each in before[kind] if each != resource.RLIM_INFINITY]
        resource.setrlimit(kind, (min([limit, *allowed]), before[kind][1]))
    try:
        yield
    finally:
        for kind, both in before.items():
            resource.setrlimit(kind, both)


if __name__ == "__main__":
    main()
