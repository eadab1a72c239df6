"""`maskkv policies`: what there is to choose from."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass

from maskkv.cli import terminal
from maskkv.cli.flags import Json, flagged


@dataclass(frozen=True)
class Entry:
    """Describe a policy in words."""

    name: str
    paper: str
    about: str
    scorer: str | None
    layer_budget: str
    head_budget: str
    cached: bool


@flagged
def policies(*, as_json: Json = False) -> None:
    """List the eviction policies.

    Each with its paper and its three parts: how it ranks pairs, and how it splits them over layers and heads.
    """
    found = entries()
    if as_json:
        terminal.put(json.dumps([vars(entry) for entry in found], ensure_ascii=False))
        return
    table = terminal.table("policy", "what it does")
    for entry in found:
        table.add_row(entry.name, entry.about)
        for part in ("scorer", "layer_budget", "head_budget"):
            if entry.scorer:
                table.add_row("", f"{part.replace('_', ' ')}: {getattr(entry, part)}", style="dim")
    terminal.show(table)


def entries() -> list[Entry]:
    """Describe every policy that comes with maskkv."""
    from maskkv import policies

    return [_entry(name) for name in policies.names()]


def _entry(name: str) -> Entry:
    from maskkv import policies

    policy = policies.named(name)
    module = importlib.import_module(f"maskkv.policies.{name.replace('-', '_')}")
    about = " ".join((module.__doc__ or "").split("\n\n")[0].split())
    return Entry(
        name=policy.name,
        paper=policy.paper,
        about=about,
        scorer=None if policy.scorer is None else repr(policy.scorer),
        layer_budget=repr(policy.layer_budget),
        head_budget=repr(policy.head_budget),
        cached=policy.cached,
    )
