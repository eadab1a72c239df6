"""Compiled layers, in processes of their own: there the package is not instrumented by the tests."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.tiny import save_tiny

from maskkv.mini import sample

pytestmark = pytest.mark.slow
PROMPT = sample("multi-key", 60, 3).content


def generate(model: Path, cache: Path, *flags: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    settings = ["--model", str(model), "--gen-length", "16", "--budget", "3", "--response-interval", "3", "--json"]
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(cache)}
    if path is not None:
        environment |= {"PATH": path}
        environment.pop("CXX", None)
    command = [sys.executable, "-m", "maskkv", "generate", PROMPT, *settings, *flags]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


def test_compiled_layers_answer_alike(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model")
    eager, compiled = (generate(model, tmp_path / "cache", *flags) for flags in ((), ("--compile",)))
    if "compile: expected" in compiled.stderr:
        pytest.skip("no compiler here")
    assert (eager.returncode, compiled.returncode) == (0, 0), compiled.stderr
    for name in ("tokens", "kept", "cache_bytes"):
        assert json.loads(compiled.stdout)[name] == json.loads(eager.stdout)[name], name
    assert list((tmp_path / "cache").rglob("*.so")), "something was compiled"


def test_without_a_compiler_it_is_refused_in_one_line(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model")
    ran = generate(model, tmp_path / "cache", "--compile", path=str(tmp_path))
    assert (ran.returncode, ran.stdout) == (2, "")
    *_, line = ran.stderr.splitlines()  # before it perhaps that loading takes long
    assert line.startswith("maskkv: error: compile: expected a C++ compiler (g++), or leave it out (")
