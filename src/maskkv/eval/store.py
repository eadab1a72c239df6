"""The files of a folder: answers as JSON lines, appended as they come, and the records that are computed from them.

Each shard writes a file of its own, and all files of a folder are read together.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Generic, TypeVar

from maskkv import records
from maskkv.errors import InputError
from maskkv.eval import cells
from maskkv.json_lines import Record

Key = TypeVar("Key", bound=Hashable)
Known = TypeVar("Known")
Read = Callable[[Record], Iterable[tuple[Key, Known]]]
"""Read the answers of a line, each with its key; KeyError or TypeError if the line holds something else."""


class Answers(Generic[Key, Known]):
    """Hold answers in memory, each under a key that says everything that decides it."""

    def __init__(self, read: Read[Key, Known]) -> None:
        self.known: dict[Key, Known] = {}
        self._read = read

    def add(self, lines: Sequence[Record]) -> None:
        """Take in lines of answers."""
        for line in lines:
            self.known.update(self._read(line))


class Store(Answers[Key, Known], AbstractContextManager["Store[Key, Known]"]):
    """Keep one benchmark's answers and records in a folder, and other runs from writing to the same file.

    Answers go to `folder/BENCHMARK.answers.jsonl` (of shard i of n: `BENCHMARK.answers-i-of-n.jsonl`), records to
    `folder/BENCHMARK.jsonl`. All answers that the folder has are read once, when the store is opened.

    Raises:
        InputError: A file cannot be read or holds something else, or another run writes to this one's file.
    """

    def __init__(self, read: Read[Key, Known], folder: Path, benchmark: str, shard: tuple[int, int] = (1, 1)) -> None:
        super().__init__(read)
        self._records = folder / f"{benchmark}.jsonl"
        _checked(self._records, list(records.read(self._records)))  # refuse a foreign file before hours are spent
        part = "" if shard == (1, 1) else f"-{shard[0]}-of-{shard[1]}"
        self._journal = records.Journal(folder / f"{benchmark}.answers{part}.jsonl")
        try:
            for file in sorted(folder.glob(f"{benchmark}.answers*.jsonl")):
                self._take_in(file)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self._journal.__exit__()

    def add(self, lines: Sequence[Record]) -> None:
        """Append lines of answers; if the process ends meanwhile, a line that was cut off does not count."""
        self._journal.extend(lines)
        super().add(lines)

    def keep(self, found: Sequence[Record]) -> list[Record]:
        """Add records to those of the folder, in place of old ones of the same cells; return them with their retention.

        Raises:
            InputError: The file cannot be read or written, or it holds something else.
        """
        everything = records.update(self._records, lambda old: cells.merged(_checked(self._records, old), found))
        own = {cells.identity(record) for record in found}
        return [record for record in everything if cells.identity(record) in own]

    def _take_in(self, file: Path) -> None:
        try:
            super().add(list(records.read(file)))
        except (KeyError, TypeError) as error:
            raise InputError(f"{file} holds a line that is no line of answers ({error}): move it away") from None


def _checked(file: Path, old: list[Record]) -> list[Record]:
    for record in old:
        own, name = record.get("scores"), record.get("policy_name")
        if not isinstance(own, list) or not all(map(_is_score, own)) or not isinstance(name, str):
            raise InputError(f"{file} holds a line that is no record of scores: move it away")
    return old


def _is_score(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53  # NaN is not
