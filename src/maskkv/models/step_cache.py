"""What a layer asks of a cache during a pass."""

from __future__ import annotations

from enum import Enum
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from maskkv.ops.attention import Queries, UnrotatedKeys


class Sublayer(Enum):
    """Name the two terms that a layer adds to the residual stream."""

    ATTENTION = 0
    MLP = 1


@runtime_checkable
class StepCache(Protocol):
    """Answer what each layer asks during a pass, in the order of these methods. `span` counts fresh rows."""

    def stale(self, layer: int, values: Float[Tensor, "rows kv_heads head_dim"]) -> Int[Tensor, " fresh"] | None:
        """Return the rows that must be recomputed, or None for all of them."""
        ...

    def hold(
        self,
        layer: int,
        keys: Float[Tensor, "fresh kv_heads head_dim"],
        values: Float[Tensor, "rows kv_heads head_dim"],
        queries: Queries,
        unrotated: UnrotatedKeys,
    ) -> None:
        """Take the rotated keys of the fresh rows and the values of all rows.

        `queries` and `unrotated` compute the rotated queries and the unrotated keys of some fresh rows, on demand.
        """
        ...

    def first(self, layer: int, sublayer: Sublayer) -> int:
        """Return the first row whose output of a sub-layer is needed; all later rows are needed too.

        Asked only where all rows are recomputed.
        """
        ...

    def attend(
        self, layer: int, queries: Float[Tensor, "span heads head_dim"], span: slice
    ) -> Float[Tensor, "span heads head_dim"]:
        """Return what the fresh rows in `span` read from the pairs: the attention's output before `o_proj`."""
        ...

    def add(
        self,
        layer: int,
        sublayer: Sublayer,
        residual: Float[Tensor, "span hidden"],
        fresh: Float[Tensor, "taken hidden"],
        span: slice,
    ) -> Float[Tensor, "span hidden"]:
        """Return the residual plus the sub-layer's output: that of an earlier pass for rows that are not fresh."""
        ...
