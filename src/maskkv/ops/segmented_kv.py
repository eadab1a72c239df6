"""What a layer's stored pairs can do, however they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from maskkv.ops.segments import Rows
from maskkv.ops.selection import Selection

Same = TypeVar("Same")
"""One and the same class of pairs."""


@runtime_checkable
class SegmentedKV(Protocol):
    """Hold one segment per sequence and KV head: the kept prompt pairs, then a writable tail for the live rows.

    Where the response is read in blocks the live rows are those of one block. The pairs of finished blocks lie before
    theirs, and behind them there is room for the blocks to come.
    """

    def join(self: Same, others: Sequence[Same]) -> Same:
        """Lay the segments of several sequences end to end; each part becomes a view of the whole."""
        ...

    def leave(self) -> None:
        """Copy the pairs if they are a view of a larger whole."""
        ...

    @property
    def nbytes(self) -> int:
        """Return the bytes of all that is held, tails included."""
        ...

    def refill(
        self,
        keys: Float[Tensor, "vectors head_dim"],
        values: Float[Tensor, "vectors head_dim"],
        chosen: Selection,
    ) -> None:
        """Take one sequence's pairs anew, as many as before in all, in the same memory."""
        ...

    def follow(self: Same, parts: Sequence[Same]) -> None:
        """Take over how the parts, joined here, split their pairs among their heads, and how far they have grown."""
        ...

    def advance(self) -> None:
        """Leave the live rows' pairs of one sequence as they are; the next slots are for other live rows."""
        ...

    @property
    def relays_in_place(self) -> bool:
        """Tell whether a pass that was captured stays right once lengths change: it reads them on the device."""
        ...

    def prepare(self, rows: Rows, heads: int) -> None:
        """Work out all that `attend` and the writing of tails look up."""
        ...

    def write_keys(self, keys: Float[Tensor, "fresh kv_heads head_dim"], rows: Int[Tensor, " fresh"] | None) -> None:
        """Replace the keys of some live rows (None: of all)."""
        ...

    def write_values(self, values: Float[Tensor, "live kv_heads head_dim"]) -> None:
        """Replace the values of every live row."""
        ...

    def kept_keys(self) -> Float[Tensor, "kept head_dim"]:
        """Return the keys of one sequence's kept pairs, head after head."""
        ...

    def own_keys(self) -> Float[Tensor, "own kv_heads head_dim"]:
        """Return the keys of one sequence's finished blocks and live rows."""
        ...

    def own_values(self) -> Float[Tensor, "own kv_heads head_dim"]:
        """Return the values of one sequence's finished blocks and live rows."""
        ...

    def live_pairs(self) -> tuple[Float[Tensor, "live kv_heads head_dim"], Float[Tensor, "live kv_heads head_dim"]]:
        """Return the keys and values of one sequence's live rows."""
        ...

    def exchange(
        self,
        places: Int[Tensor, " changed"],
        keys: Float[Tensor, "changed head_dim"],
        values: Float[Tensor, "changed head_dim"],
    ) -> None:
        """Put other pairs in the place of some of one sequence's kept ones, which are counted head after head."""
        ...

    def similarity(self, values: Float[Tensor, "live kv_heads head_dim"]) -> Float[Tensor, " live"]:
        """Return the cosine of each live row's values with new ones, over all KV heads."""
        ...

    def products(self, values: Float[Tensor, "live kv_heads head_dim"]) -> Float[Tensor, "3 live"]:
        """Return of each live row what adds up over KV heads to a cosine: old · new, old · old, new · new, in fp32."""
        ...

    def attend(self, queries: Float[Tensor, "rows heads head_dim"], rows: Rows) -> Float[Tensor, "rows heads head_dim"]:
        """Attend from each sequence's rows (`rows` says how many it has) to each head's own segment."""
        ...
