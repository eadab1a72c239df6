"""The thread that owns the model: requests wait in a queue, run together, and leave when they are done."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque

from maskkv.api import LanguageModel
from maskkv.engine import Engine, Step
from maskkv.errors import InputError
from maskkv.server import logs
from maskkv.server.errors import ApiError, invalid
from maskkv.server.jobs import Job, Kept, Progress
from maskkv.server.metrics import Metrics

_LONGEST_RETRY_S = 60


class Runner:
    """Step jobs together, as many as `max_batch`; the others wait, at most `max_queue` of them, first come first run.

    A job joins between two steps, with the prompt refresh that it begins with, and leaves when it is finished or
    cancelled. What one job generates does not depend on the others.
    """

    def __init__(self, llm: LanguageModel, metrics: Metrics, *, max_queue: int, max_batch: int) -> None:
        self._engine = Engine(llm.model, llm.profile)
        self._stored = (llm.rope_scale, llm.kv_dtype)
        self._itemsize = llm.model.dtype.itemsize
        self._metrics = metrics
        self._max_queue = max_queue
        self._max_batch = max_batch
        self._waiting: deque[tuple[Job, float]] = deque()
        self._running: dict[int, tuple[Job, float]] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._mean_s = 1.0
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Let go of all jobs and end the thread after its present step."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Tell whether jobs are being run."""
        return self._thread.is_alive()

    def submit(self, job: Job) -> None:
        """Put a job into the queue.

        Raises:
            ApiError: The queue is full, or the server is about to stop.
        """
        with self._changed:
            if self._stopping:
                raise ApiError(503, "the server is shutting down", "shutting_down")
            self._waiting = deque(entry for entry in self._waiting if not entry[0].cancelled)
            if len(self._waiting) >= self._max_queue:
                headers = {"retry-after": str(self._retry_after())}
                message = f"{self._max_queue} requests are waiting already; try again later"
                raise ApiError(429, message, "queue_full", headers=headers)
            self._waiting.append((job, time.monotonic()))
            self._metrics.waiting.set(len(self._waiting))
            self._changed.notify()

    def _retry_after(self) -> int:
        """Estimate in how many seconds the queue has moved on by a batch."""
        ahead = (len(self._waiting) + len(self._running)) / self._max_batch
        return min(_LONGEST_RETRY_S, max(1, math.ceil(self._mean_s * ahead)))

    def _run(self) -> None:
        while self._rest():
            self._let_go()
            self._let_in()
            if self._running:
                self._step()

    def _rest(self) -> bool:
        """Wait until there is something to do; tell whether to go on."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._waiting or self._running)
            return not self._stopping

    def _let_go(self) -> None:
        for number in [number for number, (job, _) in self._running.items() if job.cancelled]:
            self._leave(number, "cancelled")

    def _let_in(self) -> None:
        with self._changed:
            while self._waiting and len(self._running) < self._max_batch:
                job, since = self._waiting.popleft()
                if job.cancelled:
                    self._metrics.ended.labels("cancelled").inc()
                else:
                    self._join(job, since)
            self._metrics.waiting.set(len(self._waiting))
        self._metrics.running.set(len(self._running))

    def _join(self, job: Job, since: float) -> None:
        order = job.order
        try:
            number = self._engine.add(order.prompt, order.generation, order.policy, order.budget, *self._stored)
        except InputError as error:
            job.post(invalid(str(error)))
            self._metrics.ended.labels("failed").inc()
        else:
            self._running[number] = (job, since)

    def _step(self) -> None:
        try:
            steps = self._engine.step()
            for step in steps:
                self._report(step)
        except Exception as error:
            # Nobody knows in which state a failed step left its sequences: none of them goes on.
            logs.say("step failed", logging.ERROR, **logs.failure(type(error), error.__traceback__))
            for number, (job, _) in list(self._running.items()):
                job.post(ApiError(500, "the model failed on this request or on one beside it", "model_failed"))
                self._leave(number, "failed")
            return
        self._metrics.passes.inc()
        self._metrics.steps.inc(len(steps))
        self._metrics.cache_bytes.set(sum(self._engine[number].cache_bytes for number in self._running))
        self._metrics.running.set(len(self._running))

    def _report(self, step: Step) -> None:
        job, since = self._running[step.sequence]
        sequence = self._engine[step.sequence]
        voted = step.refresh is not None and step.refresh.value == "prompt"
        job.post(
            Progress(
                step=step,
                cache_bytes=sequence.cache_bytes,
                full_cache_bytes=sequence.full_cache_bytes(self._itemsize),
                kept=Kept.of(sequence) if voted else None,
            )
        )
        if step.finished:
            self._mean_s += (time.monotonic() - since - self._mean_s) / 8
            self._leave(step.sequence, "finished")

    def _leave(self, number: int, outcome: str) -> None:
        self._engine.remove(number)
        del self._running[number]
        self._metrics.ended.labels(outcome).inc()
        self._metrics.running.set(len(self._running))
        if not self._running:
            self._metrics.cache_bytes.set(0)
