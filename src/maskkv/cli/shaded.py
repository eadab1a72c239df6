"""An inspection on the terminal: the prompt shaded, or with marks under it where there is no colour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import nlargest
from math import ceil, sqrt
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.filesize import decimal
from rich.style import Style
from rich.text import Text

from maskkv.cli import terminal
from maskkv.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from maskkv.lens import Film, Inspection, Run

MARKS = " .:-=+*#%@"
"""Marks for terminals without colour, from kept by no segment to kept by all."""
SHADES = (0, 52, 88, 94, 130, 136, 172, 178, 214, 220)
"""The same as background colours, from dark to light, of the 256."""
RECALLS_SHOWN = 3
"""Tokens told of a step."""


def show(seen: Inspection, layer: int | None, head: int | None) -> Iterator[RenderableType]:
    """Yield what is printed, from top to bottom; `layer` and `head` restrict what is counted to some segments."""
    segments = [
        positions
        for number, heads in enumerate(seen.kept)
        for own, positions in enumerate(heads)
        if _shown((number, own), layer, head)
    ]
    held = [0] * len(seen.tokens)
    for positions in segments:
        for position in positions:
            held[position] += 1
    for live in range(seen.evictable, len(held)):
        held[live] = len(segments)
    yield Prompt([printable(token.text) for token in seen.tokens], held, len(segments))
    yield f"\npairs kept of {seen.evictable:,} (part of the masks' attention that goes to the prompt)"
    yield _segments(seen)
    if seen.film is not None:
        yield "\npairs that came back: token ×segments ← the row of the response that asked"
        yield _recalls(seen, seen.film, layer, head)
    yield "\nbeside the full cache"
    yield _answers(seen)
    yield _difference(seen)


class Prompt:
    """Print a prompt, each token shaded by how many of the segments keep it."""

    def __init__(self, texts: list[str], held: list[int], segments: int) -> None:
        self._letters = [letter for text, count in zip(texts, held, strict=True) for letter in _letters(text, count)]
        self._segments = segments

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Yield the legend and the lines."""
        coloured = console.color_system is not None and not console.no_color
        what = "this segment" if self._segments == 1 else f"all {self._segments} (layer, KV head) segments"
        yield Text.assemble("kept by none ", *_scale(coloured), f" by {what}\n")
        for line in self._lines(max(1, options.max_width)):
            if coloured:
                yield Text.assemble(*((letter, _shade(self._level(count))) for letter, count in line), no_wrap=True)
                continue
            yield Text("".join(letter for letter, _ in line), no_wrap=True)
            marks = "".join(MARKS[self._level(count)] * cell_len(letter) for letter, count in line)
            if marks.strip():
                yield Text(marks.rstrip(), no_wrap=True)

    def _level(self, count: int) -> int:
        """Return the index of a shade. It grows with the root of the share: most tokens are kept by few segments."""
        return ceil((len(MARKS) - 1) * sqrt(count / self._segments))

    def _lines(self, width: int) -> Iterator[list[tuple[str, int]]]:
        """Break lines where the prompt does, and where one is too wide, after its last blank."""
        line: list[tuple[str, int]] = []
        cells = 0
        for letter, count in self._letters:
            if letter == "\n":
                yield line
                line, cells = [], 0
                continue
            line.append((letter, count))
            cells += cell_len(letter)
            if cells > width:
                blanks = [index for index, (each, _) in enumerate(line[:-1]) if each == " "]
                cut = blanks[-1] + 1 if blanks else len(line) - 1
                yield line[:cut]
                line = line[cut:]
                cells = sum(cell_len(each) for each, _ in line)
        yield line


def _letters(text: str, count: int) -> Iterator[tuple[str, int]]:
    """Yield each letter of a token with the token's count; the blanks before a word get 0, so they are not shaded."""
    blanks = len(text) - len(text.lstrip() or text)
    for index, letter in enumerate(text):
        yield letter, count if index >= blanks else 0


def _shade(level: int) -> Style:
    if level == 0:
        return Style(dim=True)
    return Style(bgcolor=f"color({SHADES[level]})", color="black" if level > 4 else "bright_white")


def _scale(coloured: bool) -> Iterator[tuple[str, Style]]:
    for level, mark in enumerate(MARKS):
        yield (" ", _shade(level)) if coloured else (mark, Style())


def _segments(seen: Inspection) -> Table:
    heads = range(len(seen.kept[0]))
    table = terminal.table("layer", *(f"head {head}" for head in heads))
    for number, (kept, preferences) in enumerate(zip(seen.kept, seen.sweep.preference, strict=True)):
        cells = zip(kept, preferences, strict=True)
        table.add_row(str(number), *(f"{len(own):,} ({preference:.1%})" for own, preference in cells))
    return table


def _recalls(seen: Inspection, film: Film, layer: int | None, head: int | None) -> Table:
    """Say of each step what it decided, and which tokens came back to most segments, and which row mostly asked."""
    table = terminal.table("step", "decided", "pairs", "most often")
    decided: dict[int, str] = {}
    said = {place: text for frame in film.frames for place, text in zip(frame.positions, frame.pieces, strict=True)}
    for number, frame in enumerate(film.frames, 1):
        if frame.refresh == "prompt":
            pairs, tokens = "", "the prompt is read, and the policy votes"
        else:
            asked: dict[int, Counter[int]] = {}
            for pair, row in zip(frame.came, frame.asked_by, strict=True):
                if _shown(pair, layer, head):
                    asked.setdefault(pair[2], Counter())[row] += 1
            pairs = f"{sum(rows.total() for rows in asked.values()):,}"
            most = nlargest(RECALLS_SHOWN, asked, key=lambda position: (asked[position].total(), -position))
            tokens = ", ".join(
                f"“{seen.tokens[position].text.strip()}” ×{asked[position].total()} ← "
                f"{_row(asked[position].most_common(1)[0][0], decided, said)}"
                for position in most
            )
        table.add_row(str(number), printable(" ".join(text.strip() for text in frame.pieces)), pairs, printable(tokens))
        decided |= zip(frame.positions, frame.pieces, strict=True)
    return table


def _row(position: int, decided: dict[int, str], said: dict[int, str]) -> str:
    """Name a live row by its place in the response and its token; a mask also by what it became."""
    if position < 0:
        return "the prompt's last row"
    if position in decided:
        return f"{position} “{decided[position].strip()}”"
    return f"{position} mask" + (f" (later “{said[position].strip()}”)" if position in said else "")


def _shown(pair: Sequence[int], layer: int | None, head: int | None) -> bool:
    """Tell whether a pair, or a segment, is among those to be counted."""
    return layer in (None, pair[0]) and head in (None, pair[1])


def _answers(seen: Inspection) -> Table:
    table = terminal.table("policy", "answer", "time", "tokens/s", "cache")
    for run in (seen.evicted, seen.full):
        table.add_row(
            _name(run),
            printable(run.text),
            f"{run.latency_s:.2f} s",
            f"{run.tokens_per_s:.1f}",
            decimal(run.cache_bytes),
        )
    return table


def _name(run: Run) -> str:
    return run.policy if run.budget is None else f"{run.policy} {run.budget}"


def _difference(seen: Inspection) -> str:
    longest = max(len(seen.evicted.said), len(seen.full.said))
    if not seen.differing:
        return "Both give the same answer."
    return f"The answers differ in {len(seen.differing)} of {longest} tokens."
