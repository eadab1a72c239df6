"""A server in a process of its own, and what clients send it: requests, disconnects, malformed bodies."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskkv.errors import InputError, MaskKVError
from maskkv.mini import TASKS, sample

Fields = dict[str, Any]

_JSON = {"content-type": "application/json"}
_PATIENCE_S = 300
_FIRST_SEED = 1000


@dataclass(frozen=True)
class ClientAnswer:
    """Say what a client received, up to where it hung up; `status` 0 means nothing."""

    status: int
    text: str = ""
    steps: int = 0
    job: str = ""
    error: str | None = None

    @property
    def told(self) -> tuple[int, str, int, str | None]:
        """Return what two identical requests must agree on: everything but the job's id."""
        return self.status, self.text, self.steps, self.error


@dataclass(frozen=True)
class Server:
    """Send requests to a server on this machine, and read its metrics and its log."""

    port: int
    log: Path
    process: int
    """Its process id."""

    def ask(self, body: Fields, hang_up_after: int | None = None) -> ClientAnswer:
        """Send a chat request and return its answer; with `hang_up_after`, close the stream after that many steps."""
        with self._open("POST", "/v1/chat/completions", json.dumps(body).encode()) as response:
            if response.status != 200:
                return ClientAnswer(response.status, error=json.loads(response.read())["error"]["code"])
            if body.get("stream"):
                return _streamed(response, hang_up_after)
            whole = json.loads(response.read())
            job = whole["id"].partition("-")[2]
            return ClientAnswer(200, whole["choices"][0]["message"]["content"], whole["maskkv"]["steps"], job)

    def timed(self, body: Fields) -> tuple[float, float]:
        """Send a chat request that is streamed, and return the seconds until its first text and until its end.

        Raises:
            MaskKVError: The request is refused, or fails.
        """
        start = time.perf_counter()
        first: float | None = None
        with self._open("POST", "/v1/chat/completions", json.dumps(body).encode()) as response:
            for line in response:
                if b'"error"' in line:
                    raise MaskKVError(f"the server answers {line.decode(errors='replace').strip()}")
                if first is None and b'"content":"' in line and b'"content":""' not in line:
                    first = time.perf_counter() - start
        end = time.perf_counter() - start
        return end if first is None else first, end

    def send(self, content: bytes, *, wait: bool = True) -> ClientAnswer:
        """Send raw bytes as the body of a chat request; without `wait`, close the connection at once."""
        with self._open("POST", "/v1/chat/completions", content, wait=wait) as response:
            if not wait:
                return ClientAnswer(0)
            response.read()
            return ClientAnswer(response.status)

    def metrics(self) -> dict[str, float]:
        """Return the value of each metric, by its name with labels."""
        with self._open("GET", "/metrics") as response:
            lines = response.read().decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    def jobs(self) -> dict[str, Fields]:
        """Return the log line of each finished job, by its id."""
        lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True)
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return {each["id"]: each for each in events if each["event"] == "job"}

    def errors(self) -> list[str]:
        """Return the events that were logged as errors."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [each["event"] for each in map(json.loads, lines) if each["level"] in ("error", "critical")]

    def threads(self) -> int:
        """Count the server's threads, from /proc."""
        return len(list(Path(f"/proc/{self.process}/task").iterdir()))

    def wait_idle(self) -> bool:
        """Wait until no request runs or waits; False if that takes too long."""
        for _ in range(10 * _PATIENCE_S):
            now = self.metrics()
            if now["maskkv_running"] == now["maskkv_waiting"] == 0:
                return True
            time.sleep(0.1)
        return False

    @contextmanager
    def _open(
        self, method: str, path: str, body: bytes | None = None, *, wait: bool = True
    ) -> Iterator[http.client.HTTPResponse]:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_S)
        try:
            line.request(method, path, body, _JSON if body is not None else {})
            yield line.getresponse() if wait else http.client.HTTPResponse(line.sock)
        finally:
            line.close()


def _streamed(response: http.client.HTTPResponse, hang_up_after: int | None) -> ClientAnswer:
    pieces: list[str] = []
    steps, job = 0, ""
    for line in response:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        if "error" in event:
            return ClientAnswer(200, "".join(pieces), steps, job, event["error"]["code"])
        job = event["id"].partition("-")[2]
        shown = event.get("maskkv", {})
        steps = shown.get("steps", shown["step"] + 1 if "step" in shown else steps)
        pieces += [choice["delta"].get("content") or "" for choice in event["choices"]]
        if hang_up_after is not None and steps >= hang_up_after:
            break
    return ClientAnswer(200, "".join(pieces), steps, job)


def question(number: int, length: int, gen_length: int, budget: int | None, **more: object) -> Fields:
    """Return a request about a generated document of this length in tokens; each number has its own document."""
    document = sample(TASKS[number % len(TASKS)], length, _FIRST_SEED + number).content
    messages = [{"role": "user", "content": document}]
    return {"messages": messages, "max_tokens": gen_length, "budget": budget, **more}


@contextmanager
def serving(options: Sequence[str]) -> Iterator[Server]:
    """Run `maskkv serve` with these options on a free port; stop it with SIGTERM.

    Raises:
        InputError: The server does not start.
    """
    command = [sys.executable, "-m", "maskkv", "serve", "--port", "0", *options]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with (
            log.open("wb") as errors,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
        ):
            try:
                said = process.stdout.readline() if process.stdout is not None else ""
                if not said.startswith("serving "):
                    raise InputError(f"the server does not start: {log.read_text(encoding='utf-8').strip()}")
                yield Server(int(said.rpartition(":")[2]), log, process.pid)
            finally:
                process.send_signal(signal.SIGTERM)
