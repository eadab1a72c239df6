"""Ask the replicas that Ray Serve has, and say in maskkv's own words what became of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from ray.exceptions import NodeDiedError, ObjectLostError, RayActorError, WorkerCrashedError
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

from maskkv.cluster.calling import Asked, Head
from maskkv.cluster.forwarding import NoReplica, ReplicaLost
from maskkv.cluster.totals import PATIENCE_S

GONE = (RayActorError, NodeDiedError, ObjectLostError, WorkerCrashedError)
"""What Ray raises when the process that was asked, or its host, is no more."""


class RayReplicas:
    """Send requests to the replicas that Ray Serve has, the less busy of two at a time."""

    def __init__(self, replicas: DeploymentHandle[Any], longest_s: float) -> None:
        """Take a handle of the replicas, and the seconds in which each of their answers has come to its end."""
        self._replicas: Any = replicas.options(stream=True)
        self._longest_s = longest_s

    async def ask(self, asked: Asked) -> AsyncGenerator[Head | bytes, None]:
        """Yield the answer of one of them, whose head names the replica.

        Raises:
            ReplicaLost: It died, ended, or fell silent before the answer was complete.
            NoReplica: None took the request in time.
        """
        response: DeploymentResponseGenerator[Any] = self._replicas.answer.remote(asked)
        until = asyncio.get_running_loop().time() + PATIENCE_S
        name: str | None = None
        try:
            while True:
                async with asyncio.timeout_at(until):
                    piece = await anext(response)
                if name is None:
                    name, until = piece, until + self._longest_s
                elif piece is None:
                    return
                elif isinstance(piece, Head):
                    yield replace(piece, headers=(*piece.headers, (b"x-replica", name.encode())))
                else:
                    yield piece
        except (TimeoutError, DeploymentUnavailableError):
            raise (NoReplica if name is None else ReplicaLost) from None
        except (StopAsyncIteration, *GONE):
            raise ReplicaLost from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # nobody waits for it any more
            raise ReplicaLost from None
        finally:
            response.cancel()
