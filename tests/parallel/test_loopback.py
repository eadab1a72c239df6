"""Where processes of a split model listen, what they leave of the environment, and what they hear of Ctrl-C."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest
from tests.parallel.parts import CPU, part_of
from tests.reference import LLADA

from maskkv.parallel.splitting import split

LISTENS = "0A"


def _listening(pid: int) -> set[str]:
    """Return the hexadecimal addresses that a process listens on."""
    held = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()}
    found = set()
    for kind in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text("ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENS and f"socket:[{fields[9]}]" in held:
                found.add(fields[1].partition(":")[0])
    return found


def _other_interface() -> str | None:
    folder = Path("/sys/class/net")
    names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
    return next((name for name in names if name.startswith(("e", "w"))), None)


@pytest.mark.skipif(_other_interface() is None, reason="there is no interface but the loopback")
def test_nobody_else_can_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself gloo listens on the address of the host's name, or on the interface that it was told of."""
    other = _other_interface()
    assert other is not None
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", other)
    model = split(partial(part_of, LLADA, 0), 2, CPU)
    pids = [os.getpid(), model.ranks._followers[0]._process.pid]
    found = [_listening(pid) for pid in pids]
    model.ranks.end()
    assert found == [{"0100007F"}, {"0100007F"}]
    assert os.environ["GLOO_SOCKET_IFNAME"] == other


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells which signals are blocked")
def test_other_processes_hear_no_ctrl_c_from_the_start() -> None:
    """While they import, each would print where it was; this process hears it as before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    model = split(partial(part_of, LLADA, 0), 2, CPU)
    status = Path(f"/proc/{model.ranks._followers[0]._process.pid}/status").read_text("ascii")
    model.ranks.end()
    blocked = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk"))
    assert blocked & 1 << signal.SIGINT - 1
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
