"""Text that nobody vouches for, made fit to be read: names of files, documents, what a model says."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Replace what could steer a terminal, or change the order of what is read, by U+FFFD; a tab by a blank.

    Bytes of a file's name that are not UTF-8, which Python holds as half surrogate pairs, are replaced too.
    """
    return "".join(
        letter if letter == "\n" or unicodedata.category(letter)[0] != "C" else "\ufffd"
        for letter in text.replace("\r\n", "\n").replace("\t", " ")
    )


def brief(text: object, most: int = 200) -> str:
    """Return a stranger's text as a part of one line: nothing that cannot be printed, and not too much."""
    said = str(text)[: most + 1]
    said = said if said.isprintable() else repr(said)[1:-1]
    return said if len(said) <= most else said[: most - 3] + "..."
