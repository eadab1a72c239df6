"""Serve on a Ray cluster until told to stop: SIGTERM and Ctrl-C let running requests finish first."""

from __future__ import annotations

import http.client
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from maskkv.cluster import local
from maskkv.cluster.site import Served
from maskkv.errors import InputError
from maskkv.server import logs
from maskkv.server.run import address as address_of
from maskkv.server.run import listen
from maskkv.server.settings import ServerSettings

_POLL_S = 0.2
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_ANSWERING_S = 60.0
"""How long the port may take to answer once the replicas are there."""


def serve(served: Served, settings: ServerSettings, address: str | None, ready: Callable[[str], None]) -> None:
    """Serve on the cluster at an address, or (None) on this machine, until SIGTERM or Ctrl-C.

    `ready` is told the URL once it answers. Everything that this call has started ends with it.

    Raises:
        InputError: Ray or the port is not to be had, or the replicas do not fit or do not start.
    """
    port = settings.port
    if address is None:
        with listen(settings) as listener:
            port = listener.getsockname()[1]
    local.connect(address)
    # Only now: Ray reads its variables when it is imported, and has its own handler of SIGTERM.
    from maskkv.cluster.live import Live

    told = _Told()
    logs.own_to_stderr()
    with Live(served, settings.host, port, own_ray=address is None) as live:
        _await_answer(settings.host, live.port)
        url = address_of(settings.host, live.port)
        logs.say("listening", url=url, model=served.name, keys=len(served.digests))
        told.started = True
        ready(url)
        while not told.signals:
            time.sleep(_POLL_S)
        logs.say("draining", seconds=settings.drain_timeout)
        live.drain(settings.drain_timeout, lambda: told.signals > 1)


class _Told:
    """Count the signals to stop; before all has started the first one ends the program."""

    def __init__(self) -> None:
        self.started = False
        self.signals = 0
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._take)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.signals += 1
        if not self.started and self.signals == 1:
            sys.exit(0)


def _await_answer(host: str, port: int) -> None:
    until = time.monotonic() + _ANSWERING_S
    while True:
        connection = http.client.HTTPConnection(_EVERYWHERE.get(host, host), port, timeout=_ANSWERING_S)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        if time.monotonic() > until:
            raise InputError(f"the replicas run, and nothing answers on {host}, port {port}: is the port taken?")
        time.sleep(_POLL_S)
