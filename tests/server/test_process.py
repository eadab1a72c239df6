"""`maskkv serve` as an operator starts it: a process of its own, asked by curl, ended by SIGTERM."""

import json
import shutil
import signal
import subprocess
import sys

import httpx
import pytest

from tests.server.live import LONG, PATIENCE_S, QUIET, SHORT, events

PROGRAM = [sys.executable, "-c", "import sys; from maskkv.cli import main; sys.exit(main())", "serve"]

BODY = {"messages": [{"role": "user", "content": SHORT.content}], "max_tokens": 16}


def curl(*args):
    return subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", str(PATIENCE_S), *args],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def ask_with_curl(url):
    """Ask every kind of question that curl can; return a whole answer."""
    key, kind = ("--header", "Authorization: Bearer secret-key"), ("--header", "Content-Type: application/json")
    assert json.loads(curl(f"{url}/health"))["status"] == "ok"
    assert json.loads(curl(f"{url}/v1/models"))["error"]["code"] == "invalid_api_key"
    assert json.loads(curl(*key, f"{url}/v1/models"))["data"][0]["id"] == "maskkv-mini"
    chat = (*key, *kind, f"{url}/v1/chat/completions", "--data")
    whole = json.loads(curl(*chat, json.dumps(BODY)))
    assert whole["maskkv"]["budget"] == 32
    streamed = curl("--no-buffer", *chat, json.dumps({**BODY, "stream": True}))
    pieces = [event["choices"][0]["delta"].get("content") or "" for event in events(iter(streamed.splitlines()))]
    assert "".join(pieces) == whole["choices"][0]["message"]["content"]
    wrong = curl("--include", *key, *kind, f"{url}/v1/completions", "--data", '{"prompt": "the", "n": 3}')
    assert wrong.startswith("HTTP/1.1 400 ")
    assert "n is not supported" in wrong
    return whole


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_from_start_to_sigterm(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# ours\nsecret-key\n")
    args = ["--host", "0.0.0.0", "--port", "0", "--api-key-file", str(keys), "--budget", "32"]
    args += ["--drain-timeout", str(PATIENCE_S)]  # what runs finishes, on a slow machine too
    process = subprocess.Popen([*PROGRAM, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=QUIET)
    try:
        said = process.stdout.readline()
        assert said.startswith("serving maskkv-mini on http://0.0.0.0:")
        url = said.split()[-1].replace("0.0.0.0", "127.0.0.1")
        whole = ask_with_curl(url)
        headers = {"authorization": "Bearer secret-key"}
        asked = {**BODY, **LONG, "stream": True, "diffusing": True}
        with httpx.stream(
            "POST", f"{url}/v1/chat/completions", json=asked, headers=headers, timeout=PATIENCE_S
        ) as response:
            seen = events(response.iter_lines())
            while next(seen)["maskkv"].get("step") != 3:
                pass
            process.send_signal(signal.SIGTERM)
            *_, last = seen
        assert last["choices"][0]["finish_reason"] == "stop"
        assert last["maskkv"]["steps"] > 100
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, out) == (0, "")
    logged = [json.loads(line) for line in err.splitlines()]
    assert [each["event"] for each in logged].count("draining") == 1
    assert {each["status"] for each in logged if each["event"] == "request"} == {200, 400, 401}
    for private in ("secret-key", SHORT.content.split(".")[0], whole["choices"][0]["message"]["content"]):
        assert private not in err


def test_ctrl_c_lets_requests_finish_and_once_more_tells_them_that_they_will_not():
    args = ["--port", "0", "--drain-timeout", str(10 * PATIENCE_S)]  # the first signal alone would not end it
    process = subprocess.Popen([*PROGRAM, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=QUIET)
    try:
        url = process.stdout.readline().split()[-1]
        # Minutes of work, and nothing of it is certain before the end.
        asked = {**BODY, **LONG, "max_tokens": 4096, "block_length": 4096, "stream": True}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=asked, timeout=PATIENCE_S) as response:
            seen = events(response.iter_lines())
            next(seen)
            process.send_signal(signal.SIGINT)
            logged = [process.stderr.readline()]
            while "draining" not in logged[-1]:
                logged.append(process.stderr.readline())
            process.send_signal(signal.SIGINT)
            (last,) = seen
        assert last["error"]["code"] == "shutting_down"
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, out) == (0, "")
    told = [json.loads(line) for line in [*logged, *err.splitlines()]]
    assert {each["level"] for each in told} == {"info"}
    assert [each["outcome"] for each in told if each["event"] == "job"] == ["cancelled"]
    assert [each["event"] for each in told].count("draining") == 1
    assert not any("%" in each["event"] for each in told)
