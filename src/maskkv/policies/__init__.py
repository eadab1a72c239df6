"""Eviction policies, one file per paper; the file's name is the policy's name."""

from __future__ import annotations

import importlib
import pkgutil

from maskkv.checks import quoted
from maskkv.errors import InputError
from maskkv.eviction.policy import Policy


def names() -> list[str]:
    """List the policies that come with maskkv."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def named(name: str) -> Policy:
    """Return the policy of that name; InputError if maskkv has none."""
    if name not in names():
        raise InputError(f"unknown policy {quoted(name)}: expected one of {', '.join(names())}")
    policy: Policy = importlib.import_module(_module(name)).POLICY
    return policy


def about(name: str) -> str:
    """Say what a policy is, as its module begins; `module:NAME` is one of a user's."""
    module = name.partition(":")[0] if ":" in name else _module(name)
    return " ".join((importlib.import_module(module).__doc__ or "").split("\n\n")[0].split())


def _module(name: str) -> str:
    return f"{__name__}.{name.replace('-', '_')}"
