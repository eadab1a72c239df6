"""`maskkv policies`: what there is to choose from."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from maskkv.cli import terminal
from maskkv.cli.flags import Json, flagged

if TYPE_CHECKING:
    from maskkv.eviction.policy import Policy

PARTS = ("scorer", "layer_budget", "head_budget")


@dataclass(frozen=True)
class Entry:
    """Describe a policy: its parts in words (None if it evicts nothing), and `record`, its `repr`."""

    name: str
    paper: str
    about: str
    scorer: str | None
    layer_budget: str | None
    head_budget: str | None
    cached: bool
    record: str

    @property
    def parts(self) -> list[str]:
        """Return the three parts, or what the policy does instead of evicting."""
        given = [getattr(self, part) for part in PARTS]
        return given if self.scorer else ["keeps every pair" if self.cached else "caches nothing", "–", "–"]


@flagged
def policies(
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a table in Markdown instead.")] = False,
    as_json: Json = False,
) -> None:
    """List the eviction policies.

    Each with its paper and its three parts: how it ranks the pairs of a head, and how it splits the pairs over layers
    and over a layer's heads. A is the row-softmaxed attention and i its voters, B the budget, k_l a layer's pairs, T
    the prompt's length, I_l a layer's importance (1 - mean cosine over its attention), P_h a head's prompt preference.
    """
    found = entries()
    if as_json:
        terminal.put_json([vars(entry) for entry in found])
    elif markdown:
        terminal.put(table(found))
    else:
        shown = terminal.table("policy", "what it does")
        for entry in found:
            shown.add_row(entry.name, entry.about)
            for part in PARTS if entry.scorer else ():
                shown.add_row("", f"{part.replace('_', ' ')}: {getattr(entry, part)}", style="dim")
        terminal.show(shown)


def table(found: list[Entry]) -> str:
    """Lay policies out in Markdown."""
    rows = [["policy", "paper", "ranks a head's pairs by", "pairs per layer", "pairs per head"], ["---"] * 5]
    for entry in found:
        number = entry.paper.removeprefix("arXiv ")
        paper = number if number == entry.paper else f"[{number}](https://arxiv.org/abs/{number})"
        rows.append([f"`{entry.name}`", paper, *entry.parts])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def entries() -> list[Entry]:
    """Describe every policy that comes with maskkv."""
    from maskkv import policies

    return [_entry(policies.named(name)) for name in policies.names()]


def _entry(policy: Policy) -> Entry:
    module = importlib.import_module(f"maskkv.policies.{policy.name.replace('-', '_')}")
    about = " ".join((module.__doc__ or "").split("\n\n")[0].split())
    scorer, layers, heads = (None if policy.scorer is None else str(getattr(policy, part)) for part in PARTS)
    return Entry(policy.name, policy.paper, about, scorer, layers, heads, policy.cached, repr(policy))
