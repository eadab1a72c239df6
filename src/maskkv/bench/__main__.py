"""`python -m maskkv.bench`, which is `maskkv bench`."""

import sys

from maskkv.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
