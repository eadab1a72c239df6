"""LLaDA-8B's shape on a GPU, checked and timed in one call: `python -m maskkv.bench.gpu`."""
