"""Eviction policies, one file per policy; the file's name is the policy's name."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace

from maskkv.errors import InputError
from maskkv.eviction.budgets import UniformHeads, UniformLayers
from maskkv.eviction.policy import Policy
from maskkv.eviction.scorers import Votes


def names() -> list[str]:
    """List the policies that come with maskkv."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def named(name: str) -> Policy:
    """Return the policy of that name."""
    if name not in names():
        raise InputError(f"unknown policy {name!r}: expected one of {', '.join(names())}")
    policy: Policy = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").POLICY
    return policy


def mix(
    policy: Policy,
    *,
    layer_budget: str | None = None,
    head_budget: str | None = None,
    voters: str | None = None,
    revote: bool | None = None,
) -> Policy:
    """Exchange parts of a policy: budgets for those of another policy (or `uniform`), scores for votes.

    Every row of the paper's Table 2 is such an exchange. The new policy's name says what was exchanged.
    """
    asked = {"layer_budget": layer_budget, "head_budget": head_budget, "voters": voters, "revote": revote}
    changes = [f"{part}={value}" for part, value in asked.items() if value is not None]
    if not changes:
        return policy
    if policy.scorer is None:
        raise InputError(f"policy {policy.name!r} evicts nothing: {changes[0]} needs a policy that does")
    if layer_budget is not None:
        part = UniformLayers() if layer_budget == "uniform" else named(layer_budget).layer_budget
        policy = replace(policy, layer_budget=part)
    if head_budget is not None:
        heads = UniformHeads() if head_budget == "uniform" else named(head_budget).head_budget
        policy = replace(policy, head_budget=heads)
    if voters is not None:
        policy = replace(policy, scorer=Votes(voters))
    if revote is not None:
        policy = replace(policy, revote=revote)
    return replace(policy, name=f"{policy.name}({', '.join(changes)})")
