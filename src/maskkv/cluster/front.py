"""What clients reach: the checks of one server, metrics of all replicas, and everything else passed on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from maskkv.cluster.forwarding import Forwarder
from maskkv.server.access_log import AccessLog
from maskkv.server.errors import ApiError
from maskkv.server.guard import Guard
from maskkv.server.metrics import CONTENT_TYPE, Metrics
from maskkv.server.settings import ServerSettings


class Site:
    """Hold the ASGI application that stands before all replicas, and what it counts of its own."""

    def __init__(
        self,
        forwarder: Forwarder,
        totals: Callable[[], Awaitable[bytes]],
        settings: ServerSettings,
        digests: Sequence[bytes],
    ) -> None:
        """Make the application; `totals` returns the metrics of all, and `digests` are those of the accepted keys."""
        self._forwarder = forwarder
        self._totals = totals
        self._metrics = Metrics()
        self.app: ASGIApp = AccessLog(Guard(self._answer, settings, digests), self._metrics)

    def families(self) -> list[Metric]:
        """Return the metrics of this front: requests that it answered itself, and what became of lost replicas."""
        lost = CounterMetricFamily(
            "maskkv_replica_losses", "Replicas that died with a request, by what became of it.", labels=("outcome",)
        )
        for outcome, count in self._forwarder.lost.items():
            lost.add_metric((outcome,), count)
        return [*self._metrics.families(), lost]

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await receive()
            await send({"type": "websocket.close", "code": 1000})  # Ray Serve's proxy asks for a code
            return
        try:
            if scope["path"] == "/metrics" and scope["method"] == "GET":
                text = await self._totals()
                await Response(text, headers={"content-type": CONTENT_TYPE})(scope, receive, send)
            else:
                await self._forwarder(scope, receive, send)
        except ApiError as problem:
            await problem.response()(scope, receive, send)
