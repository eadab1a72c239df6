"""All that a policy may see while it decides what is kept: of the model, and of one layer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkv.errors import InputError
from maskkv.ops.attention import Queries, UnrotatedKeys, attention_mass, attention_peak
from maskkv.ops.blocks import reach
from maskkv.ops.ranks import ALONE, Ranks
from maskkv.ops.spans import spans

VOTERS = re.compile(
    r"(?P<rows>mask|block|prompt|all)|(?P<end>mask-first|mask-last|last):(?P<count>[1-9][0-9]{0,8})"
    r"|mask-part:(?P<part>[1-9][0-9]{0,8})/(?P<parts>[1-9][0-9]{0,8})"
)

TALLIES = ("sum", "max", "rising", "falling")
"""How the voters' votes become one number: their sum, their largest, or a sum in which later (`rising`) or earlier
(`falling`) voters weigh more, linearly."""


def check_voters(voters: str) -> re.Match[str]:
    """Return the parts of the spelling if `voters` names a set of rows, else raise InputError."""
    spelt = VOTERS.fullmatch(voters)
    if spelt is None or int(spelt["part"] or 1) > int(spelt["parts"] or 1):
        raise InputError(
            f"voters {voters!r}: expected mask, mask-last:N, mask-first:N, mask-part:I/N (I from 1 to N), block, "
            "last:N, prompt or all (N ≥ 1)"
        )
    return spelt


def check_tally(tally: str) -> None:
    """Raise InputError unless `tally` is a way to count votes."""
    if tally not in TALLIES:
        raise InputError(f"tally {tally!r}: expected one of {', '.join(TALLIES)}")


@dataclass(frozen=True)
class ModelView:
    """Show what is known of a model's layers and of a prompt before the first layer evicts.

    `budget` is below `evictable`. `importance` is None unless the layer budget needs it; it has a value per layer, and
    only those of the first layers when `most` is asked.
    """

    num_layers: int
    budget: int
    evictable: int
    importance: Sequence[float] | None = None


@dataclass(frozen=True, eq=False)
class LayerView:
    """Show one layer of one sequence in the middle of a prompt refresh.

    Pairs are those of the prompt, then of the response. Of the prompt only the first `evictable` are the
    policy's to keep or drop; the rest are live rows (of models whose logits are shifted) and always stay.

    A policy decides for all KV heads of the layer, and the methods tell of all. Of a model that is split over several
    processes `keys`, `values` and `queries` are those of this one's heads: what is computed from them is `gathered`.
    """

    layer: int
    num_layers: int
    keys: Float[Tensor, "pairs kv_heads head_dim"]
    values: Float[Tensor, "pairs kv_heads head_dim"]
    queries: Queries
    evictable: int
    masked: Bool[Tensor, " gen_length"]
    """Which response positions are undecided, in host memory."""
    block_length: int | None = None
    """Length of the response's blocks; None: it is a single block."""
    causal_block: int | None = None
    """Rows read up to the end of their block of so many (block-causal); None: all pairs."""
    chunk_rows: int = 1024
    unrotated: UnrotatedKeys | None = None
    """The keys before they were rotated; None: nothing rotates them."""
    ranks: Ranks = ALONE
    """The processes that hold the other KV heads."""
    _mass: dict[tuple[str, str], Tensor] = field(default_factory=dict, repr=False)

    @property
    def kv_heads(self) -> int:
        """Return the number of KV heads, over all processes."""
        return self.keys.shape[1] * self.ranks.count

    @property
    def own_heads(self) -> slice:
        """Return which of the KV heads are this process's own."""
        own = self.keys.shape[1]
        return slice(self.ranks.rank * own, (self.ranks.rank + 1) * own)

    def gathered(self, own: Float[Tensor, own_heads * rest]) -> Float[Tensor, kv_heads * rest]:
        """Return what was computed for every KV head, given what was for this process's own."""
        return self.ranks.gather(own)

    @property
    def prompt_length(self) -> int:
        """Return the number of prompt pairs, live ones included."""
        return len(self.keys) - len(self.masked)

    def live_rows(self) -> Int[Tensor, "live kv_heads"]:
        """Return where the live rows' pairs lie among all that are here, heads of a position side by side."""
        own = self.keys.shape[1]
        return torch.arange(self.evictable * own, len(self.keys) * own, device=self.keys.device).view(-1, own)

    def key_lengths(self) -> Float[Tensor, "kv_heads evictable"]:
        """Return the length of each evictable pair's key, in fp32.

        The keys are measured before rotation. Rotation keeps lengths only up to rounding; without it, equal tokens have
        keys of exactly equal length in the first layer.
        """
        unrotated = self.keys.__getitem__ if self.unrotated is None else self.unrotated
        measured = [unrotated(span).float().norm(dim=-1) for span in spans(self.evictable, self.chunk_rows)]
        return self.gathered(torch.cat(measured).T)

    def value_lengths(self) -> Float[Tensor, "kv_heads evictable"]:
        """Return the length of each evictable pair's value, in fp32."""
        return self.gathered(self.values[: self.evictable].float().norm(dim=-1).T)

    def votes(self, voters: str, tally: str = "sum") -> Float[Tensor, "kv_heads evictable"]:
        """Return the attention that each evictable pair gets from the voters (Eq. 7)."""
        return self.mass(voters, tally)[:, : self.evictable]

    def mass(self, voters: str, tally: str = "sum") -> Float[Tensor, "kv_heads pairs"]:
        """Return the attention that every pair, prompt and response, gets from the voters (memoised).

        Voters are `mask` (all undecoded positions), `mask-first:N`, `mask-last:N`, `mask-part:I/N` (the I-th of N equal
        parts of them), `block` (the response block with the first undecoded position), `last:N` (the last N prompt
        rows), `prompt` or `all`. The softmax runs over all pairs that a row reads.
        """
        if (voters, tally) not in self._mass:
            self._mass[voters, tally] = self._counted(self.rows(voters), tally)
        return self._mass[voters, tally]

    def _counted(self, rows: Int[Tensor, " voters"], tally: str) -> Float[Tensor, "kv_heads pairs"]:
        weights = _weights(tally, rows)
        mass = self.keys.new_zeros((self.keys.shape[1], len(self.keys)), dtype=torch.float32)
        for start in range(0, len(self.keys), self.chunk_rows):
            inside = (rows >= start) & (rows < start + self.chunk_rows)
            own = rows[inside]
            if len(own) == 0:
                continue
            queries = self.queries(slice(int(own[0]), int(own[-1]) + 1))
            if len(own) < len(queries):
                queries = queries[self._here(own - own[0])]
            own_reach = self._reach(own)
            if tally == "max":
                mass = torch.maximum(mass, attention_peak(queries, self.keys, own_reach))
            else:
                own_weights = None if weights is None else self._here(weights[inside])
                mass += attention_mass(queries, self.keys, own_weights, own_reach)
        return self.gathered(mass)

    def _reach(self, rows: Int[Tensor, " voters"]) -> Int[Tensor, " voters"] | None:
        """Return how many pairs each row reads; None if all of them read all."""
        if self.causal_block is None:
            return None
        ends = reach(rows, self.causal_block)
        return None if int(ends.min()) >= len(self.keys) else self._here(ends)

    def _here(self, tensor: Tensor) -> Tensor:
        """Copy a tensor from host memory to the keys' device."""
        return tensor.to(self.keys.device, non_blocking=True)

    def rows(self, voters: str) -> Int[Tensor, " voters"]:
        """Return the voters' rows in increasing order, in host memory."""
        spelt = check_voters(voters)
        every = torch.arange(len(self.keys))
        prompt, response = every[: self.prompt_length], every[self.prompt_length :]
        masks = response[self.masked]
        if spelt["end"]:
            rows, count = (prompt if spelt["end"] == "last" else masks), int(spelt["count"])
            return rows[:count] if spelt["end"] == "mask-first" else rows[-count:]
        if spelt["part"]:
            part, parts = int(spelt["part"]), int(spelt["parts"])
            # Rounded outwards, so that no part is empty while there is a mask.
            return masks[len(masks) * (part - 1) // parts : -(-len(masks) * part // parts)]
        named = {"mask": masks, "block": self._block(response), "prompt": prompt, "all": every}
        return named[spelt["rows"]]

    def _block(self, response: Int[Tensor, " gen_length"]) -> Int[Tensor, " block"]:
        if self.block_length is None:
            return response
        start = int(self.masked.nonzero()[0]) // self.block_length * self.block_length
        return response[start : start + self.block_length]


def _weights(tally: str, rows: Int[Tensor, " voters"]) -> Float[Tensor, " voters"] | None:
    """Return the weights of the voters: from 1 / voters up to 1 if rising, the reverse if falling, else None."""
    rising = torch.arange(1, len(rows) + 1, device=rows.device) / len(rows)
    return {"rising": rising, "falling": rising.flip(0)}.get(tally)
