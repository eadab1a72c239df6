"""The thread that owns the model: requests wait in a queue, run together, and leave when they are done."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any

import torch

from maskkv.api import LanguageModel
from maskkv.decoding.engine import Engine, Step
from maskkv.decoding.sequence import RunningSequence
from maskkv.errors import InputError
from maskkv.memory import available
from maskkv.plan import Need, Shape, Workload
from maskkv.server import logs
from maskkv.server.errors import ApiError, invalid, model_failed
from maskkv.server.jobs import Job, Place, Progress
from maskkv.server.metrics import Metrics
from maskkv.server.model_task import ModelTask, Piece
from maskkv.server.translate import workload

_LONGEST_RETRY_S = 60
_PART = 4  # Tasks take a quarter of the queue at most.


class Runner:
    """Step jobs together, as many as `max_batch` and `memory` allow; the others wait, first come first run.

    A job joins between two steps, with the prompt refresh that it begins with, and leaves when it is finished or
    cancelled. What one job generates does not depend on the others. `memory` None takes nine tenths of what is free; on
    a GPU evicted pairs that wait may take nine tenths of the host's free memory.
    """

    def __init__(
        self, llm: LanguageModel, metrics: Metrics, *, max_queue: int, max_batch: int, memory: int | None = None
    ) -> None:
        # One prompt is read per step, so running answers wait for one newcomer at a time.
        self._engine = Engine(llm.model, llm.profile, most_prompts=1)
        self._llm = llm
        self._metrics = metrics
        self._max_queue = max_queue
        self._max_batch = max_batch
        self._memory = available(llm.model.device) if memory is None else memory
        self._host_memory = available(torch.device("cpu"))
        self._waiting: deque[Place] = deque()
        self._running: dict[int, Place] = {}
        self._tasks: deque[ModelTask[Any]] = deque()
        self._begun: list[ModelTask[Any]] = []
        """The one that is being done, if there is one."""
        self._changed = threading.Condition()
        self._stopping = False
        self._mean_s = 1.0
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def end(self) -> None:
        """End all jobs after the present step, and accept no more."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def stop(self) -> None:
        """End all jobs, and wait until the thread has ended."""
        self.end()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Tell whether jobs are being run."""
        return self._thread.is_alive() and self._engine.model.ranks.alive

    @property
    def idle(self) -> bool:
        """Tell whether nothing runs and nothing waits."""
        return not (self._waiting or self._running or self._tasks or self._begun)

    def check_room(self) -> None:
        """Refuse, before its prompt is read, a request that `submit` would refuse whatever it asks for.

        Raises:
            ApiError: The queue is full, or the server is about to stop.
        """
        with self._changed:
            self._check_room()

    def submit(self, job: Job) -> None:
        """Put a job into the queue.

        Raises:
            ApiError: The queue is full, the job will never fit into memory, or the server is about to stop.
        """
        needed = self._need(workload(job.request, self._llm.kv_dtype))
        with self._changed:
            self._check_room()
            self._waiting.append(Place(job, needed, time.monotonic()))
            self._metrics.waiting.set(len(self._waiting))
            self._changed.notify()

    def lend(self, work: Generator[Piece, None, object], *needed: Workload) -> ModelTask[Piece]:
        """Do other work with the model, piece by piece between two steps, once there is memory for it.

        What it `needed` is one workload after the other. The caller reads the pieces, in an event loop.

        Raises:
            ApiError: As for `submit`.
        """
        task = ModelTask(work, Need.largest([self._need(each) for each in needed]))
        with self._changed:
            self._check_room()
            self._check_queue(len(self._tasks), max(1, self._max_queue // _PART))
            self._tasks.append(task)
            self._changed.notify()
        return task

    def _need(self, work: Workload) -> Need:
        model = self._engine.model
        need = Shape.of(model).need(work, self._max_batch).on(model.device)
        for needed, there, what, less in (
            (need.alone, self._memory, "beside the weights", "a shorter prompt or response or a smaller budget"),
            (need.host, self._host_memory, "of host memory", "a shorter prompt, or evicted: drop,"),
        ):
            if needed > there:
                raise invalid(
                    f"this request needs about {_mebibytes(needed)} {what}, and the server has {_mebibytes(there)}: "
                    f"{less} needs less",
                    code="memory_exceeded",
                )
        return need

    def _check_room(self) -> None:
        if self._stopping:
            raise _shutting_down()
        self._unqueue_cancelled()
        self._check_queue(len(self._waiting) + len(self._tasks), self._max_queue)

    def _check_queue(self, waiting: int, most: int) -> None:
        if waiting >= most:
            headers = {"retry-after": str(self._retry_after())}
            raise ApiError(429, f"{most} requests are waiting already; try again later", "queue_full", headers=headers)

    def _retry_after(self) -> int:
        """Estimate in how many seconds the queue has moved on by a batch."""
        ahead = (len(self._waiting) + len(self._running)) / self._max_batch
        return min(_LONGEST_RETRY_S, max(1, math.ceil(self._mean_s * ahead)))

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._drop_cancelled()
                self._admit()
                self._run_task()
                if self._running:
                    self._step()
        finally:
            self._end_all()

    def _end_all(self) -> None:
        """Answer all jobs and tasks that are left with `shutting_down`."""
        with self._changed:
            self._stopping = True
            for place in (*self._waiting, *self._running.values()):
                place.job.post(_shutting_down())
            self._waiting.clear()
            for task in (*self._tasks, *self._begun):
                task.post(_shutting_down())
            self._tasks.clear()
            self._begun.clear()
        for number in list(self._running):
            self._leave(number, "cancelled")
        self._metrics.waiting.set(0)

    def _wait_for_work(self) -> bool:
        """Wait for something to do; return False once the thread is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or not self.idle)
            return not self._stopping

    def _drop_cancelled(self) -> None:
        for number in [number for number, place in self._running.items() if place.job.cancelled]:
            self._leave(number, "cancelled")

    def _admit(self) -> None:
        with self._changed:
            self._unqueue_cancelled()
            while self._waiting and len(self._running) < self._max_batch and self._fits(self._waiting[0].need):
                self._join(self._waiting.popleft())
            self._metrics.waiting.set(len(self._waiting))
        self._metrics.running.set(len(self._running))

    def _run_task(self) -> None:
        with self._changed:
            if self._tasks and not self._begun and self._fits(self._tasks[0].need):
                self._begun.append(self._tasks.popleft())
        if self._begun and not self._begun[0].advance():
            self._begun.clear()

    def _unqueue_cancelled(self) -> None:
        for task in [task for task in self._tasks if task.cancelled]:
            self._tasks.remove(task)
        for place in [place for place in self._waiting if place.job.cancelled]:
            self._waiting.remove(place)
            self._account(place, "cancelled")

    def _fits(self, new: Need) -> bool:
        needs = [new, *(place.need for place in self._running.values()), *(task.need for task in self._begun)]
        on_device = sum(each.held for each in needs) + max(each.reading for each in needs)
        return on_device <= self._memory and sum(each.host for each in needs) <= self._host_memory

    def _join(self, place: Place) -> None:
        request = place.job.request
        try:
            number = self._llm.add_to(self._engine, request.prompt, request.generation, request.policy, request.budget)
        except InputError as error:
            place.job.post(invalid(str(error)))
            self._account(place, "failed")
        except Exception as error:
            self._tell(place, error)
        else:
            self._running[number] = place

    def _step(self) -> None:
        try:
            steps = self._engine.step(self._fail)
        except Exception as error:
            # The step failed as a whole: none of them can go on.
            self._fail_all(list(self._running), error)
            return
        for step in steps:
            try:
                self._report(step)
            except Exception as error:
                self._fail_all([step.sequence], error)
        self._metrics.passes.inc()
        self._metrics.steps.inc(len(steps))
        self._measure()

    def _fail_all(self, numbers: Sequence[int], error: Exception) -> None:
        for number in numbers:
            if number in self._running:
                self._fail(number, error)
                self._engine.remove(number)
        self._measure()

    def _fail(self, number: int, error: Exception) -> None:
        """Answer a job whose step failed; the engine is about to remove its sequence."""
        place = self._running.pop(number, None)
        if place is not None:
            self._tell(place, error, self._engine[number])

    def _tell(self, place: Place, error: Exception, sequence: RunningSequence | None = None) -> None:
        logs.say("job failed", logging.ERROR, id=place.job.id, **logs.failure(type(error), error.__traceback__))
        place.job.post(model_failed())
        self._account(place, "failed", sequence)

    def _report(self, step: Step) -> None:
        place = self._running[step.sequence]
        sequence = self._engine[step.sequence]
        place.job.post(Progress.of(step, sequence, self._engine.model.dtype.itemsize))
        if step.finished:
            self._mean_s += (time.monotonic() - place.since - self._mean_s) / 8
            self._leave(step.sequence, "finished")

    def _leave(self, number: int, outcome: str) -> None:
        sequence = self._engine[number]
        self._engine.remove(number)
        self._account(self._running.pop(number), outcome, sequence)
        self._measure()

    def _measure(self) -> None:
        self._metrics.running.set(len(self._running))
        running = [self._engine[number] for number in self._running]
        self._metrics.cache_bytes.set(sum(each.cache_bytes for each in running))
        self._metrics.host_bytes.set(sum(each.host_bytes for each in running))

    def _account(self, place: Place, outcome: str, sequence: RunningSequence | None = None) -> None:
        """Count and log a job that leaves; one without a sequence never ran."""
        self._metrics.ended.labels(outcome).inc()
        steps = 0 if sequence is None else sequence.index
        self._metrics.recalled_pairs.inc(0 if sequence is None else sequence.recalled)
        seconds = round(time.monotonic() - place.since, 4)
        logs.say(
            "job", id=place.job.id, outcome=outcome, steps=steps, seconds=seconds, untrained=place.job.request.untrained
        )


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"


def _shutting_down() -> ApiError:
    return ApiError(503, "the server is shutting down", "shutting_down")
