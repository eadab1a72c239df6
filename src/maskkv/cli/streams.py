"""The program's three standard streams, which a shell may have closed, and a disk may have no room for."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

from maskkv.errors import InputError


def prepare() -> None:
    """Open the streams that the program was started without, and let none of them fail over a character.

    A closed stream's number would go to the next file that is opened, and what a library prints into that file. So it
    is taken: reading and writing fail as they do on a closed stream, but what goes to standard error is lost.
    """
    sys.stdin = sys.stdin or _opened(os.O_WRONLY, "r")
    sys.stdout = sys.stdout or _opened(os.O_RDONLY, "w")
    sys.stderr = sys.stderr or _opened(os.O_WRONLY, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _opened(flags: int, mode: str) -> TextIO:
    return cast("TextIO", os.fdopen(os.open(os.devnull, flags), mode, encoding="utf-8"))


@contextmanager
def written() -> Generator[None, None, None]:
    """Turn a failure to write to standard output into an InputError; a reader that left early is none.

    What could not be written is dropped, so that it is not tried again when the program ends.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop(sys.stdout)
        raise InputError(f"cannot write to standard output: {reason(error)}") from None


def reason(error: OSError) -> str:
    """Say why a stream cannot be read or written."""
    return "it is closed" if error.errno == errno.EBADF else error.strerror or str(error)


@contextmanager
def told() -> Generator[None, None, None]:
    """Let a failure to write to standard error pass: there is nobody to tell of it."""
    try:
        yield
    except OSError:
        _drop(sys.stderr)


def _drop(stream: TextIO) -> None:
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
