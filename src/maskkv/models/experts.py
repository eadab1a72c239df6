"""An MLP made of many, of which each row is sent to a few (mixture of experts, arXiv 1701.06538)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from maskkv.models.config import Experts
from maskkv.models.mlp import GatedMLP


class Routing(NamedTuple):
    """Say which experts each row is sent to, and what the output of each of them is multiplied by.

    The weighted outputs are summed in the dtype of the weights.
    """

    experts: Int[Tensor, "rows chosen"]
    weights: Float[Tensor, "rows chosen"]


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
    ranked = probabilities.sort(dim=-1, descending=True, stable=True)
    return Routing(ranked.indices[:, :chosen], ranked.values[:, :chosen].to(x.dtype))


class ExpertsMLP(nn.Module):
    """Add up what the chosen experts make of each row, in the order of the experts, and what a shared one makes.

    Only experts that a row is sent to are read. How many rows each of them gets is asked by the host: such a pass is
    neither captured nor compiled.
    """

    def __init__(self, hidden_size: int, experts: Experts, router: Router = by_softmax) -> None:
        super().__init__()
        self._route, self._chosen = router, experts.chosen
        self.router = nn.Linear(hidden_size, experts.count, bias=False)
        self.expert_bias = nn.Parameter(torch.zeros(experts.count)) if experts.bias else None
        self.experts = nn.ModuleList(GatedMLP(hidden_size, experts.size) for _ in range(experts.count))
        self.shared = GatedMLP(hidden_size, experts.shared_size) if experts.shared_size else None

    def join_projections(self) -> None:
        """Join those of each expert (see `GatedMLP`)."""
        for expert in self.experts:
            cast("GatedMLP", expert).join_projections()
        if self.shared is not None:
            self.shared.join_projections()

    def forward(self, x: Float[Tensor, "rows hidden"]) -> Float[Tensor, "rows hidden"]:
        """Return the MLP's output for normalised rows, to be added to the residual stream."""
        chosen, weights = self._route(x, self.router, self.expert_bias, self._chosen)
        asked = chosen.flatten()
        order = asked.argsort(stable=True)
        counts = asked.bincount(minlength=len(self.experts)).tolist()
        rows, own_weights = (order // self._chosen).split(counts), weights.flatten()[order].split(counts)
        total = torch.zeros(x.shape, dtype=weights.dtype, device=x.device)
        for expert, own, weight in zip(self.experts, rows, own_weights, strict=True):
            if len(own):
                # A row is in it once at most, so that nothing depends on the order within.
                total.index_add_(0, own, expert(x[own]) * weight[:, None])
        output = total.to(x.dtype)
        return output if self.shared is None else output + self.shared(x)
