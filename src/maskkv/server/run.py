"""Serve until told to stop: SIGTERM and Ctrl-C let running requests finish first."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn

from maskkv.api import LanguageModel
from maskkv.errors import InputError
from maskkv.server import logs
from maskkv.server.app import create_app
from maskkv.server.runner import Runner
from maskkv.server.settings import ServerSettings
from maskkv.server.streaming import LAST_WORDS_S


def serve(llm: LanguageModel, model_name: str, settings: ServerSettings, ready: Callable[[str], None]) -> None:
    """Serve a model until SIGTERM or Ctrl-C; `ready` is told the address once it listens.

    Raises:
        InputError: The address cannot be listened on.
    """
    warm_up(llm)
    logs.configure()
    app = create_app(llm, model_name, settings)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=settings.drain_timeout + LAST_WORDS_S,
        lifespan="on",
    )
    with listen(settings) as listener:
        url = address(*listener.getsockname()[:2])
        logs.say("listening", url=url, model=model_name, keys=len(settings.accepted_keys()))
        ready(url)
        # When all is finished, uvicorn raises the signal that ended it once more: that is no failure.
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, _leave)
        Draining(config, app.state.service.runner, settings.drain_timeout).run(sockets=[listener])


class Draining(uvicorn.Server):
    """Shut down in three stages: no new connections, time for what runs and waits to finish, an error for the rest."""

    def __init__(self, config: uvicorn.Config, runner: Runner, drain_s: int) -> None:
        super().__init__(config)
        self._runner = runner
        self._drain_s = drain_s
        self._hurried = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Shut down on the first signal, end all requests on the second, break off connections on a third Ctrl-C."""
        if self.should_exit and not self._hurried:
            self._hurried = True
            self._runner.end()
            sig = signal.SIGTERM  # uvicorn would take a second SIGINT for the third
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting connections, and end all requests that still run when the time to drain is up."""
        logs.say("draining", seconds=self._drain_s)
        timer = asyncio.get_running_loop().call_later(self._drain_s, self._runner.end)
        await super().shutdown(sockets)
        timer.cancel()


def address(host: str, port: int) -> str:
    """Return the URL of a host's port."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(settings: ServerSettings) -> socket.socket:
    """Listen where the settings say.

    Raises:
        InputError: That is not possible.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise InputError(
            f"cannot listen on {settings.host}, port {settings.port}: {error.strerror or error}; "
            "try another --port (0 takes a free one) or --host"
        ) from None


def warm_up(llm: LanguageModel) -> None:
    """Do what takes seconds the first time, before a request has to wait for it."""
    llm.text.least_tokens(".")
    if llm.text.has_chat_template:
        with contextlib.suppress(InputError):  # Words that a model does not know are no reason not to start.
            llm.text.chat([{"role": "user", "content": "."}])


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)
