"""All pairs of a conversation so far, for block-causal models: the next turn's prompt begins where they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import ReferenceType, ref

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maskkv import memory
from maskkv.cache.evicting import EvictingCache
from maskkv.cache.importance import ResumedProbe, row_cosines
from maskkv.checks import quoted
from maskkv.errors import InputError
from maskkv.models.step_cache import Sublayer
from maskkv.models.transformer import Transformer
from maskkv.ops.growing import GrowingRows

PLACES = ("host", "device")
"""Where a prefix may be held: in host memory, or on the model's device."""


class NotHeldError(Exception):
    """Say that a policy asked for what is not held of a row: its query, or its key before rotation."""

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row} has not run in this pass")
        self.row = row


class Prefix:
    """Hold the pairs of all rows that a block-causal model has finished, for prompts that begin with the same tokens.

    Such a row reads nothing behind its block, so once a block is finished its pairs stay what they are, whatever
    follows. A sequence that is given a prefix reads its prompt from where both part, and leaves its own pairs there:
    those of whole blocks of the prompt, and of finished blocks of the response if these read every pair as it was
    (nothing evicted, nothing stored in 8 bits). So one prefix serves one turn of a conversation after the other. It is
    emptied where positions are stretched in another way.

    It takes `2 × layers × kv_heads × head_dim` numbers per token, however few pairs the policy keeps.
    """

    def __init__(self, where: str = "host") -> None:
        """Hold pairs in memory of the `host` or of the model's `device`; InputError for anything else."""
        if where not in PLACES:
            raise InputError(f"a prefix is held in {quoted(where)}: expected {' or '.join(PLACES)}")
        self._where = where
        self._model: ReferenceType[Transformer] | None = None
        self._block = 1
        self._tokens: Int[Tensor, " rows"] = torch.empty(0, dtype=torch.int64)
        self._rope_scale = 1.0
        self._pairs: list[tuple[GrowingRows, GrowingRows]] = []
        self._cosines = GrowingRows(on_host=True)

    def bind(self, model: Transformer) -> None:
        """Take note of the model that pairs are computed by.

        Raises:
            InputError: It is not block-causal, or another one's pairs are held.
        """
        config = model.config
        if model.ranks.count > 1:
            raise InputError("prefix reuse is for models on one device: load it without tensor_parallel")
        if config.causal_block is None:
            raise InputError(
                f"prefix reuse is for block-causal models: on {config.family} every pair depends on the whole prompt"
            )
        if self._model is None:
            self._model, self._block = ref(model), config.causal_block
            on_host = self._where == "host"
            self._pairs = [
                (GrowingRows(on_host=on_host), GrowingRows(on_host=on_host)) for _ in range(config.num_layers)
            ]
        elif self._model() is not model:
            raise InputError("the prefix holds pairs of another model: expected one prefix for each model")

    @property
    def tokens(self) -> list[int]:
        """Return the tokens whose pairs are held."""
        return self._tokens.tolist()

    @property
    def nbytes(self) -> int:
        """Return the bytes of all that is held, and of the room for the rest of a response."""
        return self._cosines.nbytes + sum(each.nbytes for pairs in self._pairs for each in pairs)

    def fits(self, model: Transformer, rows: int) -> bool:
        """Tell whether the pairs of so many rows take at most half of what is free, beside those held."""
        config = model.config
        numbers = 2 * config.num_layers * config.num_kv_heads * config.head_dim * rows
        there = torch.device("cpu") if self._where == "host" else model.device
        return numbers * model.dtype.itemsize - self.nbytes <= memory.available(there) // 2

    def common(self, tokens: Int[Tensor, " rows"], rope_scale: float) -> int:
        """Return how many of these tokens, in whole blocks, are those of held rows in their order."""
        if rope_scale != self._rope_scale:
            return 0
        count = min(len(tokens), len(self._tokens))
        same = tokens[:count] == self._tokens[:count]
        return int(same.long().cumprod(0).sum()) // self._block * self._block

    def resumed(self, tokens: Int[Tensor, " rows"], rope_scale: float, start: int, most: int) -> Resumed:
        """Return what a pass over the rows from `start` on needs, to leave the pairs of all `tokens` here.

        There is to be room for the pairs of `most` rows.
        """
        held, model = self.common(tokens, rope_scale), self._bound()
        if held < len(tokens):
            self._cut(held, rope_scale)
        known = self._cosines.first(start) if start else torch.empty(0, model.config.num_layers)
        return Resumed(self, tokens, start, held, most, ResumedProbe(known, model.device))

    def append(self, tokens: Int[Tensor, " rows"], rope_scale: float, cache: EvictingCache) -> None:
        """Copy the pairs of the live rows, which are the last of these tokens, once their block is finished.

        Nothing is done if they are held, if those before are not, or if the live rows read pairs that are not exact.
        """
        start, held = len(tokens) - cache.extent.live, self.common(tokens, rope_scale)
        if held != start or not cache.exact:
            return
        model = self._bound()
        self._cut(held, rope_scale)
        x, cosines = model.embed(tokens[start:].to(model.device)), []
        for layer, (keys, values) in enumerate(self._pairs):
            state = cache.state(layer)
            own_keys, own_values = state.pairs.live_pairs()
            keys.write(start, own_keys, len(tokens))
            values.write(start, own_values, len(tokens))
            after = x + state.outputs[Sublayer.ATTENTION.value]
            cosines.append(row_cosines(x, after))
            x = after + state.outputs[Sublayer.MLP.value]
        self._cosines.write(start, torch.stack(cosines, dim=1), len(tokens))
        self._tokens = tokens.clone()

    def _bound(self) -> Transformer:
        model = None if self._model is None else self._model()
        assert model is not None, "a sequence's prefix is bound to its model, which is running"
        return model

    def _cut(self, rows: int, rope_scale: float) -> None:
        self._tokens, self._rope_scale = self._tokens[:rows], rope_scale


@dataclass(frozen=True)
class Resumed:
    """Stand for the rows before `start` in a pass that begins there, and hand what it computes to a prefix.

    The pass reads a prompt whose whole blocks are `tokens`; the pairs of the first `held` are in the prefix.
    """

    prefix: Prefix
    tokens: Int[Tensor, " rows"]
    start: int
    held: int
    most: int
    probe: ResumedProbe
    """It counts in the rows before `start`."""

    def joined(
        self,
        layer: int,
        keys: Float[Tensor, "rows kv_heads head_dim"],
        values: Float[Tensor, "rows kv_heads head_dim"],
    ) -> tuple[Float[Tensor, "pairs kv_heads head_dim"], Float[Tensor, "pairs kv_heads head_dim"]]:
        """Return all pairs of a layer, and leave new ones in the prefix."""
        every = []
        for rows, new in zip(self.prefix._pairs[layer], (keys, values), strict=True):
            # Only whole blocks of the prompt: the last rows are masks.
            rows.write(self.held, new[self.held - self.start : len(self.tokens) - self.start], self.most)
            every.append(self._behind(rows, new))
        return every[0], every[1]

    def _behind(self, rows: GrowingRows, new: Tensor) -> Tensor:
        if self.start == 0:
            return new
        whole = new.new_empty((self.start + len(new), *new.shape[1:]))
        whole[: self.start].copy_(rows.first(self.start), non_blocking=True)
        whole[self.start :] = new
        return whole

    def counted(self, ask: Callable[[slice], Tensor]) -> Callable[[slice], Tensor]:
        """Return the same for rows that are counted from the prompt's first; NotHeldError for those before `start`."""

        def asked(span: slice) -> Tensor:
            if span.start < self.start:
                raise NotHeldError(span.start)
            return ask(slice(span.start - self.start, span.stop - self.start))

        return asked

    def finish(self) -> None:
        """Count the rows of the pass as held, once it has run through all layers."""
        if self.held == len(self.tokens):
            return
        cosines = self.probe.rows()[self.held - self.start : len(self.tokens) - self.start]
        self.prefix._cosines.write(self.held, cosines, self.most)
        self.prefix._tokens = self.tokens.clone()
