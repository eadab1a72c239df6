"""Who fails, when something that is done for many sequences at once fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from traceback import clear_frames
from typing import TypeVar

from maskkv.ops.ranks import ALONE, Ranks, unbroken

Found = TypeVar("Found")


@dataclass(frozen=True)
class Blame:
    """Do what may fail, for many sequences at once or for one after the other, and note who failed alone.

    The other processes of a model that is split (`ranks`) know nothing of what fails in this one only, and are let go.
    """

    ranks: Ranks = ALONE
    failed: dict[int, Exception] = field(default_factory=dict)

    def together(
        self,
        numbers: Sequence[int],
        do: Callable[[Sequence[int]], Sequence[Found]],
        again: Callable[[int], Found] | None = None,
    ) -> dict[int, Found]:
        """Return what came of it for each sequence; if that fails, for each that does not fail alone.

        `again` does it for one of them after that. Without, `do` does, and what was for one only is not done twice.
        """
        if not numbers:
            return {}
        alone = again or (lambda number: do([number])[0])
        if again is None and len(numbers) == 1:
            return self.apart(numbers, alone)
        try:
            with unbroken(self.ranks):
                return dict(zip(numbers, do(numbers), strict=True))
        except Exception as error:
            let_go(error)
        return self.apart(numbers, alone)

    def apart(self, numbers: Sequence[int], do: Callable[[int], Found]) -> dict[int, Found]:
        """Return what came of it for each sequence that does not fail."""
        found: dict[int, Found] = {}
        for number in numbers:
            try:
                with unbroken(self.ranks):
                    found[number] = do(number)
            except Exception as error:
                let_go(error)
                self.failed[number] = error
        return found


def let_go(error: BaseException | None) -> None:
    """Release what the calls that failed held, and those that they were made in as far as these have ended.

    Memory may be just what was missing, and whoever is told of an error may keep it.
    """
    while error is not None:
        trace = error.__traceback__
        clear_frames(trace)
        caller = None if trace is None else trace.tb_frame.f_back
        with suppress(RuntimeError):  # what is still running keeps what it has
            while caller is not None:
                caller.clear()
                caller = caller.f_back
        error = error.__context__
