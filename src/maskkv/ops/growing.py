"""Rows of vectors that stay, more of which come at the end."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor


class GrowingRows:
    """Keep rows on the device they come from or in host memory, which is pinned if they come from a GPU."""

    def __init__(self, *, on_host: bool) -> None:
        self._on_host = on_host
        self._rows: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Return the bytes of all rows that there is room for."""
        return 0 if self._rows is None else self._rows.nbytes

    def first(self, count: int) -> Shaped[Tensor, "count ..."]:
        """Return the first rows, where they lie; there must be some."""
        assert self._rows is not None, "nothing was written"
        return self._rows[:count]

    def write(self, start: int, rows: Shaped[Tensor, "new ..."], most: int) -> None:
        """Put rows behind the first `start`, and see that there is room for `most` in all; later rows stay.

        The host waits for a copy from a device: it may itself move the rows next.
        """
        stop = start + len(rows)
        if self._rows is None or len(self._rows) < max(most, stop):
            room = self._room((max(most, stop), *rows.shape[1:]), rows)
            if self._rows is not None:
                room[: len(self._rows)] = self._rows
            self._rows = room
        self._rows[start:stop].copy_(rows)

    def _room(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        if self._on_host:
            return torch.empty(shape, dtype=like.dtype, pin_memory=like.is_cuda)
        return like.new_empty(shape)
