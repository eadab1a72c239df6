"""The application on Ray Serve: replicas, fronts that pass requests on to them, and one process that adds up."""

from __future__ import annotations

import asyncio
from typing import Any

from ray import serve
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from maskkv.cluster.asking import GONE, RayReplicas
from maskkv.cluster.forwarding import Forwarder
from maskkv.cluster.front import Site
from maskkv.cluster.replica import Replica
from maskkv.cluster.site import Placed
from maskkv.cluster.totals import PATIENCE_S, Totals, every_beat
from maskkv.server import logs
from maskkv.server.errors import ApiError
from maskkv.server.streaming import LAST_WORDS_S

APP = "maskkv"
_UNLIMITED = 1_000_000
"""Requests that Ray Serve lets through to a process: the replica itself says when its queue is full."""


class Front:
    """Check requests, pass them on, and stop doing so when told."""

    def __init__(self, placed: Placed, model: DeploymentHandle[Any], totals: DeploymentHandle[Any]) -> None:
        logs.own_to_stderr()
        self._name = serve.get_replica_context().replica_id.unique_id
        self._totals = totals
        self._stage = "open"
        settings = placed.served.settings
        self._forwarder = Forwarder(RayReplicas(model, settings.timeout + 2 * LAST_WORDS_S))
        self.site = Site(self._forwarder, self._text, settings, placed.served.digests)
        self._telling = asyncio.ensure_future(every_beat(self._tell))

    async def _text(self) -> bytes:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._tell()
                return await self._totals.text.remote()
        except (TimeoutError, DeploymentUnavailableError, *GONE):
            raise ApiError(503, "the metrics are not at hand; ask again", "no_metrics") from None

    async def _tell(self) -> None:
        families, running = self.site.families(), self._forwarder.open
        self._stage = await self._totals.tell_front.remote(self._name, families, self._stage, running)
        if self._stage == "closed":
            self._forwarder.close()
        elif self._stage == "ended":
            self._forwarder.end()


class _Here:
    """Stand for the application of the front in whose process a request arrives: Ray Serve copies what it is given."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        front: Any = serve.get_replica_context().servable_object
        await front.site.app(scope, receive, send)


def application(placed: Placed) -> serve.Application:
    """Put the deployments together."""
    settings = placed.served.settings
    nowhere = {"num_cpus": 0}
    totals = _deployed(Totals, "Totals", ray_actor_options=nowhere).bind()
    model = _deployed(
        Replica,
        "Replica",
        ray_actor_options=placed.share.options(),
        graceful_shutdown_timeout_s=placed.served.drain_s,
        **placed.served.replicas.options(settings.max_batch),
    ).bind(placed, totals)
    ingress = serve.ingress(Starlette(routes=[Mount("", app=_Here())]))(Front)
    front = _deployed(
        ingress,
        "Front",
        ray_actor_options=nowhere,
        num_replicas=placed.fronts,
        graceful_shutdown_timeout_s=placed.served.longest_s,
    )
    return front.bind(placed, model, totals)


def _deployed(kind: type, name: str, **options: Any) -> serve.Deployment:
    health = {"health_check_period_s": 2.0, "health_check_timeout_s": 30.0}
    plain: Any = serve.deployment(kind)
    return plain.options(name=name, max_ongoing_requests=_UNLIMITED, **health, **options)
