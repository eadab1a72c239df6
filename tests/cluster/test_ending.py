"""A server on Ray ends as one server does: what runs finishes, and nothing of it stays."""

import json
import os
import signal
import threading

import httpx
import pytest

import maskkv
from tests.cluster.live import below, on_ray
from tests.server.live import LONG, PATIENCE_S, SHORT, events, until

pytestmark = pytest.mark.slow

BODY = {"messages": [{"role": "user", "content": SHORT.content}], **LONG, "stream": True, "diffusing": True}


def test_a_stream_finishes_after_sigterm_and_a_key_is_asked_for_and_printed_nowhere(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("secret-key\n")
    flags = ["--replicas", "1-2", "--host", "0.0.0.0", "--api-key-file", str(keys)]
    with on_ray(*flags, "--drain-timeout", str(PATIENCE_S)) as server:
        started = [pid for pid, _ in below(server.process.pid)]
        key = {"authorization": "Bearer secret-key"}
        assert server.http.get("/v1/models").json()["error"]["code"] == "invalid_api_key"
        assert server.http.get("/v1/models", headers=key).json()["data"][0]["id"] == "maskkv-mini"
        assert server.http.get("/health", headers={"host": "example.org"}).status_code == 200
        refused: list[httpx.Response] = []
        with httpx.stream(
            "POST", f"{server.url}/v1/chat/completions", json=BODY, headers=key, timeout=PATIENCE_S
        ) as response:
            seen = events(response.iter_lines())
            while next(seen)["maskkv"].get("step") != 3:
                pass
            server.process.send_signal(signal.SIGTERM)

            def refuse():
                until(lambda: server.http.get("/health").status_code == 503)
                refused.append(server.http.get("/health"))

            refusing = threading.Thread(target=refuse)
            refusing.start()
            *_, last = seen
        refusing.join()
        assert refused[0].json()["error"]["code"] == "shutting_down"
        assert last["choices"][0]["finish_reason"] == "stop"
        out, err = server.process.communicate(timeout=PATIENCE_S)
        assert (server.process.returncode, out) == (0, "")
        logged = [json.loads(line) for line in err.splitlines()]
        assert [line["event"] for line in logged] == ["listening", "draining"]
        assert "secret-key" not in err
        until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in started))  # noqa: PTH110


def test_a_replica_in_three_parts_answers_as_one_model_and_takes_its_processes_along():
    expected = maskkv.load(policy="maskkv", budget=256, dtype="float32").generate(SHORT.content, gen_length=16).text
    with on_ray("--replicas", "1", "--tensor-parallel", "3", "--dtype", "float32") as server:
        started = [pid for pid, _ in below(server.process.pid)]
        told = server.http.post("/v1/chat/completions", json={**SPLIT, "max_tokens": 16}).json()
        assert told["choices"][0]["message"]["content"] == expected
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0
        until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in started))  # noqa: PTH110


SPLIT = {"messages": [{"role": "user", "content": SHORT.content}]}
