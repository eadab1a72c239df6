"""Records: what a measurement says of itself, one JSON object a line."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

from maskkv.errors import InputError


def environment() -> dict[str, str | int | None]:
    """Describe where a figure was measured: library versions, processor, threads, commit."""
    import torch  # plots read records, and need no torch

    versions = {name: importlib.metadata.version(name) for name in ("maskkv", "torch", "transformers", "tokenizers")}
    return {
        **versions,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "commit": _commit(),
    }


def append(file: Path, record: dict[str, object]) -> None:
    """Add one record at the end of a JSONL file, in place of a last line that was cut off while it was written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
    with file.open("a+b") as lines:
        lines.seek(0)
        lines.truncate(lines.read().rfind(b"\n") + 1)
        lines.write(line)


def read(file: Path) -> Iterator[dict[str, object]]:
    """Yield the records of a JSONL file; none if there is no such file.

    A last line that was cut off while it was written is left out; any other malformed line raises InputError.
    """
    if not file.exists():
        return
    lines = file.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            record = json.loads(line)
        except ValueError:
            if number == len(lines):
                return
            raise InputError(f"{file}, line {number}: not a JSON object") from None
        if not isinstance(record, dict):
            raise InputError(f"{file}, line {number}: not a JSON object")
        yield record


def _commit() -> str | None:
    """Return the commit of the source tree this runs from, with `+` if it was changed since; None outside of one."""
    here = Path(__file__).parent
    try:
        show = ["git", "-C", str(here), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
        return subprocess.run(show, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
