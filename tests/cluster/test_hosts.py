"""Two Ray nodes, as separate processes on the loopback, serve one port; one of them may die."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from tests.cluster.live import below, on_ray
from tests.server.live import PATIENCE_S, QUIET, until

pytestmark = pytest.mark.slow

ENVIRONMENT = {**QUIET, "RAY_USAGE_STATS_ENABLED": "0"}
RAY = [sys.executable, "-m", "ray.scripts.scripts"]


@contextmanager
def node(*flags: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [*RAY, "start", "--block", "--num-cpus", "1", "--object-store-memory", str(256 << 20), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT) as process:
        try:
            while b"Ray runtime started" not in (said := process.stdout.readline()):
                assert said
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    started = below(process.pid)
    process.kill()
    for pid, _ in started:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.fixture
def cluster(tmp_path_factory):
    port = free_port()
    address = f"127.0.0.1:{port}"
    folder = tmp_path_factory.mktemp("r")
    with ExitStack() as nodes:
        head = node("--head", "--port", str(port), "--include-dashboard", "false", "--temp-dir", str(folder))
        nodes.enter_context(head)
        other = nodes.enter_context(node("--address", address, "--dashboard-agent-listen-port", str(free_port())))
        yield address, other


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_each_of_two_nodes_answers_behind_one_port(cluster):
    address, other = cluster
    # A replica takes the one core of a node, so two of them are on two nodes.
    flags = ["--replicas", "2", "--ray-address", address, "--port", str(free_port())]
    with on_ray(*flags) as server:
        answered = set()

        def both():
            response = server.chat()
            assert response.status_code == 200
            answered.add(response.headers["x-replica"])
            return len(answered) == 2

        until(both)
        assert server.metric("maskkv_replicas") == 2
        until(lambda: {"ProxyActor", "ServeReplica:maskkv:Replica"} <= kinds(other))
        end(other)
        until(lambda: answers(server.url))


def kinds(process: subprocess.Popen[bytes]) -> set[str]:
    names = (re.match(r"ray::(ServeReplica:maskkv:\w+|\w+)", name) for _, name in below(process.pid))
    return {name[1] for name in names if name}


def answers(url: str) -> bool:
    """Tell whether a new connection is answered: those to the dead host break off."""
    body = {"prompt": "the", "max_tokens": 8}
    try:
        return httpx.post(f"{url}/v1/completions", json=body, timeout=PATIENCE_S).status_code == 200
    except httpx.TransportError:
        return False
