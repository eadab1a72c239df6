"""The records that a figure is made of: read, chosen, and looked into."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskkv import records
from maskkv.errors import InputError
from maskkv.json_lines import Record
from maskkv.printable import printable
from maskkv.renamed import SETTINGS, spelled_now

MISSING = object()
LARGEST = 1e100
"""What a number of a record is at most, so that none becomes infinite on its way into a picture."""

CHOICES = (
    *(
        "benchmark",
        "model",
        "fingerprint",
        "dtype",
        "kv_dtype",
        "rope_scale",
        "profile",
        "shape",
        "length",
        "depth",
        "settings",
    ),
    *("n", "first_seed", "seed", "schedule", "policy", "shared_prompt_pass", "device", "commit", "environment"),
)
"""The fields by which to choose between two records that are alike otherwise, those that matter most first."""


def load(path: Path) -> list[Record]:
    """Read the records of a JSONL file, or of all those in a folder and below but the single answers.

    Raises:
        InputError: There is nothing there, or a file is not one of JSON lines.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*.jsonl") if ".answers" not in file.name)
    if not path.exists():
        raise InputError(f"there is no {path}: expected a JSONL file, or a folder that holds some")
    if not files:
        raise InputError(f"{path} holds no records: expected JSONL files, as `maskkv eval` and `maskkv bench` write")
    return [record for file in files for record in records.read(file)]


def drawable(record: Record) -> Record:
    """Make a record's names fit to be drawn: fonts know no half characters, and `$` would begin a formula."""
    return {
        name: printable(value).replace("$", r"\$") if isinstance(value, str) else value
        for name, value in record.items()
    }


def where(records: Iterable[Record], conditions: Sequence[str]) -> list[Record]:
    """Keep the records that meet the conditions `FIELD=VALUE`; several about one field allow any of its values.

    A value is spelled as in JSON, text without quotes; `schedule.prompt_interval=50` looks into a field.
    """
    allowed: dict[str, set[str]] = {}
    for condition in conditions:
        name, equals, value = condition.partition("=")
        if not equals or not name:
            raise InputError(f"{condition!r} is no condition: expected FIELD=VALUE, as in length=1024")
        field, dot, inner = name.partition(".")
        now = f"schedule.{SETTINGS.get(inner, inner)}" if field + dot == "schedule." else name
        allowed.setdefault(now, set()).update((value, spelled_now(value)))
    return [
        record for record in records if all(_spelled(look_up(record, name)) in some for name, some in allowed.items())
    ]


def look_up(record: Record, name: str) -> object:
    """Return a field, or `MISSING`; a dot in the name looks into a field."""
    found: object = record
    for part in name.split("."):
        found = found.get(part, MISSING) if isinstance(found, dict) else MISSING
    return found


def having(records: Iterable[Record], fields: Sequence[str], what: str) -> list[Record]:
    """Return the records that have all these fields; InputError, naming what is looked for, if there are none."""
    found = [record for record in records if all(look_up(record, name) is not MISSING for name in fields)]
    if not found:
        raise InputError(f"no record here is {what} (they have the fields {', '.join(fields)})")
    return found


def observations(records: Iterable[Record]) -> list[Record]:
    """Return the observations of `maskkv eval observe`; InputError if there are none."""
    return having(records, ("mask", "prompt", "similarity", "preference"), "an observation of `maskkv eval observe`")


def subject(observations: Sequence[Record]) -> str:
    """Say what was observed: the model, the document or how many, and how long the prompts are."""
    first = observations[0]
    one = f"{first.get('task', 'unnamed task')} {first.get('number', '')}".strip()
    what = one if len(observations) == 1 else counted(observations)
    lengths = sorted({number(each, "prompt_length") for each in observations})
    shown = "–".join(f"{length:,.0f}" for length in dict.fromkeys((lengths[0], lengths[-1])))
    return f"{first.get('model', 'unnamed model')}, {what}, {shown} prompt tokens"


def counted(observations: Sequence[Record]) -> str:
    """Say how many documents were observed."""
    return f"{len(observations)} document{'s' if len(observations) > 1 else ''}"


def check_alike(records: Sequence[Record], fields: Sequence[str]) -> None:
    """Raise InputError, saying how to choose, if records that share a picture differ in one of the fields."""
    for name in fields:
        values = list(dict.fromkeys(_spelled(look_up(record, name)) for record in records))
        if len(values) > 1:
            inner = sorted({key for record in records for key in _keys(look_up(record, name))})
            check_alike(records, [f"{name}.{key}" for key in inner])
            some = ", ".join(values[:4]) + (", …" if len(values) > 4 else "")
            raise InputError(f"the records differ in {name} ({some}): choose with --where {name}={values[0]}")


def check_distinct(records: Sequence[Record], identity: Sequence[str]) -> None:
    """Raise InputError if two records agree in their identity, and so would be drawn on top of each other."""
    seen: dict[str, Record] = {}
    for record in records:
        key = json.dumps([_spelled(look_up(record, name)) for name in identity])
        if key in seen:
            check_alike([seen[key], record], CHOICES)
            which = ", ".join(f"{name} {_shown(look_up(record, name))}" for name in identity)
            raise InputError(f"there are two records of {which}: expected one")
        seen[key] = record


def number(record: Record, name: str) -> float:
    """Return a field that must be a finite number."""
    value = look_up(record, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise InputError(f"a record's field {name} is {_shown(value)}: expected a number")
    return float(value)


def positive(record: Record, name: str) -> float:
    """Return a field that must be a number above 0."""
    value = number(record, name)
    if value <= 0:
        raise InputError(f"a record's field {name} is {value:g}: expected a number above 0")
    return value


def whole(record: Record, name: str) -> int | None:
    """Return a field that must be an integer from 1 on, or null."""
    value = look_up(record, name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
        raise InputError(f"a record's field {name} is {_shown(value)}: expected an integer from 1 on, or null")
    return value


def text(record: Record, name: str) -> str:
    """Return a field that must be text."""
    value = look_up(record, name)
    if not isinstance(value, str):
        raise InputError(f"a record's field {name} is {_shown(value)}: expected text")
    return value


def grid(record: Record, name: str, axes: int) -> NDArray[np.float64]:
    """Return a field that must be numbers in lists nested `axes` deep, of equal lengths."""
    value = look_up(record, name)
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0)
    if array.ndim != axes or not array.size or not np.isfinite(array).all():
        raise InputError(f"a record's field {name} is {_shown(value)}: expected numbers in lists {axes} deep")
    return array


def _spelled(value: object) -> str:
    if value is MISSING:
        return "missing"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _keys(value: object) -> Iterable[str]:
    return value.keys() if isinstance(value, dict) else ()


def _shown(value: object) -> str:
    spelled = _spelled(value)
    return spelled if len(spelled) <= 40 else f"{spelled[:37]}..."
