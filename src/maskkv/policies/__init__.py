"""Eviction policies, one file per policy; the file's name is the policy's name."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack, cast

from maskkv.checks import quoted
from maskkv.errors import InputError
from maskkv.eviction.budgets import UniformHeads, UniformLayers
from maskkv.eviction.policy import Policy
from maskkv.eviction.scorers import Votes
from maskkv.renamed import spelled_now


def names() -> list[str]:
    """List the policies that come with maskkv."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def named(name: str) -> Policy:
    """Return the policy of that name."""
    if name not in names():
        raise InputError(f"unknown policy {quoted(name)}: expected one of {', '.join(names())}")
    policy: Policy = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").POLICY
    return policy


def given(policy: str | Policy) -> Policy:
    """Return a policy that a caller gave, itself or by the name of one that comes with maskkv."""
    if isinstance(policy, str):
        return named(policy)
    if type(policy) is not Policy:
        raise InputError(f"policy {quoted(policy)}: expected a maskkv.Policy, or one of {', '.join(names())}")
    return policy


SPELLING = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*)")


MIXED = re.compile(r"(?P<base>[^()]+)\((?P<changes>[^()]*)\)")


def resolve(spelling: str) -> Policy:
    """Return a policy by its name, or a user's own by `module:NAME`, from the current directory or installed.

    Either may be followed by changes in parentheses, as in the names that `mix` gives: `maskkv(tally=max, kernel=3)`.
    The module is imported, so its code runs: only for spellings of the user at the keyboard, never of a request.
    """
    mixed = MIXED.fullmatch(spelling)
    if mixed is not None:
        return mix(resolve(mixed["base"]), **_changes(spelled_now(mixed["changes"])))
    if ":" not in spelling:
        return named(spelling)
    spelt = SPELLING.fullmatch(spelling)
    if spelt is None:
        raise InputError(f"policy {spelling!r}: expected a name, or module:NAME as in my_policies:POLICY")
    module, name = spelt["module"], spelt["name"]
    # As `python -m` does; processes that are started later look there too.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:
        raise InputError(
            f"policy {spelling!r}: cannot import {module} from the current directory or the installed packages "
            f"({type(error).__name__}: {error})"
        ) from error
    if type(found) is not Policy:
        raise InputError(f"policy {spelling!r}: {module} has no maskkv.Policy called {name}")
    return found


class Changes(TypedDict, total=False):
    """What can be exchanged in a policy; None changes nothing.

    `layer_budget` and `head_budget` are names of policies whose part is taken, or `uniform`; `voters` makes votes the
    scorer. The others are parameters of the parts, by their own names.
    """

    layer_budget: str | None
    head_budget: str | None
    voters: str | None
    tally: str | None
    value_weighted: bool | None
    pooled: bool | None
    kernel: int | None
    protect_window: bool | None
    layer_base: float | None
    boundary_layers: int | None
    head_base: float | None
    revote: bool | None


PARAMETERS = {
    "tally": "scorer",
    "value_weighted": "scorer",
    "pooled": "scorer",
    "kernel": "scorer",
    "protect_window": "scorer",
    "layer_base": "layer_budget",
    "boundary_layers": "layer_budget",
    "head_base": "head_budget",
}
"""The part of a policy that a parameter belongs to."""


def mix(policy: Policy, **changes: Unpack[Changes]) -> Policy:
    """Exchange parts of a policy: budgets for those of another policy (or `uniform`), scores for votes, parameters.

    Every row of the paper's Tables 2, 7 and 8 is one such exchange. The new policy's name says what was exchanged.

    Raises:
        InputError: The policy evicts nothing, a name is unknown, or no part has a parameter of that name.
    """
    asked = {name: changes.get(name) for name in Changes.__annotations__ if changes.get(name) is not None}
    if not asked:
        return policy
    said = ", ".join(f"{name}={value}" for name, value in asked.items())
    if policy.scorer is None:
        raise InputError(f"policy {policy.name!r} evicts nothing: {said} needs a policy that does")
    mixed = _with_parts(policy, **changes)
    for name, value in asked.items():
        if name in PARAMETERS:
            mixed = _with_parameter(mixed, name, value)
    return replace(mixed, name=f"{policy.name}({said})")


def _changes(text: str) -> Changes:
    """Read `name=value, name=value`."""
    read: Any = {}
    for each in text.split(","):
        name, _, value = (part.strip() for part in each.partition("="))
        if name not in Changes.__annotations__:
            raise InputError(f"{each.strip()!r}: expected NAME=VALUE, NAME one of {', '.join(Changes.__annotations__)}")
        read[name] = _value(name, value)
    return cast("Changes", read)


def _value(name: str, value: str) -> object:
    for kind, names_, what in (
        (int, ("kernel", "boundary_layers"), "a whole number"),
        (float, ("layer_base", "head_base"), "a number"),
    ):
        if name in names_:
            try:
                return kind(value)
            except ValueError:
                raise InputError(f"{name}={value}: expected {what}") from None
    if name in ("value_weighted", "pooled", "protect_window", "revote"):
        if value not in ("True", "False"):
            raise InputError(f"{name}={value}: expected True or False")
        return value == "True"
    return value


def _with_parts(policy: Policy, **changes: Unpack[Changes]) -> Policy:
    layers, heads = changes.get("layer_budget"), changes.get("head_budget")
    voters, revote = changes.get("voters"), changes.get("revote")
    if layers is not None:
        part = UniformLayers() if layers == "uniform" else named(layers).layer_budget
        policy = replace(policy, layer_budget=part)
    if heads is not None:
        policy = replace(policy, head_budget=UniformHeads() if heads == "uniform" else named(heads).head_budget)
    if voters is not None:
        votes = _changed(policy.scorer, "voters", voters) if _has(policy.scorer, "voters") else Votes(voters)
        policy = replace(policy, scorer=votes)
    if revote is not None:
        policy = replace(policy, revote=revote)
    return policy


def _with_parameter(policy: Policy, name: str, value: object) -> Policy:
    kind = PARAMETERS[name]
    part = getattr(policy, kind)
    if not _has(part, name):
        having = ", ".join(each for each in names() if _has(getattr(named(each), kind), name))
        raise InputError(
            f"{name}={value}: the {kind.replace('_', ' ')} of {policy.name!r} is {part!r}, which has no {name}; "
            f"that of these has: {having}"
        )
    return _changed(policy, kind, _changed(part, name, value))


def _has(part: object, name: str) -> bool:
    return is_dataclass(part) and name in {field.name for field in fields(part)}


def _changed(whole: Any, name: str, value: object) -> Any:
    return replace(whole, **{name: value})
