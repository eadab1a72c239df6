"""The units of an evaluation on a Ray cluster: workers that hold a model each, and are replaced when they are lost."""

from __future__ import annotations

import platform
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import maskkv
from maskkv import api
from maskkv.cluster.local import cluster_here, keep_to_loopback
from maskkv.cluster.reaching import check_reachable
from maskkv.cluster.sharing import Done, Host, Lost, room, share
from maskkv.errors import InputError, MaskKVError
from maskkv.eval.answering import Answered, Terms, Unit, answer
from maskkv.eval.runs import Elsewhere
from maskkv.loading import Loading

Reply = tuple[list[Answered], None] | tuple[None, Exception]


@contextmanager
def connected(address: str, workers: int | None) -> Iterator[Elsewhere]:
    """Connect to a cluster, and hand over what has units answered there; of `workers` None, as many as it has room for.

    `address` is `ray://HOST:PORT` or `HOST:PORT`; `auto` finds a cluster that this host belongs to, `local` starts one
    of this host alone, and an empty one does the second if the first fails.

    Raises:
        InputError: Ray is not installed, or there is no such cluster.
    """
    if address == "local" or (not address and not cluster_here()):
        keep_to_loopback()
    ray = _ray()
    check_reachable(address)
    # A client of another host's cluster starts nothing, and takes no settings of what it would start.
    settings: dict[str, Any] = {} if "://" in address else {"include_dashboard": False, "log_to_driver": False}
    try:
        with warnings.catch_warnings(action="ignore"):
            ray.init(address or None, configure_logging=False, **settings)
    except (OSError, RuntimeError, ValueError) as error:
        if address == "auto":
            raise InputError("this host belongs to no Ray cluster: `ray start --head` starts one") from None
        raise InputError(f"no Ray cluster at {address or 'local'}: {_line(error)}") from None
    try:
        yield partial(over_cluster, workers=workers)
    finally:
        ray.shutdown()


def _ray() -> Any:
    """Return Ray, parts of which have no types."""
    try:
        import ray
    except ModuleNotFoundError:
        raise InputError("ray is not installed: pip install 'maskkv[ray]' brings it") from None
    return ray


def over_cluster(units: Sequence[Unit], terms: Terms, workers: int | None) -> Iterator[list[Answered]]:
    """Yield the answers of each unit as it is done by one of the workers of the cluster that is connected.

    Raises:
        InputError: The cluster has no room for so many workers.
        MaskKVError: A worker raised it, or a unit lost its worker several times.
    """
    ray = _ray()
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    split = terms.loading.tensor_parallel
    hosts = [Host(int(each.get("CPU", 0)), int(each.get("GPU", 0)) // split) for each in alive]
    on_gpus = terms.loading.device.startswith("cuda")
    found = room(hosts, workers, on_gpus=on_gpus)
    pool = _RayPool(replace(terms, loading=_anywhere(terms.loading)), found.cores, split if on_gpus else 0)
    try:
        yield from share(units, pool, found.workers)
    finally:
        pool.end()


def _anywhere(loading: Loading) -> Loading:
    """Name files by their whole path, since workers start elsewhere, and no GPU, since each sees only its own."""

    def whole(path: Any) -> Any:
        place = Path(path).expanduser() if isinstance(path, str | Path) else None
        return str(place.absolute()) if place is not None and place.exists() else path

    device = loading.device.partition(":")[0]
    return replace(loading, model=whole(loading.model), profile=whole(loading.profile), device=device)


class _RayPool:
    """Start workers as Ray actors: each has so many GPUs, or none and `cores` of a CPU."""

    def __init__(self, terms: Terms, cores: int, gpus: int) -> None:
        self._ray = _ray()
        # Who is replaced and what is done again is decided in one place: Ray itself does neither.
        fixed = self._ray.remote(num_cpus=cores, num_gpus=gpus, max_restarts=0, max_task_retries=0)
        self._actor = fixed(Worker)
        self._given = (terms, maskkv.__version__, cores)
        self._workers: dict[int, Any] = {}
        self._asked: dict[Any, int] = {}
        self._started = 0

    def start(self) -> int:
        """Start a worker and return its number; it loads its model with its first unit."""
        self._started += 1
        self._workers[self._started] = self._actor.remote(*self._given)
        return self._started

    def send(self, worker: int, unit: Unit) -> None:
        """Give an idle worker a unit."""
        self._asked[self._workers[worker].answer.remote(unit)] = worker

    def next(self) -> Done | Lost:
        """Wait until one of the busy workers has done its unit, or is lost."""
        errors = self._ray.exceptions
        gone = (errors.RayActorError, errors.NodeDiedError, errors.ObjectLostError, errors.OutOfMemoryError)
        (ready,), _ = self._ray.wait(list(self._asked), num_returns=1)
        worker = self._asked.pop(ready)
        try:
            answered, error = self._ray.get(ready)
        except gone as lost:
            self._kill(worker)  # It may only be out of reach.
            return Lost(worker, _line(lost))
        if error is not None:
            raise error
        return Done(worker, answered)

    def end(self) -> None:
        """End all workers."""
        for worker in list(self._workers):
            self._kill(worker)

    def _kill(self, worker: int) -> None:
        self._ray.kill(self._workers.pop(worker))


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


class Worker:
    """Hold a model on a host of the cluster, and answer units."""

    def __init__(self, terms: Terms, version: str, cores: int) -> None:
        self._terms = terms
        self._version = version
        self._cores = cores
        self._llm: api.LanguageModel | None = None

    def answer(self, unit: Unit) -> Reply:
        """Answer a unit, or return the error that this ended with; the first one loads the model."""
        try:
            if self._llm is None:
                self._llm = self._load()
            return answer(self._llm, unit, self._terms.schedule, self._terms.isolated), None
        except MaskKVError as error:
            return None, type(error)(f"on {platform.node()}: {error}")
        except Exception as error:
            error.add_note(traceback.format_exc())
            return None, error

    def _load(self) -> api.LanguageModel:
        import torch

        if maskkv.__version__ != self._version:
            raise InputError(f"maskkv is {maskkv.__version__} there and {self._version} here: install the same one")
        if self._terms.loading.device == "cpu":
            torch.set_num_threads(self._cores)
        llm = api.load_model(self._terms.loading)
        if llm.fingerprint() != self._terms.fingerprint:
            raise InputError(
                f"the weights of {self._terms.loading.name} are others than here: copy the same files there"
            )
        return llm
