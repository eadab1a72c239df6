"""A process that holds one part of a model and does as the leading one does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from maskkv.decoding import reference
from maskkv.decoding.engine import Engine
from maskkv.errors import DeviceLostError, MaskKVError
from maskkv.models.part import Part
from maskkv.models.transformer import Transformer
from maskkv.ops.ranks import Together
from maskkv.parallel.group import Group

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
        self._process.start()
        theirs.close()  # or the end of the child would not be noticed here

    def wait(self) -> None:
        """Wait until the part is made, and raise what went wrong."""
        try:
            error = self._pipe.recv()
        except EOFError:
            raise DeviceLostError(lost([self])) from None
        if error is not None:
            raise error

    def tell(self, command: object) -> None:
        """Send a command; OSError if the process has ended."""
        self._pipe.send(command)

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


def lost(followers: Sequence[Follower]) -> str:
    """Say which parts of the model are lost with their processes."""
    gone = [f"{each.part.rank + 1} of {each.part.count}" for each in followers if each.ended]
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
