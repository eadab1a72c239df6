"""What had another name in 0.1.0: records are read under today's, and old names work until 0.2.0.

Only what is maskkv's own was renamed: a parameter of your own policy may have any name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from maskkv.errors import InputError
from maskkv.json_lines import Record

SETTINGS = {"doubt": "min_confidence", "drift": "value_drift"}
"""Fields of a response's schedule: today's name by the old one."""
PARAMETERS = {"edge": "boundary_layers"}
"""Parameters of MaskKV's layer budget, likewise."""
RENAMED = SETTINGS | PARAMETERS

_LAYERS = "BoundaryAware("
_EDGE = re.compile(r"\bedge=")


def current(record: Record) -> Record:
    """Return a record under today's names: its schedule, and what it says of MaskKV's layer budget."""
    found = {name: _current(name, value) for name, value in record.items()}
    policy = record.get("policy")
    if isinstance(policy, str) and _LAYERS in policy:
        found |= {
            name: spelled_now(each) for name in ("policy", "policy_name") if isinstance(each := found.get(name), str)
        }
    return found


def spelled_now(policy: str) -> str:
    """Return a policy's spelling or `repr` with today's names of MaskKV's parameters.

    >>> spelled_now("maskkv(tally=max, edge=2)")
    'maskkv(tally=max, boundary_layers=2)'
    """
    return _EDGE.sub("boundary_layers=", policy)


def under_new_names(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return arguments under today's names.

    Raises:
        InputError: One is given under both names.
    """
    for old, new in names.items():
        if old in given and new in given:
            raise InputError(f"{old} and {new} are the same: give {new}")
    return {names.get(name, name): value for name, value in given.items()}


def hint(names: Iterable[str]) -> str:
    """Say what unknown names are called now; nothing where they never were names.

    >>> hint(["doubt"])
    'doubt is called min_confidence now; '
    """
    return "".join(f"{name} is called {RENAMED[name]} now; " for name in names if name in RENAMED)


def _current(name: str, value: Any) -> object:
    if name == "schedule" and isinstance(value, dict):
        return {SETTINGS.get(field, field): each for field, each in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [current(each) if isinstance(each, dict) else each for each in value]
    return value
