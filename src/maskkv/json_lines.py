"""One record as a line of JSON, and what a line that is none looks like."""

from __future__ import annotations

import codecs
import json
import math

Record = dict[str, object]

DEEPEST = 64
"""Levels of lists and objects in a record; more make a parser, or whoever looks through them, give up."""


def parse(line: bytes) -> Record:
    """Return a line's record; ValueError, saying what the line is, if it holds none."""
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError:
        raise ValueError("not UTF-8, and so not a JSON object") from None
    except (ValueError, RecursionError):
        raise ValueError("not a JSON object") from None
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    inner: list[object] = [record]
    for _ in range(DEEPEST):
        inner = [each for outer in inner for each in _children(outer)]
    if inner:
        raise ValueError(f"a JSON object of more than {DEEPEST} levels")
    return record


def is_cut_off(last: bytes) -> bool:
    """Tell whether a file's last line, which has no newline, is nothing or only the beginning of a record.

    A record with more behind it is neither.
    """
    if not last.strip():
        return True
    if not last.startswith(b"{"):
        return False
    try:
        # A character may be cut in half, at the end.
        json.JSONDecoder().raw_decode(codecs.getincrementaldecoder("utf-8")().decode(last))
    except (UnicodeDecodeError, RecursionError):
        return False
    except ValueError:
        return True
    return False


def spell(record: Record) -> bytes:
    """Return a record's line; what JSON has no word for, NaN and infinities, becomes null."""
    try:
        spelled = json.dumps(record, ensure_ascii=False, allow_nan=False)
    except ValueError:
        spelled = json.dumps(_finite(record), ensure_ascii=False)
    # Names of files may hold half surrogate pairs; what replaces them is how JSON escapes them.
    return spelled.encode(errors="backslashreplace") + b"\n"


def _children(outer: object) -> list[object]:
    within = outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ()
    return [each for each in within if isinstance(each, dict | list)]


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
