"""An application on the cluster that this process has joined, from its start to the end of its last request."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

from maskkv.cluster.deployments import APP, application
from maskkv.cluster.reasons import said_most
from maskkv.cluster.resources import place
from maskkv.cluster.site import Served
from maskkv.errors import InputError

_POLL_S = 0.2
_LOGGING = LoggingConfig(enable_access_log=False, log_level="WARNING")
"""Each replica has an access log of its own."""


class Live:
    """Run an application behind one port of every host, and take away at the end what was brought."""

    def __init__(self, served: Served, host: str, port: int, *, own_ray: bool) -> None:
        """Start it, and return when its replicas are there; a Ray of this process's `own_ray` takes all with it.

        Raises:
            InputError: Ray Serve has another port on this cluster, or the replicas do not fit or do not start.
        """
        placed = place(served)
        self._own_ray = own_ray
        self._own_serve = _get_global_client(raise_if_no_controller_running=False) is None
        options = {"host": host, "port": port or 8000}
        serve.start(proxy_location="EveryNode", http_options=options, logging_config=_LOGGING)
        client = _get_global_client()
        assert client is not None
        there = client.http_config
        if (there.host, there.port) != (host, port or there.port):
            raise InputError(
                f"Ray Serve runs on this cluster with --host {there.host} --port {there.port}: expected these, or "
                "`serve shutdown` first"
            )
        self.port: int = there.port
        try:
            serve.run(application(placed), name=APP, route_prefix="/", logging_config=_LOGGING)
        except BaseException as error:
            reason = _reason(error) if isinstance(error, RuntimeError) else None
            if not own_ray:
                serve.delete(APP, _blocking=False)
            if reason is not None:
                raise InputError(f"the replicas did not start: {reason}") from None
            raise

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take away what was not there before: Ray, Ray Serve, or the application alone."""
        if not self._own_ray:
            self._remove()
        ray.shutdown()

    def drain(self, seconds: float, hurried: Callable[[], bool]) -> None:
        """Accept no more requests, let those that run finish in so many seconds, and end the rest."""
        totals: DeploymentHandle[Any] = serve.get_deployment_handle("Totals", app_name=APP)
        try:
            totals.enter.remote("closed").result(timeout_s=10)
            until = time.monotonic() + seconds
            while totals.running.remote().result(timeout_s=10) and time.monotonic() < until and not hurried():
                time.sleep(_POLL_S)
            totals.enter.remote("ended").result(timeout_s=10)
            until = time.monotonic() + 5
            while totals.running.remote().result(timeout_s=10) and time.monotonic() < until:
                time.sleep(_POLL_S)
        except (RayError, TimeoutError):
            return  # What remains is ended with the application.

    def _remove(self) -> None:
        if self._own_serve:
            serve.shutdown()
        else:
            serve.delete(APP)


def _reason(error: RuntimeError) -> str:
    """Return the line that says most of what Ray Serve tells of a replica that failed."""
    there = serve.status().applications.get(APP)
    told = [] if there is None else [each.message for each in there.deployments.values()]
    return said_most([str(error), *told])
