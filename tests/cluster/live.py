"""Servers on Ray, each in a process of its own, and what is alive below that."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.server.live import PATIENCE_S, QUIET, Server

ROOT = Path(__file__).parents[2]
PROGRAM = "import sys; from maskkv.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class OnRay(Server):
    process: subprocess.Popen[str]

    def replicas(self) -> list[int]:
        """Return the processes that hold a model."""
        return [pid for pid, name in below(self.process.pid) if name.startswith("ray::ServeReplica:maskkv:Replica")]


@contextmanager
def on_ray(*flags: str) -> Iterator[OnRay]:
    """Serve the bundled model as the tests of one server do, until the block ends or the test has ended it."""
    command = [sys.executable, "-c", PROGRAM, "serve", "--port", "0", "--budget", "32", "--dtype", "bfloat16", *flags]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=QUIET, cwd=ROOT
    ) as process:
        try:
            said = process.stdout.readline()
            assert said.startswith("serving maskkv-mini on "), process.stderr.read()
            url = said.split()[-1].replace("0.0.0.0", "127.0.0.1")
            with httpx.Client(base_url=url, timeout=PATIENCE_S) as http:
                yield OnRay(url, http, process)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE_S)
        finally:
            end(process)
            process.communicate()


def end(process: subprocess.Popen[Any]) -> None:
    started = below(process.pid)
    process.kill()
    for pid, _ in started:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def below(root: int) -> list[tuple[int, str]]:
    """Return the living processes that a process has started, or those have, with their command lines."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            names[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(folder.name)] = int(fields[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return [(pid, names[pid]) for pid in sorted(found - {root})]


def resident(pid: int) -> int:
    """Return the bytes of a process that are in memory and its own alone."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))
