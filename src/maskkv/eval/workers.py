"""Units of work on several processes, each with its own copy of the model."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from maskkv import api
from maskkv.errors import MaskKVError
from maskkv.eval.answering import Answered, Unit, answer
from maskkv.generation import Generation


@dataclass(frozen=True)
class Source:
    """Say which model is measured, and how it is loaded (the arguments of `maskkv.load`)."""

    model: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    rope_scale: float | None = None
    profile: str | None = None
    kv_dtype: str = "auto"
    quantize: str | None = None
    compile: bool = False

    @property
    def name(self) -> str:
        """Return what records call the model: a hub id as it is, a folder without what it lies in."""
        if self.model is None:
            return "mini"
        folder = Path(self.model).expanduser()
        return folder.resolve().name if folder.is_dir() else self.model

    def load(self) -> api.LanguageModel:
        """Load the model."""
        return api.load(
            self.model,
            device=self.device,
            dtype=self.dtype,
            rope_scale=self.rope_scale,
            profile=self.profile,
            kv_dtype=self.kv_dtype,
            quantize=self.quantize,
            compile=self.compile,
        )


def side_by_side(
    units: Sequence[Unit], source: Source, schedule: Generation, isolated: bool, jobs: int
) -> Iterator[list[Answered]]:
    """Yield the answers of each unit as it is done; every process gets its next unit when it has none.

    An error in a process ends them all and is raised here. A process whose parent is gone ends after its unit.
    """
    waiting = list(units)[::-1]
    with ExitStack() as stack:
        count = min(jobs, len(units))
        threads = max(1, torch.get_num_threads() // count)
        idle = [stack.enter_context(_worker(source, schedule, isolated, threads)) for _ in range(count)]
        busy: list[Connection] = []
        while waiting or busy:
            while waiting and idle:
                busy.append(idle.pop())
                busy[-1].send(waiting.pop())
            for ready in wait(busy):
                assert isinstance(ready, Connection)
                busy.remove(ready)
                idle.append(ready)
                yield _received(ready)


def _received(worker: Connection) -> list[Answered]:
    try:
        answered, error = worker.recv()
    except EOFError:
        raise MaskKVError(
            "a process that measured ended without a word (out of memory?): fewer --jobs need less"
        ) from None
    if error is not None:
        raise error
    return answered


@contextmanager
def _worker(source: Source, schedule: Generation, isolated: bool, threads: int) -> Iterator[Connection]:
    # Forked children would inherit torch's thread pool in an undefined state.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process: SpawnProcess = context.Process(target=_work, args=(theirs, source, schedule, isolated, threads))
    process.start()
    theirs.close()  # or the end of the child would not be noticed here
    try:
        yield ours
    finally:
        ours.close()
        process.terminate()
        process.join()


def _work(parent: Connection, source: Source, schedule: Generation, isolated: bool, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its children
    torch.set_num_threads(threads)
    try:
        llm = source.load()
        while True:
            parent.send((answer(llm, parent.recv(), schedule, isolated), None))
    except (EOFError, BrokenPipeError):
        return  # the parent has ended
    except Exception as error:
        error.add_note(traceback.format_exc())
        parent.send((None, error))
