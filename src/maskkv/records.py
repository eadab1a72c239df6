"""Records: what a measurement says of itself, one JSON object a line."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from maskkv.errors import InputError
from maskkv.json_lines import Record, is_cut_off, parse, spell
from maskkv.renamed import current

PATIENCE_S = 10.0
"""How long a short piece of writing waits for another one."""

_POLL_S = 0.05
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


def prepare_file(file: Path) -> None:
    """Make room for a file of records; InputError, before anything is measured, if none can be added to it."""
    if file.is_dir():
        raise InputError(f"cannot write records to {file}: this is a folder, expected a file")
    prepare(file.parent)
    with Journal(file, PATIENCE_S):
        pass


class Journal:
    """Add to a JSONL file that nobody else adds to meanwhile; the hold ends with the process, however it ends.

    Another one that writes is waited for `patience_s`. A new file that gets no record is not left behind.

    Raises:
        InputError: Another one still writes, the file cannot be written, or it ends in what is neither a record nor
            the beginning of one.
    """

    def __init__(self, file: Path, patience_s: float = 0.0) -> None:
        self._file = file
        self._patience_s = patience_s
        with _one_line(f"cannot write {file}"):
            self._new = not file.exists()
            self._lines = self._opened()
            try:
                self._end()
            except BaseException:
                self._lines.close()
                raise

    def __str__(self) -> str:
        return str(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._new and _has_name(self._lines, self._file) and not self._lines.seek(0, os.SEEK_END):
            self._file.unlink()
        self._lines.close()

    def read(self) -> Iterator[Record]:
        """Yield what the file has, as `read` does."""
        return read(self._file)

    def extend(self, added: Sequence[Record]) -> None:
        """Add records at the end, all or none of them, in place of a last line that was cut off while it was written.

        Raises:
            InputError: They cannot be written.
        """
        with _one_line(f"cannot write {self._file}"):
            if not _has_name(self._lines, self._file):  # it was moved away, or saved anew by an editor
                self._lines.close()
                self._lines = self._opened()
            end, joint = self._end()
            self._lines.truncate(end)
            rest = memoryview(joint + b"".join(map(spell, added)))
            try:
                while rest:
                    rest = rest[self._lines.write(rest) :]
            except OSError:
                self._lines.truncate(end)
                raise

    def _opened(self) -> FileIO:
        """Open the file, make it if there is none, and wait until nobody else holds it."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + self._patience_s
        while True:
            lines = self._file.open("a+b", buffering=0)
            if not stat.S_ISREG(os.fstat(lines.fileno()).st_mode):
                lines.close()
                raise InputError(f"cannot write {self._file}: it is no regular file")
            held = _hold(lines)
            if held and _has_name(lines, self._file):
                return lines
            lines.close()
            if time.monotonic() >= until and not held:
                raise InputError(f"another run writes to {self._file}: wait until it has ended, or write elsewhere")
            time.sleep(_POLL_S)

    def _end(self) -> tuple[int, bytes]:
        """Return how many bytes the records take, and what goes between them and the next one."""
        start = _whole_lines(self._lines)
        self._lines.seek(start)
        last = self._lines.read()
        if is_cut_off(last):
            return start, b""
        try:
            parse(last)
        except ValueError as error:
            raise InputError(f"{self._file}, last line: {error}; expected one a line") from None
        return start + len(last), b"\n"


def append(file: Path, record: Record) -> None:
    """Add one record at the end of a JSONL file, in place of a last line that was cut off while it was written."""
    with Journal(file, PATIENCE_S) as journal:
        journal.extend([record])


def update(file: Path, change: Callable[[list[Record]], list[Record]]) -> list[Record]:
    """Change the records of a JSONL file and return them; whoever reads it meanwhile sees the old or the new ones."""
    with Journal(file, PATIENCE_S) as journal:
        old = list(journal.read())
        kept = change(old)
        if kept != old:
            _replace(file, b"".join(map(spell, kept)))
    return kept


def read(file: Path) -> Iterator[Record]:
    """Yield the records of a JSONL file, under today's names; none if there is no such file.

    A last line that was cut off while it was written is left out; one that lacks only its newline is a record.

    Raises:
        InputError: The file cannot be read, or another line is malformed.
    """
    with _one_line(f"cannot read {file}"):
        try:
            lines = file.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
    for number, line in enumerate(lines, start=1):
        if not line.strip() or (number == len(lines) and is_cut_off(line)):
            continue
        try:
            record = parse(line)
        except ValueError as error:
            raise InputError(f"{file}, line {number}: {error}; expected one a line") from None
        yield current(record)


def _replace(file: Path, content: bytes) -> None:
    file = file.resolve()  # a link stays one
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    with _one_line(f"cannot write {file}"):
        try:
            aside.write_bytes(content)
            shutil.copymode(file, aside)
            aside.replace(file)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def _hold(lines: FileIO) -> bool:
    """Keep other writers out until the file is closed; False if one keeps us out."""
    if sys.platform == "win32":  # there a hold would keep readers out too
        return True
    import fcntl

    try:
        fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system that knows no holds
        return True
    return True


def _has_name(lines: FileIO, file: Path) -> bool:
    """Tell whether an open file still is the one of that name."""
    try:
        return os.path.samestat(os.fstat(lines.fileno()), file.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turn what the system says into an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{what}: {error.strerror or error}") from None


def _whole_lines(lines: FileIO) -> int:
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
