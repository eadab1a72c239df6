"""Records: what a measurement says of itself, one JSON object a line."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from maskkv.errors import InputError

_BLOCK = 1 << 16


def environment() -> dict[str, str | int | None]:
    """Describe where a figure was measured: library versions, processor, threads, commit."""
    import torch  # plots read records, and need no torch

    versions = {name: _version(name) for name in ("maskkv", "torch", "transformers", "tokenizers")}
    return {
        **versions,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "commit": _commit(),
    }


def prepare(folder: Path) -> None:
    """Make a folder for records; InputError, before anything is measured, if none can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write records to {folder}: {error.strerror or error}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"cannot write records to {folder}: no permission")


def append(file: Path, record: dict[str, object]) -> None:
    """Add one record at the end of a JSONL file, in place of a last line that was cut off while it was written."""
    extend(file, [record])


def extend(file: Path, added: Sequence[dict[str, object]]) -> None:
    """Add records at the end of a JSONL file, in place of a last line that was cut off while it was written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+b") as lines:
        lines.truncate(_whole_lines(lines))
        lines.write(b"".join(map(_line, added)))


def replace(file: Path, kept: Sequence[dict[str, object]]) -> None:
    """Write a JSONL file anew; whoever reads it meanwhile sees the old one or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    aside.write_bytes(b"".join(map(_line, kept)))
    aside.replace(file)


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


def _line(record: dict[str, object]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def _whole_lines(lines: BinaryIO) -> int:
    """Return how many bytes the file's whole lines take, looking at no more of it than it must."""
    end = lines.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK)
        lines.seek(start)
        last = lines.read(end - start).rfind(b"\n")
        if last >= 0:
            return start + last + 1
        end = start
    return 0


def _version(package: str) -> str | None:
    """Return an installed package's version; None where it is not installed, as maskkv itself in a bare tree."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of the source tree this runs from, with `+` if it was changed since; None outside of one."""
    here = Path(__file__).parent
    try:
        show = ["git", "-C", str(here), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
        return subprocess.run(show, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
