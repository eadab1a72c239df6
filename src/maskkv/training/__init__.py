"""How the bundled dLLM was made, reproducible: `python -m maskkv.training.train --out DIR`."""
