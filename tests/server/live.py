"""A server on a free port of the loopback, in this process or in its own, and what asks it."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from openai import OpenAI

from maskkv.api import LanguageModel
from maskkv.decoding.engine import Step
from maskkv.mini import sample
from maskkv.server.app import create_app
from maskkv.server.run import Draining
from maskkv.server.runner import Runner
from maskkv.server.settings import ServerSettings

MODEL = "maskkv-mini"
SHORT = sample("single-key", 100, 1)
LONG = {"max_tokens": 256, "block_length": 256, "stop_at_eos": False}
"""What makes an answer take long: nothing of it is certain before the 256th step, and no end token stops it."""
PATIENCE_S = 300
"""How long to wait for what must happen, on a machine that has much else to do."""
QUIET = {name: value for name, value in os.environ.items() if not name.startswith("MASKKV_")}


@dataclass(frozen=True)
class Server:
    url: str
    http: httpx.Client

    def openai(self, key: str = "none") -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=PATIENCE_S)

    def chat(self, content: str = SHORT.content, **fields: Any) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": content}], "budget": 32, "max_tokens": 16, **fields}
        return self.http.post("/v1/chat/completions", json=body)

    def metric(self, name: str) -> float:
        lines = self.http.get("/metrics").text.splitlines()
        return float(next(line.rpartition(" ")[2] for line in lines if line.rpartition(" ")[0] == name))


@dataclass(frozen=True)
class Live(Server):
    runner: Runner

    @contextmanager
    def asked(self, body: dict[str, Any]) -> Iterator[None]:
        """Ask for a chat, and hang up without an answer."""
        content = json.dumps(body).encode()
        head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.http.base_url.port)) as line:
            line.sendall(f"POST /v1/chat/completions HTTP/1.1\r\n{head}".encode() + content)
            yield


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

    def _wait(self, *given: Any) -> list[Step]:
        self.arrived += 1
        if not self._open:
            self._permits.acquire()
        return self._step(*given)


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
            with httpx.Client(base_url=url, timeout=PATIENCE_S) as http:
                until(lambda: server.started)
                yield Live(url, http, runner)
        finally:
            server.should_exit = True
            until(lambda: runner._stopping)
            held = getattr(runner._engine.step, "__self__", None)
            if isinstance(held, Gate):  # A test that failed has not opened it.
                held.open()
            thread.join()


@contextmanager
def serving_apart(*flags: str) -> Iterator[Server]:
    """Serve in another process, which checks shapes and types as this one does.

    The checks draw from the process's random numbers, which hypothesis, drawing examples here, wants for itself.
    """
    program = "import sys, tests.conftest; from maskkv.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "serve", "--port", "0", *flags]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=QUIET, cwd=root) as process:
        try:
            url = process.stdout.readline().split()[-1]
            with httpx.Client(base_url=url, timeout=PATIENCE_S) as http:
                yield Server(url, http)
        finally:
            process.terminate()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that must happen."""
    deadline = time.monotonic() + PATIENCE_S
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
