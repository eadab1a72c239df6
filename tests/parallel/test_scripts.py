"""What a script sees that splits a model: from a file, from a pipe, and with Ctrl-C as the system handles it."""

import signal
import subprocess
import sys
from pathlib import Path

LOADS = """
import maskkv
from maskkv.mini import sample
llm = maskkv.load(tensor_parallel=3, dtype="float32")
"""
ANSWERS = """
print(llm.generate(sample("multi-key", 120, 3).content, gen_length=8, steps=8).text)
llm.close()
"""
OWN_POLICY = """
from dataclasses import dataclass, replace
from maskkv.mixing import resolve

@dataclass(frozen=True)
class Own:
    def __call__(self, view):
        return view.key_lengths()

try:
    llm.generate("iris", gen_length=8, policy=replace(resolve("mask-voting"), name="own", scorer=Own()), raw=True)
except maskkv.MaskKVError as error:
    print(type(error).__name__, error)
"""
INTERRUPTED = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
for step in llm.stream(sample("multi-key", 120, 3).content, gen_length=8):
    with llm.model.ranks.mirrored("model")("logits", [1, 2], 1.0):
        os.kill(os.getpid(), signal.SIGINT)
        llm.model.ranks.end()
print("still here")
"""


def _run(*script: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *script], input=stdin, capture_output=True, text=True, timeout=120)


def test_a_script_without_a_guard_is_told_so_in_one_line(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(LOADS, "utf-8")
    done = _run(script)
    assert done.returncode == 1
    *_, told = done.stderr.splitlines()
    assert 'if __name__ == "__main__":' in told
    assert done.stderr.count("Traceback") == 1, "the other processes print none of their own"


def test_a_script_from_a_pipe_needs_no_file() -> None:
    done = _run("-", stdin=LOADS + ANSWERS)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


def test_a_policy_that_no_file_holds_is_one_clear_error() -> None:
    done = _run("-", stdin=LOADS + OWN_POLICY)
    assert done.returncode == 0
    assert done.stdout.startswith("DeviceLostError")
    assert "'Own'" in done.stdout
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_a_script_that_leaves_it_to_the_system() -> None:
    done = _run("-", stdin=LOADS + INTERRUPTED)
    assert done.returncode == -signal.SIGINT
    assert "still here" not in done.stdout
