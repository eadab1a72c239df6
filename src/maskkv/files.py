"""Read files from elsewhere, of which nothing is known: not even that they end."""

from __future__ import annotations

import stat
from pathlib import Path

MOST_BYTES = 100 * 2**20
"""What is read whole: several times the largest published tokenizer."""


def require_file(path: Path) -> None:
    """Refuse what is no regular file, such as a pipe that never ends.

    Raises:
        OSError: it is something else, or not there (FileNotFoundError).
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is no regular file")


def read_text(path: Path) -> str:
    """Return the text of a regular UTF-8 file.

    Raises:
        OSError: it is no such file, is not there (FileNotFoundError), or is too large.
        UnicodeDecodeError: it is not UTF-8.
    """
    require_file(path)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise OSError(f"it has {size:,} bytes; supported: at most {MOST_BYTES:,}")
    return path.read_text(encoding="utf-8")
