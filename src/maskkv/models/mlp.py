"""What a layer does to each row by itself, after the attention."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from maskkv.ops.fused import swiglu
from maskkv.ops.linear import Joined, SummedLinear
from maskkv.ops.ranks import Ranks


class GatedMLP(nn.Module):
    """Compute `W_down (silu(W_gate x) · W_up x)` (SwiGLU, arXiv 2002.05202)."""

    def __init__(self, hidden_size: int, mlp_size: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, mlp_size, bias=False)
        self.up_proj = nn.Linear(hidden_size, mlp_size, bias=False)
        self.down_proj: nn.Linear = nn.Linear(mlp_size, hidden_size, bias=False)
        self._gate_up: Joined | None = None

    def join_projections(self) -> None:
        """Compute both products that read the input in one (see `Joined`)."""
        self._gate_up = Joined.of((self.gate_proj, self.up_proj))

    def share(self, ranks: Ranks) -> None:
        """Add up what this part of the MLP makes of a row and what the others do."""
        self.down_proj = SummedLinear.of(self.down_proj, ranks)

    def forward(self, x: Float[Tensor, "rows hidden"]) -> Float[Tensor, "rows hidden"]:
        """Return the MLP's output for normalised rows, to be added to the residual stream."""
        if self._gate_up is None:
            return self.down_proj(swiglu(self.gate_proj, self.up_proj, x))
        gate, up = self._gate_up(x)
        return self.down_proj(swiglu(lambda _: gate, lambda _: up, x))
