"""Two replicas on Ray, and one of them is killed: no answer is wrong, and none is missing.

`pytest -m slow -s tests/cluster/test_dying.py` prints what docs/ray.md says of time and memory.
"""

import json
import os
import re
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from maskkv.mini import sample
from tests.cluster.live import below, on_ray, resident
from tests.server.live import events, until

pytestmark = pytest.mark.slow

REQUESTS = 200
KILL_AFTER = 60
PROMPTS = [sample(kind, 60, seed).content for kind in ("single-key", "long-value") for seed in range(6)]
RETRYABLE = {"replica_lost", "no_replica"}


@pytest.fixture(scope="module")
def expected(llm):
    return [llm.generate(prompt, gen_length=16).text for prompt in PROMPTS]


def answer(server, number):
    """Return the text of an answer, or the code of the error that came in its stead."""
    prompt = PROMPTS[number % len(PROMPTS)]
    if number % 2:
        response = server.chat(prompt)
        reply = response.json()
        return reply["error"]["code"] if "error" in reply else reply["choices"][0]["message"]["content"]
    body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": 16, "budget": 32, "stream": True}
    with server.http.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.status_code != 200:
            return json.loads(response.read())["error"]["code"]
        text = ""
        for event in events(response.iter_lines()):
            if "error" in event:
                return event["error"]["code"]
            text += event["choices"][0]["delta"].get("content") or ""
    return text


def test_no_answer_is_lost_when_a_replica_is_killed(expected):
    began = time.monotonic()
    with on_ray("--replicas", "2") as server:
        sys.stdout.write(f"\nanswers after {time.monotonic() - began:.0f} s; private memory in MiB:\n")
        until(lambda: len(server.replicas()) == 2)  # Ray names its processes by what they do
        for name, sizes in memory(server.process.pid).items():
            sys.stdout.write(f"{len(sizes)} × {name}: {sum(sizes) / len(sizes) / 2**20:.0f}\n")
        first = server.replicas()
        done: list[int] = []

        def ask(number):
            found = answer(server, number)
            done.append(number)
            return found

        with ThreadPoolExecutor(8) as clients:
            asked = [clients.submit(ask, number) for number in range(REQUESTS)]
            until(lambda: len(done) >= KILL_AFTER)
            os.kill(first[0], signal.SIGKILL)
            found = [each.result() for each in asked]
        right = [said == expected[number % len(PROMPTS)] for number, said in enumerate(found)]
        told = Counter(said for said, is_right in zip(found, right, strict=True) if not is_right)
        sys.stdout.write(f"{sum(right)} of {REQUESTS} answers equal, errors: {dict(told)}\n")
        assert set(told) <= RETRYABLE
        assert sum(told.values()) <= 8  # those that the replica had
        assert sum(right) + sum(told.values()) == REQUESTS
        assert server.metric('maskkv_replica_losses_total{outcome="broken_off"}') == told["replica_lost"]
        assert server.metric('maskkv_replica_losses_total{outcome="repeated"}') + sum(told.values()) >= 1
        until(lambda: server.metric("maskkv_replicas") == 2)
        until(lambda: len(set(server.replicas()) - set(first)) == 1)
        # What it counted up to a second before its death is not forgotten.
        until(lambda: server.metric('maskkv_jobs_total{outcome="finished"}') > REQUESTS - KILL_AFTER // 2)
        assert answer(server, 1) == expected[1]


def memory(root):
    """Return the sizes of the processes below one, by what they are."""
    sizes: dict[str, list[int]] = {"the command": [resident(root)]}
    for pid, line in below(root):
        named = re.match(r"ray::ServeReplica:maskkv:(\w+)", line)
        name = named[1] if named else "chat templates" if "maskkv.text.renderer" in line else "Ray's own"
        sizes.setdefault(name, []).append(resident(pid))
    return sizes
