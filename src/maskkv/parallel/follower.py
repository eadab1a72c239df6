"""A process that holds one part of a model and does as the leading one does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import torch

from maskkv.decoding import reference
from maskkv.decoding.engine import Engine
from maskkv.errors import DeviceLostError, InputError, MaskKVError
from maskkv.models.part import Part
from maskkv.models.transformer import Transformer
from maskkv.ops.ranks import Together
from maskkv.parallel.group import Group

_UNGUARDED = 97
"""What a process exits with that runs the script which it was started from."""
_GUARD = 'a model in parts has processes that import this script: put what it does under `if __name__ == "__main__":`'

Make = Callable[[Part, torch.device], Transformer]
"""Make a part of a model on a device; it is called in a process of its own, so it must be importable."""


class Follower:
    """Start a process that makes its part of the model and then does as it is told."""

    def __init__(self, make: Make, part: Part, device: torch.device, threads: int, store: Path) -> None:
        # Forked children would inherit torch's thread pool in an undefined state.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.part = part
        arguments = (theirs, make, part, device, threads, store)
        self._process: SpawnProcess = context.Process(target=_follow, args=arguments, daemon=True)
        with _importable_script(), _deaf():
            self._process.start()
        theirs.close()  # or the end of the child would not be noticed here

    def wait(self) -> None:
        """Wait until the part is made, and raise what went wrong."""
        try:
            error = self._pipe.recv()
        except EOFError:
            self._process.join()
            if self._process.exitcode == _UNGUARDED:
                raise InputError(_GUARD) from None
            raise DeviceLostError(lost([self])) from None
        if error is not None:
            raise error

    def tell(self, command: memoryview | bytes) -> None:
        """Send a command, `packed`; OSError if the process has ended."""
        self._pipe.send_bytes(command)

    @property
    def last_words(self) -> str | None:
        """Return why the process ended, if it said so."""
        with suppress(EOFError, OSError):
            if self._pipe.poll():
                return str(self._pipe.recv())
        return None

    @property
    def ended(self) -> bool:
        """Tell whether the process has ended, or ends within a second."""
        self._process.join(1)
        return self._process.exitcode is not None

    def end(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.terminate()
        self._process.join()


def packed(command: object) -> memoryview | bytes:
    """Return a command as it is sent.

    Raises:
        InputError: What it is about cannot be sent.
    """
    try:
        message: memoryview | bytes = ForkingPickler.dumps(command)
    except Exception as error:  # of many kinds, by what the policy is made of
        raise InputError(
            "the processes that hold the other parts of a model import what a policy is made of from its module: "
            f"{error}"
        ) from None
    return message


def starts_unguarded() -> None:
    """End this process if it is about to become one part of a model, and runs the script that it was started from."""
    # What multiprocessing itself tells this from; by itself it prints 40 lines.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(_UNGUARDED)


@contextmanager
def _importable_script() -> Iterator[None]:
    """Have new processes not look for the file of a script that comes from a pipe."""
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if file is None or getattr(main, "__spec__", None) is not None or Path(file).is_file():
        yield
        return
    del main.__file__
    try:
        yield
    finally:
        main.__file__ = file


@contextmanager
def _deaf() -> Iterator[None]:
    """Have new processes hear nothing of Ctrl-C, not even while they import; here it comes afterwards."""
    resource_tracker.ensure_running()  # which would unblock it in its own start
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def lost(followers: Sequence[Follower]) -> str:
    """Say which parts of the model are lost with their processes."""
    gone = [f"{each.part.rank + 1} of {each.part.count}" for each in followers if each.ended]
    for each in followers:
        if (said := each.last_words) is not None:
            return f"{said}: load the model again"
    which = f"part {', '.join(gone)} of the model" if gone else "a part of the model"
    return f"the process that held {which} ended or does not answer (out of memory?): load the model again"


class Following(Group):
    """Follow: all that this process does the leading one does as well."""

    def mirrored(self, kind: str, *how: object) -> Together:
        """Return a context that does nothing: nobody follows this process."""
        return _as_told

    def end(self) -> None:
        """End this process, which the others then notice."""
        traceback.print_exc()
        os._exit(1)

    @contextmanager
    def _meeting(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError:
            os._exit(1)  # the leading process says what happened


@contextmanager
def _as_told(*_: object) -> Iterator[None]:
    yield


def _follow(leader: Connection, make: Make, part: Part, device: torch.device, threads: int, store: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the leading process decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        model = make(part, device)
    except MaskKVError as error:
        leader.send(error)
        return
    except Exception as error:
        leader.send(MaskKVError(f"part {part.rank + 1} of {part.count} could not be made: {error}"))
        return
    leader.send(None)
    try:
        leader.recv()  # all parts are made
        model.share(Following(part, device, store))
        _obey(leader, model)
    except (EOFError, ConnectionError):
        return  # the leading process has ended
    except Exception as error:
        with suppress(OSError):
            leader.send(f"the process that held part {part.rank + 1} of {part.count} of the model ended ({error})")


def _obey(leader: Connection, model: Transformer) -> None:
    """Do as the leading process does, until it ends."""
    mirrors: dict[int, Any] = {}
    while True:
        match leader.recv():
            case ("make", key, "engine", (profile, most_prompts)):
                mirrors[key] = Engine(model, profile, most_prompts=most_prompts)
            case ("make", key, "model", ()):
                mirrors[key] = model
            case ("drop", key):
                del mirrors[key]
            case ("do", key, "add", what):
                mirrors[key].add(*what)
            case ("do", key, "remove", (number,)):
                mirrors[key].remove(number)
            case ("do", key, "step", (removes,)):
                # What fails here fails in the leading process as well, or has ended this one.
                with suppress(Exception):
                    mirrors[key].step((lambda *_: None) if removes else None)
            case ("do", key, "logits", (ids, rope_scale)):
                reference.logits(mirrors[key], ids, rope_scale)
            case ("do", key, "importance", (ids, rope_scale)):
                reference.importance(mirrors[key], ids, rope_scale)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a following process was started by the leading one"
    parent.join()
    os._exit(1)
