"""One tiny checkpoint for all tests of the command line, and a way to run commands in this process."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from maskkv.cli import main, terminal
from tests.cli.tiny import save_tiny


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be told of what takes long, however busy this machine is."""
    monkeypatch.setattr(terminal, "PATIENCE", 1e6)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*args: str | Path | int) -> Ran:
        status = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Run a command that must fail as bad input does, and return its one line."""

    def refused(*args: str | Path | int) -> str:
        ran = run(*args)
        assert (ran.status, ran.out) == (2, "")
        assert ran.err.startswith("maskkv: error: ")
        assert ran.err.count("\n") == 1
        return ran.err.removeprefix("maskkv: error: ").strip()

    return refused
