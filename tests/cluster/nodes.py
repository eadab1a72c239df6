"""Ray nodes, each as a separate process on the loopback."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.live import end
from tests.server.live import QUIET

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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
