"""Flags of dataclasses that know no command line: their help is a string beside a field's type."""

from __future__ import annotations

from dataclasses import MISSING, Field
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin

import typer


def option(field: Field[Any], hint: Any) -> Any:
    """Turn `Annotated[type, help]` or `Annotated[type, help, metavar]` into an option; leave other types alone."""
    kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if not notes or not isinstance(notes[0], str):
        return hint
    if isinstance(kind, UnionType):  # a flag has one type: the first of those that the field may have
        kind = get_args(kind)[0] | None if NoneType in get_args(kind) else get_args(kind)[0]
    metavar = notes[1] if len(notes) > 1 else None
    # Without its name typer would give every switch a second flag that turns it off.
    name = field.name.replace("_", "-")
    names = [] if kind is not bool else [f"--{name}/--no-{name}"] if field.default is True else [f"--{name}"]
    return Annotated[kind, typer.Option(*names, help=notes[0], metavar=metavar)]


def default(field: Field[Any]) -> Any:
    """Return a field's default, made where it has to be."""
    return field.default if field.default_factory is MISSING else field.default_factory()
