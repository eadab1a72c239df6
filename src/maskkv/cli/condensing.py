"""A response on the terminal while it condenses out of the masks."""

from __future__ import annotations

import time
from itertools import groupby, takewhile
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console, Group
from rich.text import Text

from maskkv.printable import printable

if TYPE_CHECKING:
    from maskkv.decoding.engine import Step
    from maskkv.text.tokenizer import Text as Tokenizer

MASK = "░"
TRAILING = 64
"""Masks that are drawn behind the last token that can be guessed."""
STYLES = {"masked": "dim", "provisional": "dim italic", "committed": ""}


class Cell(NamedTuple):
    """A position of the response: its state, and the token unless it is masked."""

    state: str
    token: int | None = None


class Condensing:
    """Follow the canvas of one response, and draw it: masks, guesses dim, committed tokens plain."""

    def __init__(self, text: Tokenizer, gen_length: int) -> None:
        self._text = text
        self._canvas = [Cell("masked")] * gen_length
        self._steps = 0
        self._committed = 0
        self._start = time.perf_counter()

    def step(self, step: Step) -> None:
        """Take in what a step committed and what it was about to."""
        fallen = [cell if cell.state == "committed" else Cell("masked") for cell in self._canvas]
        for position, token, _ in step.proposals():
            fallen[position] = Cell("provisional", token)
        for position, token in zip(step.positions, step.tokens, strict=True):
            fallen[position] = Cell("committed", token)
        self._canvas = fallen
        self._steps = step.index + 1
        self._committed += len(step.positions)

    def certain(self) -> list[int]:
        """Return the committed tokens before the first mask."""
        begun = takewhile(lambda cell: cell.state == "committed", self._canvas)
        return [cell.token for cell in begun if cell.token is not None]

    def shown(self, console: Console) -> Group:
        """Draw the canvas, its last lines if it is longer than the terminal, and the state of affairs under it."""
        lines = self.canvas().wrap(console, console.width)
        return Group(*lines[-max(1, console.height - 3) :], Text(self.status(), style="dim", overflow="ellipsis"))

    def status(self) -> str:
        """Say how far the response is."""
        if not self._steps:
            return "reading the prompt · Ctrl-C stops"
        rate = self._committed / (time.perf_counter() - self._start)
        return (
            f"step {self._steps}, {self._committed} of {len(self._canvas)} tokens, {rate:.1f} tokens/s · Ctrl-C stops"
        )

    def canvas(self) -> Text:
        """Draw the canvas."""
        drawn = Text()
        known = max((place for place, cell in enumerate(self._canvas) if cell.token is not None), default=-1)
        before: int | None = None
        for state, cells in groupby(self._canvas[: known + 1 + TRAILING], key=lambda cell: cell.state):
            tokens = [cell.token for cell in cells]
            ids = [token for token in tokens if token is not None]
            said = printable(self._text.decode(ids)) if ids else MASK * len(tokens)
            # A gap belongs to the word behind it, or, if that is masked, to the word in front.
            edge = ids[0] if ids else before
            drawn.append(" " if drawn and edge is not None and self._stands_apart(edge) else "")
            drawn.append(said, STYLES[state])
            before = ids[-1] if ids else None
        return drawn

    def _stands_apart(self, token: int) -> bool:
        """Tell whether the tokenizer puts blanks between this token and others when it decodes several."""
        said = self._text.decode([token])
        return bool(said) and self._text.decode([token, token]) == f"{said} {said}"
