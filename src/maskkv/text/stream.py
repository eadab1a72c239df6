"""A response as text while it is still being made: what of it is certain, and where a stop string ends it.

The first stop string in a text is the one that begins first; of those that begin at one place it is the shortest. That
does not depend on the steps in which the text comes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from maskkv.text.tokenizer import Text, whole_characters


class Stream:
    """Turn a response that fills up in any order into text that, once given, stays as it is.

    It `ended` once an end token stands behind nothing but settled tokens, of which there are `settled`.
    """

    def __init__(self, text: Text, mask_id: int, eos_ids: Sequence[int] = ()) -> None:
        self.settled = 0
        self.ended = False
        self._text = text
        self._mask_id = mask_id
        self._eos_ids = frozenset(eos_ids)
        # The last tokens, with those before them: a decoder may write a token in another way where it is the first.
        self._window: list[int] = []
        self._older = 0
        self._known = 0
        self._lengths: list[int] = []

    def push(self, response: Sequence[int]) -> str:
        """Return what is certain by now and was not yet given, from the response's ids, masks included.

        That is the text before the first mask or end token, less a character of which only some bytes are there: only
        an end token says that no more of them will come.
        """
        fresh = []
        while not self.ended and self.settled < len(response) and response[self.settled] != self._mask_id:
            token = response[self.settled]
            fresh.append(self._finish() if token in self._eos_ids else self._take(token))
        return "".join(fresh)

    def tokens_until(self, end: int) -> int:
        """Return how many tokens it took until so many characters were certain."""
        return bisect_left(self._lengths, end) + 1

    def _take(self, token: int) -> str:
        self.settled += 1
        self._window.append(token)
        written = self._text.decode(self._window)
        sure = whole_characters(written)
        fresh = sure[self._known :]
        self._known += len(fresh)
        if fresh and sure == written:
            del self._window[: self._older]
            self._older = len(self._window)
            self._known = len(self._text.decode(self._window))
        self._lengths.append(len(fresh) + (self._lengths[-1] if self._lengths else 0))
        return fresh

    def _finish(self) -> str:
        self.ended = True
        fresh = self._text.decode(self._window)[self._known :]
        if fresh:
            self._lengths[-1] += len(fresh)
        return fresh


def first_stop(text: str, stops: Sequence[str], *, complete: bool = False) -> tuple[int, int] | None:
    """Return where the first of the strings begins and ends.

    None without one, and, unless the text is complete, while one that begins earlier may still come to an end.
    """
    found = [(start, start + len(stop)) for stop in stops if (start := text.find(stop)) >= 0]
    first = min(found, default=None)
    return first if first is None or complete or first[0] <= certain(text, stops) else None


def certain(text: str, stops: Sequence[str]) -> int:
    """Return the length of the text less what may be the beginning of one of the strings at its end."""
    beginnings = (stop[:size] for stop in stops for size in range(1, len(stop)))
    return len(text) - max((len(each) for each in beginnings if text.endswith(each)), default=0)
