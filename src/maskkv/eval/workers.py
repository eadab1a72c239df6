"""Units of work on several processes, each with its own copy of the model."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import torch

from maskkv import api
from maskkv.errors import MaskKVError
from maskkv.eval.answering import Answered, Terms, Unit, answer


def side_by_side(units: Sequence[Unit], terms: Terms, jobs: int) -> Iterator[list[Answered]]:
    """Yield the answers of each unit as it is done; every process gets its next unit when it has none.

    An error in a process ends them all and is raised here. A process whose parent is gone ends after its unit.
    """
    waiting = list(units)[::-1]
    with ExitStack() as stack:
        count = min(jobs, len(units))
        threads = max(1, torch.get_num_threads() // count)
        idle = [stack.enter_context(_worker(terms, threads)) for _ in range(count)]
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
def _worker(terms: Terms, threads: int) -> Iterator[Connection]:
    # Forked children would inherit torch's thread pool in an undefined state.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process: SpawnProcess = context.Process(target=_work, args=(theirs, terms, threads))
    process.start()
    theirs.close()  # or the end of the child would not be noticed here
    try:
        yield ours
    finally:
        ours.close()
        process.terminate()
        process.join()


def _work(parent: Connection, terms: Terms, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its children
    torch.set_num_threads(threads)
    try:
        llm = api.load_model(terms.loading)
        while True:
            parent.send((answer(llm, parent.recv(), terms.schedule, terms.isolated), None))
    except (EOFError, BrokenPipeError):
        return  # the parent has ended
    except Exception as error:
        error.add_note(traceback.format_exc())
        parent.send((None, error))
