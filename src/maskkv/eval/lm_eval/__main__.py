"""The command line of lm-evaluation-harness with maskkv among its models: `python -m maskkv.eval.lm_eval run …`."""

import sys

from lm_eval.__main__ import cli_evaluate  # type: ignore[import-untyped]

import maskkv.eval.lm_eval.model  # noqa: F401  registers it
from maskkv.errors import MaskKVError

if __name__ == "__main__":
    try:
        cli_evaluate()
    except MaskKVError as error:
        sys.stderr.write(f"maskkv: error: {error}\n")
        sys.exit(2)
