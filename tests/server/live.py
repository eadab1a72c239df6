"""A server in this process, on a free port of the loopback, and what asks it."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from openai import OpenAI

from maskkv.api import LanguageModel
from maskkv.engine import Step
from maskkv.mini import sample
from maskkv.server.app import create_app
from maskkv.server.run import Draining
from maskkv.server.runner import Runner
from maskkv.server.settings import ServerSettings

MODEL = "maskkv-mini"
SHORT = sample("single-key", 100, 1)
LONG = {"max_tokens": 256, "block_length": 256, "stop_at_eos": False}
"""What makes an answer take long: nothing of it is certain before the 256th step, and no end token stops it."""


@dataclass(frozen=True)
class Live:
    url: str
    runner: Runner
    http: httpx.Client

    def openai(self, key: str = "none") -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60)

    def chat(self, content: str = SHORT.content, **fields: Any) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": content}], "budget": 32, "max_tokens": 16, **fields}
        return self.http.post("/v1/chat/completions", json=body)

    def metric(self, name: str) -> float:
        lines = self.http.get("/metrics").text.splitlines()
        return float(next(line.rpartition(" ")[2] for line in lines if line.rpartition(" ")[0] == name))


class Gate:
    """Hold the model's thread before each step, until the test lets it take some."""

    def __init__(self, runner: Runner) -> None:
        self._permits = threading.Semaphore(0)
        self._open = False
        self.arrived = 0
        """How often the thread has come here, to take a step."""
        self._engine = runner._engine
        self._step = self._engine.step
        self._engine.step = self._wait

    def pass_steps(self, count: int) -> None:
        self._permits.release(count)

    def open(self) -> None:
        self._open = True
        self._permits.release()

    def _wait(self) -> list[Step]:
        self.arrived += 1
        if not self._open:
            self._permits.acquire()
        return self._step()


@contextmanager
def serving(llm: LanguageModel, **settings: Any) -> Iterator[Live]:
    app = create_app(llm, MODEL, ServerSettings(**settings))
    runner, drain_s = app.state.service.runner, settings.get("drain_timeout", 5)
    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=15, lifespan="on")
    server = Draining(config, runner, drain_s)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with httpx.Client(base_url=url, timeout=60) as http:
                until(lambda: server.started)
                yield Live(url, runner, http)
        finally:
            server.should_exit = True
            thread.join()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that must happen."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Read a stream's events by hand, up to the end that it must have."""
    for line in lines:
        if line == "data: [DONE]":
            assert not any(lines)
            return
        assert line == "" or line.startswith("data: {")
        if line:
            yield json.loads(line.removeprefix("data: "))
    raise AssertionError("the stream broke off")
