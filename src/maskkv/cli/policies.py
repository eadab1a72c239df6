"""`maskkv policies`: what there is to choose from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from maskkv.cli import terminal
from maskkv.cli.flags import Json, flagged

if TYPE_CHECKING:
    from rich.table import Table

PARTS = ("scorer", "layer_budget", "head_budget")


@dataclass(frozen=True)
class Entry:
    """Describe a policy: its parts in words (None if it has none), its `repr`, and its parameters as spelled."""

    name: str
    paper: str
    about: str
    scorer: str | None
    layer_budget: str | None
    head_budget: str | None
    recall: str | None
    cached: bool
    record: str
    parameters: str

    @property
    def summary(self) -> str:
        """Return what the policy does, without its name and paper."""
        title, colon, said = self.about.partition(": ")
        return f"{said[:1].upper()}{said[1:]}" if colon and "arXiv" in title else self.about

    @property
    def parts(self) -> list[str]:
        """Return the three parts, or what the policy does instead of evicting."""
        given = [getattr(self, part) for part in PARTS]
        return given if self.scorer else ["keeps every pair" if self.cached else "caches nothing", "–", "–"]


@flagged
def policies(
    name: Annotated[
        str | None, typer.Argument(help="Show this policy with its formula and parameters; spelled as for --policy.")
    ] = None,
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a table in Markdown instead.")] = False,
    as_json: Json = False,
) -> None:
    """List the eviction policies, or show one with its formula.

    The formula has three parts: how it ranks the pairs of a head, and how it splits the pairs over layers and over a
    layer's heads. A is the row-softmaxed attention and i its voters, B the budget, k_l a layer's pairs, T
    the prompt's length, I_l a layer's importance (1 - mean cosine over its attention), P_h a head's prompt preference.
    """
    from maskkv.policies import names

    found = [entry(each) for each in (names() if name is None else [name])]
    if as_json:
        terminal.put_json([vars(each) for each in found])
    elif markdown:
        terminal.put(table(found))
    elif name is None:
        width = max(len(each.name) for each in found)
        terminal.put("\n".join(f"{each.name:<{width}}  {each.summary}" for each in found))
        terminal.note("`maskkv policies NAME` shows the formula of one")
    else:
        terminal.show(_formula(found[0]))


def _formula(shown: Entry) -> Table:
    table = terminal.table("policy", shown.name)
    for what in ("about", *PARTS, "recall", "parameters"):
        said = getattr(shown, what)
        if said:
            table.add_row(what.replace("_", " "), said)
    return table


def table(found: list[Entry]) -> str:
    """Lay policies out in Markdown."""
    rows = [["policy", "paper", "ranks a head's pairs by", "pairs per layer", "pairs per head"], ["---"] * 5]
    for entry in found:
        number = entry.paper.removeprefix("arXiv ")
        paper = number if number == entry.paper else f"[{number}](https://arxiv.org/abs/{number})"
        rows.append([f"`{entry.name}`", paper, *entry.parts])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def entry(spelling: str) -> Entry:
    """Describe a policy; what it is about stands first in its module."""
    from maskkv import mixing
    from maskkv.policies import about

    policy = mixing.resolve(spelling)
    scorer, layers, heads = (str(getattr(policy, part)) if policy.can_evict else None for part in PARTS)
    return Entry(
        policy.name,
        policy.paper,
        about(spelling.partition("(")[0]),
        scorer,
        layers,
        heads,
        None if policy.recall is None else str(policy.recall),
        policy.cached,
        repr(policy),
        mixing.spelt(mixing.parameters(policy)),
    )
