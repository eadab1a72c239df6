"""All that a policy may see of a layer while it decides what the layer keeps."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkv.errors import InputError
from maskkv.ops.attention import Queries, attention_mass

VOTERS = re.compile(r"(mask|prompt|all)|(mask-last|last):([1-9][0-9]*)")


def check_voters(voters: str) -> str:
    """Return `voters` if it names a set of rows, else raise InputError."""
    if not VOTERS.fullmatch(voters):
        raise InputError(f"voters {voters!r}: expected mask, mask-last:N, last:N, prompt or all (N ≥ 1)")
    return voters


@dataclass(frozen=True, eq=False)
class LayerView:
    """Show one layer of one sequence in the middle of a prompt refresh.

    Pairs are those of the prompt, then of the response. Of the prompt only the first `evictable` are the
    policy's to keep or drop: the others are live rows (models whose logits are shifted) and stay anyway.
    """

    layer: int
    num_layers: int
    keys: Float[Tensor, "pairs kv_heads head_dim"]
    values: Float[Tensor, "pairs kv_heads head_dim"]
    queries: Queries
    evictable: int
    masked: Bool[Tensor, " gen_length"]
    chunk_rows: int = 1024
    _mass: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def kv_heads(self) -> int:
        """Return the number of KV heads."""
        return self.keys.shape[1]

    @property
    def prompt_length(self) -> int:
        """Return the number of prompt pairs, live ones included."""
        return len(self.keys) - len(self.masked)

    def votes(self, voters: str) -> Float[Tensor, "kv_heads evictable"]:
        """Return the attention that each evictable pair gets from the voters, summed (Eq. 7)."""
        return self.mass(voters)[:, : self.evictable]

    def mass(self, voters: str) -> Float[Tensor, "kv_heads pairs"]:
        """Return the attention that every pair, prompt and response, gets from the voters, summed (memoised).

        Voters are `mask` (all undecoded positions), `mask-last:N` (the last N of them), `last:N` (the last N prompt
        rows), `prompt` or `all`. The softmax runs over all pairs.
        """
        if voters not in self._mass:
            rows = self._rows(voters)
            mass = self.keys.new_zeros((self.kv_heads, len(self.keys)), dtype=torch.float32)
            for start in range(0, len(self.keys), self.chunk_rows):
                stop = min(start + self.chunk_rows, len(self.keys))
                inside = rows[(rows >= start) & (rows < stop)]
                if len(inside):
                    first, last = int(inside[0]), int(inside[-1]) + 1
                    mass += attention_mass(self.queries(slice(first, last))[inside - first], self.keys)
            self._mass[voters] = mass
        return self._mass[voters]

    def _rows(self, voters: str) -> Int[Tensor, " voters"]:
        """Return the voters' rows in increasing order."""
        kind, _, number = check_voters(voters).partition(":")
        every = torch.arange(len(self.keys), device=self.keys.device)
        if kind in ("mask", "mask-last"):
            rows = every[self.prompt_length :][self.masked]
        elif kind in ("prompt", "last"):
            rows = every[: self.prompt_length]
        else:
            rows = every
        return rows[-int(number) :] if number else rows
