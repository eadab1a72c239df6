"""The bundled dLLM and the benchmark that it is measured on."""

from importlib import resources
from pathlib import Path

from maskkv.mini.tasks import CATALOGUE, FIRST_TRAINING_SEED, TASKS, Sample, sample, score

__all__ = ["CATALOGUE", "FIRST_TRAINING_SEED", "TASKS", "Sample", "folder", "sample", "score"]


def folder() -> Path:
    """Return the folder of the bundled checkpoint: LLaDA's published layout, like any other."""
    return Path(str(resources.files("maskkv.mini") / "weights"))
