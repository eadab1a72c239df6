"""Policies by their spelling, `maskkv(tally=max, kernel=3)`: a policy's name, and what is changed in it."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from maskkv.checks import MOST, quoted
from maskkv.errors import InputError
from maskkv.eviction.budgets import UniformHeads, UniformLayers
from maskkv.eviction.policy import Policy
from maskkv.eviction.recall import BlockVote, Recall, check_evicted
from maskkv.eviction.scorers import Votes
from maskkv.policies import named, names
from maskkv.renamed import PARAMETERS, under_new_names

PARTS = ("scorer", "layer_budget", "head_budget", "recall")
UNIFORM = {"layer_budget": UniformLayers(), "head_budget": UniformHeads()}
"""The parts that can be taken from another policy, each with what `uniform` stands for."""

_WAITING = ("(evicted=host)", "(evicted=device)")
"""What ends the name of a policy whose evicted pairs come back, if nothing else was changed in it."""

_RECALLS: dict[str, type[Recall | BlockVote] | None] = {"drop": None, "host": Recall, "device": BlockVote}
"""How pairs come back, by what becomes of them when they are evicted."""

_CHANGED = re.compile(r"(?P<base>[^()]+)\((?P<changes>[^()]*)\)")
_OWN = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*)")


def _whole(text: str) -> int:
    number = int(text)
    if abs(number) > MOST:
        raise ValueError(f"{number} is too large")
    return number


_READERS: dict[str, tuple[Callable[[str], object], str]] = {
    "int": (_whole, f"a whole number up to {MOST}"),
    "float": (float, "a number"),
    "bool": ({"True": True, "False": False}.__getitem__, "True or False"),
    "str": (str, "text"),
}
"""How text becomes a value, by the name of a field's type, and what was expected if it does not."""

Read = Callable[["Field[Any]", Any], Any]
"""Make a field's value of what was given for it."""


def given(policy: str | Policy) -> Policy:
    """Return a policy, or the one that comes with maskkv so spelled; nothing is imported for anybody.

    Raises:
        InputError: It is neither.
    """
    if isinstance(policy, str):
        return named(policy) if ":" in policy else resolve(policy)
    if type(policy) is not Policy:
        raise InputError(f"policy {quoted(policy)}: expected a maskkv.Policy, or one of {', '.join(names())}")
    return policy


def resolve(spelling: str) -> Policy:
    """Return a policy by its name, or your own by `module:NAME`, from the current directory or installed.

    Changes may follow in parentheses, as in the names that `mix` gives: `maskkv(tally=max, kernel=3)`. Your module
    is imported, so its code runs: only for what the user at the keyboard typed, never for a request.

    Raises:
        InputError: There is no such policy, or it cannot be changed so.
    """
    changed = _CHANGED.fullmatch(spelling)
    if changed is not None:
        base, asked = resolve(changed["base"]), _changes(changed["changes"])
        old = {name: now for name, now in PARAMETERS.items() if name not in parameters(base)}
        return _mixed(base, under_new_names(asked, old), _from_text)
    return _imported(spelling) if ":" in spelling else named(spelling)


def mix(policy: Policy, /, **changes: object) -> Policy:
    """Set parameters of a policy by their names, and exchange its budgets; the new policy's name says what changed.

    Parameters are the fields of its parts, `revote`, and `evicted`: what becomes of evicted pairs, `drop`, `host` for a
    `Recall` and its parameters, or `device` for a `BlockVote` and its. `layer_budget` and `head_budget` are names of
    policies whose part is taken, or `uniform`; `voters` ranks by `Votes` where the scorer has no voters to set. None
    changes nothing. Every row of the paper's Tables 2, 7 and 8 is one such change.

    Raises:
        InputError: The policy evicts nothing, or has no parameter of that name, or the value is of no use.
    """
    return _mixed(policy, {name: value for name, value in changes.items() if value is not None}, _as_it_is)


def parameters(policy: Policy) -> dict[str, object]:
    """Return what `mix` can set by name, with the values that the policy has; nothing if it evicts nothing."""
    if not policy.can_evict:
        return {}
    parts = [getattr(policy, part) for part in PARTS]
    own = {name: getattr(part, name) for part in parts for name in _fields(part)}
    return own | {"revote": policy.revote, "evicted": policy.evicted}


def spelt(values: Mapping[str, object]) -> str:
    """Write values as `resolve` reads them: `tally=max, kernel=3`."""
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _mixed(policy: Policy, asked: Mapping[str, Any], read: Read) -> Policy:
    # What is done with evicted pairs already, also by policies that evict none, is no change.
    asked = {name: value for name, value in asked.items() if (name, value) != ("evicted", policy.evicted)}
    if not asked:
        return policy
    if asked == {"evicted": "drop"} and policy.name.endswith(_WAITING):
        return replace(policy, recall=None, name=policy.name[: policy.name.rindex("(")])
    if not policy.can_evict:
        raise InputError(f"policy {policy.name!r} evicts nothing: {spelt(asked)} needs a policy that does")
    mixed = policy
    for part, uniform in UNIFORM.items():
        if part in asked:
            taken: Any = uniform if asked[part] == "uniform" else getattr(named(str(asked[part])), part)
            mixed = replace(mixed, **{part: taken})
    if "voters" in asked and "voters" not in _fields(mixed.scorer):
        mixed = replace(mixed, scorer=Votes(asked["voters"]))
    if "evicted" in asked:
        kind = _RECALLS[check_evicted(asked["evicted"])]
        mixed = replace(mixed, recall=None if kind is None else kind())
    for name in asked:
        _check_settable(mixed, name, asked[name])
    for part in PARTS:
        whole = getattr(mixed, part)
        own = {name: read(field, asked[name]) for name, field in _fields(whole).items() if name in asked}
        if own:
            mixed = replace(mixed, **{part: replace(whole, **own)})
    if "revote" in asked:
        mixed = replace(mixed, revote=read(_fields(mixed)["revote"], asked["revote"]))
    said = {part: asked[part] for part in UNIFORM if part in asked}
    said |= {name: value for name, value in parameters(mixed).items() if name in asked}
    return replace(mixed, name=f"{policy.name}({spelt(said)})")


def _check_settable(policy: Policy, name: str, value: object) -> None:
    """Raise InputError unless exactly one part of a policy has a parameter of this name, or the policy itself."""
    if name in UNIFORM or name in ("revote", "evicted"):
        return
    if policy.recall is None and name in _fields(Recall()):
        raise InputError(f"{name}={value}: {policy.name!r} drops what it evicts; evicted=host lets pairs come back")
    having = [_words(part) for part in PARTS if name in _fields(getattr(policy, part))]
    if len(having) > 1:
        raise InputError(
            f"{name}={value}: the {' and the '.join(having)} of {policy.name!r} both have {name}; "
            "exchange one of them with dataclasses.replace"
        )
    if having:
        return
    for part in PARTS:
        others = [each for each in names() if name in _fields(getattr(named(each), part))]
        if others:
            raise InputError(
                f"{name}={value}: the {_words(part)} of {policy.name!r} is {getattr(policy, part)!r}, which has no "
                f"{name}; that of these has: {', '.join(others)}"
            )
    raise InputError(
        f"{name}={value}: policy {policy.name!r} has no {name}; it has {spelt(parameters(policy))}, and takes "
        f"{' and '.join(UNIFORM)} of another policy"
    )


def _changes(text: str) -> dict[str, str]:
    """Read `name=value, name=value`."""
    read: dict[str, str] = {}
    for each in text.split(","):
        name, _, value = (part.strip() for part in each.partition("="))
        if not name or not value:
            raise InputError(f"{each.strip()!r}: expected NAME=VALUE, as in maskkv(tally=max, kernel=3)")
        if name in read:
            raise InputError(f"{name}={read[name]} and {name}={value}: expected {name} once")
        read[name] = value
    return read


def _from_text(field: Field[Any], text: str) -> object:
    kind = getattr(field.type, "__name__", str(field.type))
    if kind not in _READERS:
        raise InputError(f"{field.name}={text}: no {kind} can be written here; set it with dataclasses.replace")
    reader, expected = _READERS[kind]
    try:
        return reader(text)
    except (ValueError, KeyError):
        raise InputError(f"{field.name}={text}: expected {expected}") from None


def _as_it_is(field: Field[Any], value: object) -> object:
    return value


def _imported(spelling: str) -> Policy:
    own = _OWN.fullmatch(spelling)
    if own is None:
        raise InputError(f"policy {spelling!r}: expected a name, or module:NAME as in my_policies:POLICY")
    # As `python -m` does; processes that are started later look there too.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(own["module"]), own["name"], None)
    except Exception as error:
        raise InputError(
            f"policy {spelling!r}: cannot import {own['module']} from the current directory or the installed packages "
            f"({type(error).__name__}: {error})"
        ) from error
    if type(found) is not Policy:
        raise InputError(f"policy {spelling!r}: {own['module']} has no maskkv.Policy called {own['name']}")
    return found


def _fields(part: Any) -> dict[str, Field[Any]]:
    """Return the fields of a part that can be set; a part that is no dataclass has none."""
    return {field.name: field for field in fields(part) if field.init} if is_dataclass(part) else {}


def _words(part: str) -> str:
    return part.replace("_", " ")
