"""One model for all tests of the cluster; those on Ray make servers of it in processes of their own."""

from contextlib import ExitStack

import pytest

import maskkv
from tests.cluster.nodes import free_port, node


@pytest.fixture(scope="session")
def llm() -> maskkv.LanguageModel:
    return maskkv.load(policy="maskkv", budget=32, dtype="bfloat16")


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
