"""`python -m maskkv` is `maskkv`."""

import sys

from maskkv.cli import main

sys.exit(main())
