"""Documents that a user hands over: files or standard input, UTF-8."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from maskkv.cli import streams, terminal
from maskkv.errors import InputError

STDIN = "-"
LONG = 100_000
"""Characters from which on a text may keep its user waiting."""

T = TypeVar("T")


def read(source: str) -> str:
    """Return the text of a file, or of standard input for `-`.

    Raises:
        InputError: The file cannot be read or is not UTF-8.
    """
    name = "standard input" if source == STDIN else source
    try:
        raw = sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
    except IsADirectoryError:
        raise InputError(f"{Path(source)} is a folder: expected a text file") from None
    except FileNotFoundError:
        raise InputError(f"there is no file {source}: expected a text file, or - for standard input") from None
    except (OSError, ValueError) as error:
        reason = streams.reason(error) if isinstance(error, OSError) else error
        raise InputError(f"cannot read {name}: {reason}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        raise InputError(
            f"{name} is not UTF-8 text (byte 0x{byte:02x} at offset {error.start}): save it as UTF-8"
        ) from None


def encoded(text: str, encode: Callable[[str], Sequence[T]]) -> Sequence[T]:
    """Encode a text; of a long one, say so before, and how many tokens it has: nothing else may be said for minutes."""
    if len(text) < LONG:
        return encode(text)
    terminal.note(f"counting the tokens of {len(text):,} characters")
    tokens = encode(text)
    terminal.note(f"reading {len(tokens):,} tokens")
    return tokens


@dataclass(frozen=True)
class PromptFlags:
    """Say what is asked: a text, or a document and perhaps a question about it."""

    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="The prompt; - reads standard input.")] = None
    file: Annotated[str | None, typer.Option(metavar="DOC", help="Read the prompt from a UTF-8 file.")] = None
    question: Annotated[str | None, typer.Option(metavar="TEXT", help="Put this behind the text or document.")] = None
    raw: Annotated[bool, typer.Option("--raw", help="Give the prompt as it stands, without the chat template.")] = False

    def prompt(self) -> str:
        """Return the prompt; document and question are separated by an empty line.

        Raises:
            InputError: Nothing was given, or both a text and a file, or a document without a word.
        """
        if self.text is not None and self.file is not None:
            raise InputError("both TEXT and --file are given: a question about the file goes into --question")
        source = STDIN if self.text == STDIN else self.file
        if self.text is None and source is None:
            raise InputError("there is no prompt: give TEXT, --file DOC, or - for standard input")
        document = (self.text or "") if source is None else read(source)
        if not document.strip():
            raise InputError("the prompt is empty: expected at least one word")
        return document if self.question is None else f"{document.rstrip()}\n\n{self.question}"
