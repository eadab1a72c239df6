"""One Llama-shaped bidirectional transformer over packed rows; how its layers differ by family is in the config.

There is no batch axis and no padding: rows of any number of sequences are packed along one axis, and which row
attends to what is the cache's business.
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from maskkv import memory
from maskkv.errors import InputError
from maskkv.models.config import ModelConfig
from maskkv.models.experts import ExpertsMLP
from maskkv.models.layer import Layer
from maskkv.models.mlp import GatedMLP
from maskkv.models.norm import RMSNorm
from maskkv.models.step_cache import StepCache
from maskkv.ops.linear import PackedLinear, SummedLinear, can_pack
from maskkv.ops.ranks import ALONE, Ranks
from maskkv.ops.rope import Rotation, rotation

CHUNK_ROWS = {"cpu": 1024, "cuda": 4096}
"""Rows whose token-wise intermediates are alive at a time, by kind of device: a GPU is kept waiting by fewer."""

LOGIT_ROWS = 256
"""Rows whose logits are alive at a time, unless one sequence asks for more."""


class Transformer(nn.Module):
    """Embed rows, run the layers, normalise; `logits` is a separate call for the few rows that need it."""

    def __init__(self, config: ModelConfig, chunk_rows: int | None = None) -> None:
        super().__init__()
        self.config = config
        self._chunk_rows = chunk_rows
        self.ranks: Ranks = ALONE
        """The processes that hold the other parts of this model."""
        self.ran: set[tuple[object, ...]] = set()
        """Shapes of passes over one sequence's live rows that have run, and so have had their kernels compiled."""
        # Weights come from elsewhere; and for a normal draw on the meta device torch would import its whole compiler.
        self.embed = nn.Embedding.from_pretrained(torch.empty(config.vocab_size, config.hidden_size), freeze=False)
        self.layers = nn.ModuleList(Layer(config, _mlp(config, index)) for index in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the weights and of the residual stream."""
        return self.embed.weight.dtype

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        return self.embed.weight.device

    @property
    def chunk_rows(self) -> int:
        """Return how many rows a layer computes at a time in a pass over many."""
        return self._chunk_rows or CHUNK_ROWS.get(self.device.type, min(CHUNK_ROWS.values()))

    @property
    def exact(self) -> frozenset[str]:
        """Return the names of the parameters that stay in fp32 whatever the dtype of the others."""
        found = ((name, module) for name, module in self.named_modules() if isinstance(module, ExpertsMLP))
        return frozenset(f"{name}.{own}" for name, module in found for own in module.exact)

    @property
    def asks_host(self) -> bool:
        """Tell whether a pass asks the host or other processes, so that none can be captured."""
        return self.config.experts is not None or self.ranks.count > 1

    def share(self, ranks: Ranks) -> None:
        """Take this model for one part, and other processes for the others: what parts compute is added up."""
        self.ranks = ranks
        for each in self.layers:
            layer = cast("Layer", each)
            layer.o_proj = SummedLinear.of(layer.o_proj, ranks)
            layer.mlp.share(ranks)

    def rotation(self, positions: Int[Tensor, " rows"], rope_scale: float = 1.0) -> Rotation:
        """Compute the rotation of `positions` under the family's dtype rule, `rope_theta` times `rope_scale`."""
        dtype = torch.float32 if self.config.rope_dtype == "float32" else self.dtype
        return rotation(positions, self.config.rotated, self.config.rope_theta * rope_scale, dtype)

    def compile_rows(self) -> None:
        """Compile what the layers do to each row by itself; attention and the caches stay as they are.

        Between prompt refreshes the number of rows does not change, so each function is compiled for it once.

        Raises:
            InputError: This machine cannot compile for the model's device.
        """
        try:
            torch.compile(torch.neg)(torch.ones(2, device=self.device))
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            expected = "a C++ compiler (g++)" if self.device.type == "cpu" else "triton"
            raise InputError(f"compile: expected {expected}, or leave it out ({reason})") from None
        for layer in self.layers:
            cast("Layer", layer).compile_rows()

    def pack_weights(self) -> None:
        """Lay the matrices out as the device reads them fastest: on a CPU if it has room for a second copy of them."""
        if self.device.type == "cuda":
            for layer in self.layers:
                cast("Layer", layer).join_projections()
            # Each matrix was copied: without this there would be room for two models in the allocator.
            torch.cuda.empty_cache()
            return
        if self.ranks.count > 1:
            return  # Products that are laid out in one process only would round differently there.
        linears = [
            (parent, name, child)
            for parent in self.modules()
            for name, child in parent.named_children()
            if isinstance(child, nn.Linear) and can_pack(child.weight)
        ]
        if 2 * sum(linear.weight.nbytes for _, _, linear in linears) > memory.available(self.device):
            return
        for parent, name, linear in linears:
            setattr(parent, name, PackedLinear.of(linear))

    def forward(
        self, tokens: Int[Tensor, " rows"], rotation: Rotation, cache: StepCache
    ) -> Float[Tensor, "needed hidden"]:
        """Return the residual stream after the last layer, before the final norm, of the rows that the cache needs.

        `tokens` may be on the host.
        """
        x = self.embed(tokens.to(self.device, non_blocking=True))
        for index, layer in enumerate(self.layers):
            x = layer(x, rotation, cache, index, self.chunk_rows)
        return x

    def logits(self, hidden: Float[Tensor, "rows hidden"]) -> Float[Tensor, "rows vocab"]:
        """Apply the final norm and the vocabulary matrix to the rows that need them."""
        return self.head(self.norm(hidden))


def _mlp(config: ModelConfig, layer: int) -> GatedMLP | ExpertsMLP:
    experts = config.experts_of(layer)
    return GatedMLP(config.hidden_size, config.mlp_size) if experts is None else ExpertsMLP(config.hidden_size, experts)
