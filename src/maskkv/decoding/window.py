"""Which rows of a sequence are live, and what of its response is decided for good.

A bidirectional model's live rows are the response's, all the time. A block-causal one's are those of a block, which
give way to the next block's once their tokens are final.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkv.cache import Extent
from maskkv.decoding.canvas import Canvas
from maskkv.decoding.editing import Editor
from maskkv.decoding.proposals import Proposals
from maskkv.decoding.sampler import Commit, Sampler, check_numbers


class Window:
    """Hold where the live rows of a canvas begin, and what happens to a block-causal model's block.

    The first `length` positions of the response were asked for; the last block may be longer.
    """

    def __init__(self, canvas: Canvas, extent: Extent, length: int, *, causal: bool, editor: Editor | None) -> None:
        self.start = extent.evictable
        """The first live row."""
        self.closed = False
        """Whether the tokens of a block-causal model's live block are final: of all but the last, its pairs are not."""
        self.length = length
        self._canvas, self._live, self._causal, self._editor = canvas, extent.live, causal, editor
        self._sure: Float[Tensor, " response"] = torch.zeros(len(canvas.masked))
        """Of an edited response, how sure the model was of each token when it was written."""

    def at(self, canvas: Canvas, start: int, *, closed: bool) -> Window:
        """Return the window of an earlier step."""
        earlier = copy(self)
        earlier._canvas, earlier.start, earlier.closed = canvas, start, closed
        return earlier

    @property
    def rows(self) -> slice:
        """Return the live rows."""
        return slice(self.start, self.start + self._live)

    @property
    def masked(self) -> Bool[Tensor, " rows"]:
        """Return which of the response's rows, or of a block's, are undecided."""
        if not self._causal:
            return self._canvas.masked
        own = self._canvas.masked[self._written]
        return F.pad(own, (self._live - len(own), 0), value=False)

    @property
    def _written(self) -> Int[Tensor, " n"]:
        """Return the response positions in a block-causal model's block."""
        first = self.start - self._canvas.prompt_length
        return torch.arange(max(0, first), first + self._live)

    @property
    def open(self) -> Bool[Tensor, " length"]:
        """Return which positions of the response are undecided: of an edited one also those that may be replaced."""
        if self._editor is None:
            return self._canvas.masked[: self.length]
        first = self.rows.stop if self.closed else self.start
        return torch.arange(self.length) >= first - self._canvas.prompt_length

    def candidates(self, sampler: Sampler) -> Int[Tensor, " candidates"]:
        """Return the response positions that the next pass may change."""
        if self.closed:
            return torch.zeros(0, dtype=torch.long)
        return sampler.candidates(self._canvas.masked) if self._editor is None else self._written

    def choose(self, sampler: Sampler, proposals: Proposals, *, put_off: bool) -> Commit:
        """Say what a pass changes, given what the candidates would become; nothing if it leaves final pairs behind."""
        if self.closed:
            return Commit.nothing(proposals)
        if self._editor is None:
            return sampler.commit(proposals, self._canvas.masked, put_off=put_off)
        check_numbers(proposals)
        own = self._written
        chosen = self._editor.choose(proposals, self._canvas.response[own], self._canvas.masked[own])
        self._sure[own[chosen]] = proposals.confidences[chosen]
        return Commit(own[chosen], proposals.tokens[chosen], proposals.confidences[chosen], own, proposals)

    def close(self, commit: Commit, *, masks_before: bool, cached: bool) -> Commit:
        """Move on if the live block is finished with a commit; return what is decided for good by it.

        Pairs are final if their pass changed nothing. Without a cache nobody waits for them.
        """
        if not self._causal:
            return commit
        changed, was_closed, own = len(commit.positions) > 0, self.closed, self._written
        if not was_closed:
            left = bool(self.masked.any())
            self.closed = not left
            if self._editor is not None:
                self.closed = self._editor.finishes(masks_before=masks_before, masks_left=left, changed=changed)
        if self._editor is not None:
            own = own if self.closed and not was_closed else own[:0]
            commit = replace(commit, positions=own, tokens=self._canvas.response[own], confidences=self._sure[own])
        if self.closed and not (changed and cached) and self.rows.stop < len(self._canvas.tokens):
            self.start, self.closed = self.rows.stop, False
        return commit.within(self.length)
