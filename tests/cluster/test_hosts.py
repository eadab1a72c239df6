"""Two Ray nodes, as separate processes on the loopback, serve one port, or share an evaluation; one of them may die."""

import re
import subprocess

import httpx
import pytest

from tests.cluster.live import below, on_ray
from tests.cluster.nodes import end, free_port
from tests.cluster.test_evaluating import start
from tests.server.live import PATIENCE_S, until

pytestmark = pytest.mark.slow


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


def test_an_evaluation_over_two_nodes_writes_what_one_process_writes(cluster, tmp_path):
    address, other = cluster
    few = ("--task", "multi-key", "-n", "16")
    with start(tmp_path / "over", *few, "--ray", address, "--jobs", "2") as over:
        # A worker takes the one core of a node.
        until(lambda: any(name.startswith("Worker") for name in kinds(other)))
        assert over.wait(PATIENCE_S) == 0, over.stderr.read()
    with start(tmp_path / "here", *few) as here:
        assert here.wait(PATIENCE_S) == 0, here.stderr.read()
    written = [(tmp_path / name / "mini.jsonl").read_bytes() for name in ("over", "here")]
    assert written[0]
    assert written[0] == written[1]


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
