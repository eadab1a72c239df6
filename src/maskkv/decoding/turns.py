"""Whose prompt is read in a step, where not everybody's can be."""

from __future__ import annotations

from collections.abc import Mapping

from maskkv.decoding.sequence import RunningSequence


class Turns:
    """Let at most `most` prompts be read in a step (None: any number), first come first read."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._waiting: list[int] = []
        """The sequences whose prompt is due, the longest waiting first."""

    def next(self, unfinished: Mapping[int, RunningSequence]) -> list[list[int]]:
        """Return the sequences whose prompt is read in this step, in groups that share a pass."""
        due = {number: each for number, each in unfinished.items() if each.reads_everything}
        queue = [number for number in self._waiting if number in due]
        queue += [number for number in due if number not in queue]
        turn: list[list[int]] = []
        self._waiting = []
        for number in queue:
            alike = next((own for own in turn if due[own[0]].reads_like(due[number])), None)
            if alike is not None:
                alike.append(number)
            elif self._most is None or len(turn) < self._most:
                turn.append([number])
            else:
                self._waiting.append(number)
        return turn
