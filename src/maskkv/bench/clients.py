"""A server in a process of its own, and clients that ask it, hang up on it and send it nonsense."""

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

from maskkv.errors import InputError

Fields = dict[str, Any]

_JSON = {"content-type": "application/json"}
_PATIENCE_S = 300


@dataclass(frozen=True)
class Answer:
    """What came of a request; of one that was hung up on, what had come until then. `status` 0: no answer at all."""

    status: int
    text: str = ""
    steps: int = 0
    job: str = ""
    error: str | None = None

    @property
    def told(self) -> tuple[int, str, int, str | None]:
        """Return what is the same whenever the same is asked: all but the request's own name."""
        return self.status, self.text, self.steps, self.error


@dataclass(frozen=True)
class Server:
    """Reach a server on this machine and read what it logs."""

    port: int
    log: Path
    process: int
    """Its number."""

    def ask(self, body: Fields, hang_up_after: int | None = None) -> Answer:
        """Ask for a chat answer; with `hang_up_after`, leave the stream after so many steps."""
        with self._open("POST", "/v1/chat/completions", json.dumps(body).encode()) as response:
            if response.status != 200:
                return Answer(response.status, error=json.loads(response.read())["error"]["code"])
            if body.get("stream"):
                return _streamed(response, hang_up_after)
            whole = json.loads(response.read())
            job = whole["id"].partition("-")[2]
            return Answer(200, whole["choices"][0]["message"]["content"], whole["maskkv"]["steps"], job)

    def send(self, content: bytes, *, wait: bool = True) -> Answer:
        """Send any bytes as a request for a chat answer; leave at once unless there is something to `wait` for."""
        with self._open("POST", "/v1/chat/completions", content, wait=wait) as response:
            if not wait:
                return Answer(0)
            response.read()
            return Answer(response.status)

    def metrics(self) -> dict[str, float]:
        """Return the server's counters by their names, labels included."""
        with self._open("GET", "/metrics") as response:
            lines = response.read().decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    def jobs(self) -> dict[str, Fields]:
        """Return what was logged of each request that left the model's thread, by its id."""
        lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True)
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return {each["id"]: each for each in events if each["event"] == "job"}

    def errors(self) -> list[str]:
        """Return the events that were logged as errors."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [each["event"] for each in map(json.loads, lines) if each["level"] in ("error", "critical")]

    def threads(self) -> int:
        """Count its threads, as Linux does."""
        return len(list(Path(f"/proc/{self.process}/task").iterdir()))

    def rest(self) -> bool:
        """Wait until nothing runs and nothing waits; tell whether that came."""
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


def _streamed(response: http.client.HTTPResponse, hang_up_after: int | None) -> Answer:
    pieces: list[str] = []
    steps, job = 0, ""
    for line in response:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        if "error" in event:
            return Answer(200, "".join(pieces), steps, job, event["error"]["code"])
        job = event["id"].partition("-")[2]
        shown = event.get("maskkv", {})
        steps = shown.get("steps", shown["step"] + 1 if "step" in shown else steps)
        pieces += [choice["delta"].get("content") or "" for choice in event["choices"]]
        if hang_up_after is not None and steps >= hang_up_after:
            break
    return Answer(200, "".join(pieces), steps, job)


@contextmanager
def serving(options: Sequence[str]) -> Iterator[Server]:
    """Run `maskkv serve` with these options, on a free port; end it with SIGTERM.

    Raises:
        InputError: It does not start.
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
