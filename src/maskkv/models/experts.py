"""An MLP made of many, of which each row is sent to a few (mixture of experts, arXiv 1701.06538)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from maskkv.models.config import Experts, Groups
from maskkv.models.mlp import GatedMLP
from maskkv.ops.ranks import ALONE, Ranks


class Routing(NamedTuple):
    """Say which experts each row is sent to, and what the output of each of them is multiplied by.

    The weighted outputs are summed in the dtype of the weights.
    """

    experts: Int[Tensor, "rows chosen"]
    weights: Float[Tensor, "rows chosen"]


_TINY = 1e-20
"""What published code adds to a sum before it divides by it."""

Router = Callable[[Tensor, nn.Linear, Tensor | None, int], Routing]
"""Sends rows to so many experts each, given the matrix that scores the experts and a bias for each of them."""


def by_softmax(
    x: Float[Tensor, "rows hidden"], scores: nn.Linear, bias: Float[Tensor, " experts"] | None, chosen: int
) -> Routing:
    """Choose by softmax over all experts plus their bias, which also is the weight: not renormalised (LLaDA-MoE).

    The product is in the model's dtype, softmax and choice are in fp32, the weights in the model's dtype again. Of
    equals the first expert is chosen.
    """
    probabilities = scores(x).softmax(-1, dtype=torch.float32)
    if bias is not None:
        probabilities = probabilities + bias
    best = _best(probabilities, chosen)
    return Routing(best, probabilities.gather(1, best).to(x.dtype))


def by_group(
    x: Float[Tensor, "rows hidden"],
    scores: nn.Linear,
    bias: Float[Tensor, " experts"] | None,
    chosen: int,
    groups: Groups,
) -> Routing:
    """Choose by sigmoid plus bias in the best groups; weigh by sigmoid alone (DeepSeek-V3, arXiv 2412.19437; LLaDA2).

    A group is as good as its two best experts together. The weights of several experts add up to the groups' `scale`.
    All of it is in fp32, `scores` too. Of equals the first group and the first expert are chosen.
    """
    given = scores(x.float()).sigmoid()
    wanted = given if bias is None else given + bias
    grouped = wanted.unflatten(1, (groups.count, -1))
    open_ = _best(grouped.topk(2).values.sum(-1), groups.chosen)
    closed = torch.ones_like(grouped[..., 0], dtype=torch.bool).scatter_(1, open_, False)
    best = _best(grouped.masked_fill(closed[..., None], -torch.inf).flatten(1), chosen)
    weights = given.gather(1, best)
    if chosen > 1:
        weights = weights / (weights.sum(1, keepdim=True) + _TINY)
    return Routing(best, weights * groups.scale)


def _best(scores: Float[Tensor, "rows all"], number: int) -> Int[Tensor, "rows best"]:
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :number]


class ExpertsMLP(nn.Module):
    """Add up what the chosen experts make of each row, in the order of the experts, and what a shared one makes.

    Only experts that a row is sent to are read. How many rows each of them gets is asked by the host: such a pass is
    neither captured nor compiled.
    """

    exact: tuple[str, ...]
    """Parameters that stay in fp32 whatever the dtype of the others: of a router that computes in it."""

    def __init__(self, hidden_size: int, experts: Experts) -> None:
        super().__init__()
        self._chosen = experts.chosen
        self._route: Router = by_softmax if experts.groups is None else partial(by_group, groups=experts.groups)
        bias = ("expert_bias",) if experts.bias else ()
        self.exact = () if experts.groups is None else ("router.weight", *bias)
        self.router = nn.Linear(hidden_size, experts.count, bias=False)
        self.expert_bias = nn.Parameter(torch.zeros(experts.count)) if experts.bias else None
        # Of a model that is split: the experts of this part, by their numbers in the whole.
        self.experts = nn.ModuleDict({str(number): GatedMLP(hidden_size, experts.size) for number in experts.here})
        self.shared = GatedMLP(hidden_size, experts.shared_size) if experts.shared_size else None
        self.ranks: Ranks = ALONE
        self._count, self._here = experts.count, experts.here

    def join_projections(self) -> None:
        """Join those of each expert (see `GatedMLP`)."""
        for expert in self.experts.values():
            cast("GatedMLP", expert).join_projections()
        if self.shared is not None:
            self.shared.join_projections()

    def share(self, ranks: Ranks) -> None:
        """Add up what the experts of this part make of a row and what those of the others do."""
        self.ranks = ranks
        if self.shared is not None:
            self.shared.share(ranks)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ExpertsMLP:
        """Do to the parameters what torch's `to` and its like ask for, but for the dtype of those that are exact."""
        before = {name: self.get_parameter(name).detach() for name in self.exact}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, numbers in before.items():
            parameter = self.get_parameter(name)
            if parameter.dtype != numbers.dtype:
                parameter.data = numbers.to(parameter.device)
        return self

    def forward(self, x: Float[Tensor, "rows hidden"]) -> Float[Tensor, "rows hidden"]:
        """Return the MLP's output for normalised rows, to be added to the residual stream."""
        chosen, weights = self._route(x, self.router, self.expert_bias, self._chosen)
        asked = chosen.flatten()
        order = asked.argsort(stable=True)
        counts = asked.bincount(minlength=self._count).tolist()
        rows, own_weights = (order // self._chosen).split(counts), weights.flatten()[order].split(counts)
        total = torch.zeros(x.shape, dtype=weights.dtype, device=x.device)
        for number in self._here:
            own, weight = rows[number], own_weights[number]
            if len(own):
                # A row is in it once at most, so that nothing depends on the order within.
                total.index_add_(0, own, self.experts[str(number)](x[own]) * weight[:, None])
        total = self.ranks.add_up(total).to(x.dtype)
        return total if self.shared is None else total + self.shared(x)
