"""What a process knows of the others that hold the rest of the same model: nothing, if the model is not split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol, runtime_checkable

from torch import Tensor

from maskkv.errors import MaskKVError

Together = Callable[..., AbstractContextManager[None]]
"""Have the other processes do the same, named and with its arguments, as long as the context lasts."""


@runtime_checkable
class Ranks(Protocol):
    """Let the processes of a model that is split by its heads (tensor parallelism) act as one.

    Every process calls the same methods in the same order. All return the same in every process.
    """

    @property
    def rank(self) -> int:
        """Return the number of this process, from 0."""
        ...

    @property
    def count(self) -> int:
        """Return how many there are."""
        ...

    @property
    def alive(self) -> bool:
        """Tell whether none of them is lost."""
        ...

    def add_up(self, own: Tensor) -> Tensor:
        """Return the sum of the processes' tensors; `own` may be written over."""
        ...

    def gather(self, own: Tensor) -> Tensor:
        """Return the tensors of all processes, one behind the other along the first axis; all have one shape."""
        ...

    def total(self, own: int) -> int:
        """Return the sum of the processes' numbers."""
        ...

    def agreed(self, own: Sequence[Tensor]) -> list[Tensor]:
        """Return the tensors of the first process; they are in host memory, and of the same shapes everywhere."""
        ...

    def mirrored(self, kind: str, *how: object) -> Together:
        """Make an object of a kind in the other processes; return how to have them do with theirs as with this one."""
        ...

    def end(self) -> None:
        """End the other processes; nothing can be computed afterwards."""
        ...


@contextmanager
def unbroken(ranks: Ranks) -> Iterator[None]:
    """Let go of the other processes if something fails in this one that need not fail in them.

    They would wait for what this one was about to add. What is refused on purpose is refused everywhere.
    """
    try:
        yield
    except MaskKVError:
        raise
    except BaseException:  # what a signal's handler raises, too
        ranks.end()
        raise


class Alone:
    """Stand for the only process of a model that is not split."""

    rank, count, alive = 0, 1, True

    def add_up(self, own: Tensor) -> Tensor:
        """Return the tensor itself."""
        return own

    def gather(self, own: Tensor) -> Tensor:
        """Return the tensor itself."""
        return own

    def total(self, own: int) -> int:
        """Return the number itself."""
        return own

    def agreed(self, own: Sequence[Tensor]) -> list[Tensor]:
        """Return the tensors themselves."""
        return list(own)

    def mirrored(self, kind: str, *how: object) -> Together:
        """Return a context that does nothing."""
        return lambda *_: nullcontext()

    def end(self) -> None:
        """Do nothing: there is nobody to end."""


ALONE = Alone()
