"""The process that is asked: it tells the others what to do, and does the same."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from types import FrameType
from weakref import finalize

import torch
import torch.distributed as dist

from maskkv.errors import DeviceLostError, InputError
from maskkv.models.part import Part
from maskkv.ops.ranks import Together
from maskkv.parallel.follower import Follower, lost, packed
from maskkv.parallel.group import Group


class Leading(Group):
    """Lead: what is done in a context of `mirrored` the others do as well; elsewhere nothing can be exchanged.

    One context is open at a time, in whichever thread.
    """

    def __init__(
        self, part: Part, device: torch.device, store: Path, followers: Sequence[Follower], threads: int
    ) -> None:
        for follower in followers:
            follower.tell(packed(None))
        super().__init__(part, device, store)
        self._followers = followers
        self._keys = count()
        self._turn = threading.RLock()
        self._pipes = threading.Lock()
        self._owner: int | None = None
        """The thread in whose context the others do the same."""
        self._gone: deque[int] = deque()
        """Objects that the others can let go of."""
        self._finish = finalize(self, end, followers, threads)

    def mirrored(self, kind: str, *how: object) -> Together:
        """Have the others make an object of a kind; return how to have them do with theirs as with this one."""
        key = next(self._keys)
        self._tell("make", key, kind, how)
        mirror = _Mirror(self, key)
        # It may be collected in the middle of anything, so the others are told with the next command.
        finalize(mirror, self._gone.append, key)
        return mirror

    def end(self) -> None:
        """End the others."""
        self.alive = False
        self._finish()

    @contextmanager
    def together(self, key: int, name: str, what: tuple[object, ...]) -> Iterator[None]:
        """Have the others do what is done meanwhile; to let go of something needs nobody once they are lost.

        Ctrl-C waits for the end: in the middle, the others would wait for what this process was about to add.
        """
        with self._turn, _uninterrupted():
            if self.alive or name != "remove":
                self._tell("do", key, name, what)
            self._owner = threading.get_ident()
            try:
                yield
            except Exception:
                raise  # Whether the others can go on was decided where it happened.
            except BaseException:
                self.end()
                raise
            finally:
                self._owner = None

    def _tell(self, *command: object) -> None:
        if not self.alive:
            raise DeviceLostError("a part of the model is lost, and the model with it: load it again")
        try:
            with self._pipes:
                while self._gone:
                    self._send("drop", self._gone.popleft())
                self._send(*command)
        except OSError:
            self._lose()

    def _send(self, *command: object) -> None:
        message = packed(command)  # for all, or for nobody
        for follower in self._followers:
            follower.tell(message)

    @contextmanager
    def _meeting(self) -> Iterator[None]:
        if self._owner != threading.get_ident():
            raise InputError("this looks into a model as one device computes it: load it without tensor_parallel")
        if not self.alive:
            self._lose()
        try:
            yield
        except RuntimeError as error:
            self._lose(f" ({str(error).splitlines()[0].partition('. ')[0]})")

    def _lose(self, why: str = "") -> None:
        told = lost(self._followers)
        self.end()
        raise DeviceLostError(told + why) from None


class _Mirror:
    """Stand for an object that this process and the others have."""

    def __init__(self, leading: Leading, key: int) -> None:
        self._leading, self._key = leading, key

    @contextmanager
    def __call__(self, name: str, *what: object) -> Iterator[None]:
        with self._leading.together(self._key, name, what):
            yield


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put Ctrl-C off until the end; only the main thread is told of it at all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    before = signal.getsignal(signal.SIGINT)
    if before is None:
        yield  # whoever embeds Python handles it
        return
    signal.signal(signal.SIGINT, lambda *what: came.append(what))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came and callable(before):
            before(*came[0])
        elif came:
            signal.raise_signal(signal.SIGINT)  # which ends this process, or is ignored


def end(followers: Sequence[Follower], threads: int) -> None:
    """End processes, and what this one exchanged with them; it has all `threads` again."""
    torch.set_num_threads(threads)
    for follower in followers:
        follower.end()
    if dist.is_initialized():
        with suppress(RuntimeError):
            dist.destroy_process_group()
