"""maskkv runs from a working tree that nobody installed, with no library that only tests or evaluations need."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WITHOUT = '''
import importlib.metadata, sys

class Absent:
    """Find none of these, as if they were not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"rouge", "beartype"}:
            raise ModuleNotFoundError(f"no module named {name}", name=name)

def from_name(cls, name, known=importlib.metadata.Distribution.from_name):
    if name == "maskkv":
        raise importlib.metadata.PackageNotFoundError(name)
    return known(name)

sys.meta_path.insert(0, Absent())
importlib.metadata.Distribution.from_name = classmethod(from_name)
'''


def bare(code: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + code],
        env={**kept, "PYTHONPATH": str(ROOT / "src")}, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip


def test_an_engine_answers_and_says_its_version() -> None:
    ran = bare(
        "import maskkv\n"
        "print(maskkv.__version__, maskkv.load(budget=8).generate('ernst holds what ?', gen_length=8).steps)"
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split()[0] == "0+tree"


def test_the_gpu_script_runs(tmp_path: Path) -> None:
    """It is what is copied to a card, and nothing can be installed there."""
    file = tmp_path / "gpu.jsonl"
    toy = ["--device", "cpu", "--shape", "tiny", "--unit", "2", "--only", "card", "--json-out", str(file)]
    ran = bare(f"from maskkv.bench.gpu import __main__ as gpu\nraise SystemExit(gpu.main({toy!r}))")
    assert ran.returncode == 0, ran.stderr
    assert '"maskkv": null' in file.read_text()
