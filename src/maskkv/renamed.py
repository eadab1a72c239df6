"""What had another name up to version 0.1: records are read under today's, and old flags work for one release more."""

from __future__ import annotations

import re
from typing import Any

from maskkv.json_lines import Record

RENAMED = {"doubt": "min_confidence", "drift": "value_drift", "edge": "boundary_layers"}
"""Today's name by the old one."""

_PARAMETER = re.compile(rf"\b({'|'.join(RENAMED)})=")


def current(record: Record) -> Record:
    """Return a record under today's names, also in what it says of its policies."""
    return {RENAMED.get(name, name): _current(name, value) for name, value in record.items()}


def spelled_now(policy: str) -> str:
    """Return a policy's spelling or `repr` with today's names of its parameters.

    >>> spelled_now("maskkv(tally=max, edge=2)")
    'maskkv(tally=max, boundary_layers=2)'
    """
    return _PARAMETER.sub(lambda found: f"{RENAMED[found[1]]}=", policy)


def _current(name: str, value: Any) -> object:
    if isinstance(value, dict):
        return current(value)
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [current(each) if isinstance(each, dict) else each for each in value]
    return spelled_now(value) if name in ("policy", "policy_name") and isinstance(value, str) else value
