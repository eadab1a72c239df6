"""A replica: a model, and in front of it the application that one server is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import torch
from ray import serve
from ray.serve.handle import DeploymentHandle

from maskkv import api, memory
from maskkv.checkpoints import weights
from maskkv.cluster.calling import Asked, Head, answered
from maskkv.cluster.shares import on_card
from maskkv.cluster.site import Placed
from maskkv.cluster.totals import BEAT_S, every_beat
from maskkv.plan import Shape
from maskkv.server import logs
from maskkv.server.app import create_app
from maskkv.server.run import warm_up
from maskkv.server.service import Service


class Replica:
    """Hold the model, and the application that one server is."""

    def __init__(self, placed: Placed, totals: DeploymentHandle[Any]) -> None:
        logs.own_to_stderr()
        self._name = serve.get_replica_context().replica_id.unique_id
        self._totals = totals
        torch.set_num_threads(placed.share.threads)
        served, settings = placed.served, placed.served.settings
        if settings.memory is None and weights.device_of(served.loading.device).type == "cpu":
            # Before the weights are there: each that is loaded leaves less.
            free = memory.available(torch.device("cpu")) // placed.share.parts
            settings = settings.model_copy(update={"memory": max(1, free)})
        llm = api.load_model(served.loading)
        warm_up(llm)
        if settings.memory is None:
            card = torch.cuda.get_device_properties(llm.model.device).total_memory
            free = on_card(card, placed.share.parts, Shape.of(llm.model).weight_bytes)
            settings = settings.model_copy(update={"memory": free})
        # Only fronts ask it, as if from this machine.
        self._app = create_app(llm, served.name, settings.model_copy(update={"host": "127.0.0.1"}))
        self._service: Service = self._app.state.service
        self._service.runner.start()
        self._telling = asyncio.ensure_future(every_beat(self._tell))

    async def answer(self, asked: Asked) -> AsyncGenerator[str | Head | bytes | None, None]:
        """Yield the replica's name, the answer, and None where it is complete."""
        yield self._name
        async with contextlib.aclosing(answered(self._app, asked)) as pieces:
            async for piece in pieces:
                yield piece
        yield None

    async def check_health(self) -> None:
        """Raise if requests are no longer being answered: Ray Serve then replaces this replica."""
        if not self._service.runner.alive:
            raise RuntimeError("the model's thread does not run")

    async def __del__(self) -> None:
        """End after the last request; one that did not come to serve has nothing to end."""
        if not hasattr(self, "_telling"):
            return
        self._telling.cancel()
        with contextlib.suppress(Exception):  # what adds up may have ended before
            async with asyncio.timeout(BEAT_S):
                await self._tell()
                await self._totals.leave.remote(self._name)
        self._service.runner.stop()

    async def _tell(self) -> None:
        await self._totals.tell.remote(self._name, self._service.metrics.families())
