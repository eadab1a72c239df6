"""Have chat templates rendered by another process, which is ended when one takes too long."""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from maskkv.errors import InputError, MaskKVError

_SECONDS = 20.0
"""By the clock; where the system can, the renderer itself is held to less computing (`maskkv.text.renderer`)."""

_START_SECONDS = 120.0
"""Its imports take a second on an idle machine."""

_LENGTH, _GROWTH = 1_000_000, 4
"""A template may write so many characters, and so many more for each that it is given."""

_ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TZ", "USERPROFILE")
"""What Python and its libraries start with; tokens and keys that the environment holds stay here."""

_CANNOT = "the checkpoint's chat template cannot render these messages"

Message = Mapping[str, str]


class OutOfTimeError(InputError):
    """Report a template that was ended."""


class Renderer:
    """A process that renders for all threads, one after the other; started when it is needed, and again if it ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def render(self, template: str, messages: Sequence[Message], **options: object) -> str:
        """Return what transformers makes of the messages.

        Raises:
            InputError: the template fails, or takes more time, memory or text than one may.
        """
        given = sum(len(value) for message in messages for value in message.values())
        request = {
            "messages": [dict(message) for message in messages],
            "options": {"chat_template": template, **options},
            "given": given,
            "most": _LENGTH + _GROWTH * given,
        }
        with self._lock:
            answer = self._ask(json.dumps(request))
        if not answer:
            raise OutOfTimeError(f"{_CANNOT}: it takes more time than a template may")
        read = json.loads(answer)
        if "error" in read:
            raise InputError(f"{_CANNOT}: {read['error']}")
        return str(read["text"])

    def close(self) -> None:
        """End the process; the next rendering starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(OSError):  # What it did not read any more cannot be flushed.
                    pipe.close()  # type: ignore[union-attr]
            self._process = None

    def _ask(self, request: str) -> str:
        """Return the answer to one line, or nothing if the process ended over it."""
        process = self._started()
        assert process.stdin is not None
        answer = ""
        try:
            with _ended_after(_SECONDS, process):
                process.stdin.write(request + "\n")
                process.stdin.flush()
                answer = _line(process)
        except BrokenPipeError:
            pass
        finally:
            # After Ctrl-C too: the next request must not be given this one's answer.
            if not answer:
                self.close()
        return answer

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            # -P, so that no module of the current folder is taken for one of Python's.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "maskkv.text.renderer"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                encoding="ascii",
            )
            with _ended_after(_START_SECONDS, self._process):
                ready = _line(self._process)
            if not ready:
                self.close()
                raise MaskKVError("the process that renders chat templates does not start; a plain prompt needs none")
        return self._process


@functools.cache
def renderer() -> Renderer:
    """Return this program's renderer: one for all models, since it takes a second to start and tens of MB."""
    shared = Renderer()
    atexit.register(shared.close)
    return shared


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@contextmanager
def _ended_after(seconds: float, process: subprocess.Popen[str]) -> Iterator[None]:
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_HUB_OFFLINE": "1"}
