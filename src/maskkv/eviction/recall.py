"""How evicted pairs come back: who asks for them, how often, and what of them is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from maskkv.checks import check_whole, quoted
from maskkv.errors import InputError

EVICTED = ("drop", "host", "device")
"""What becomes of evicted pairs: they are freed (the paper), or they wait and may come back, in host memory, or on the
device for each block of a block-causal model to choose anew."""

RECALL_VOTERS = ("fresh", "mask")
RECALL_TALLIES = ("max", "sum")
INDEXES = ("none", "int8", "int4")
HOST_DTYPES = ("auto", "int8")


def check_evicted(evicted: object) -> str:
    """Return what becomes of evicted pairs if there is such a thing, else raise InputError."""
    if not isinstance(evicted, str) or evicted not in EVICTED:
        raise InputError(f"evicted {quoted(evicted)}: expected {', '.join(EVICTED[:-1])} or {EVICTED[-1]}")
    return evicted


@dataclass(frozen=True)
class Recall:
    """Let the rows that read choose a layer's pairs anew, each KV head its own, among all pairs of the prompt.

    In every `recall_interval`-th step since the prompt was read, each layer's `recall_voters` (the rows that are
    recomputed, or the masks among them) give every pair of the prompt their softmax weight; a head keeps as many pairs
    as it was given by the policy's vote: those with the largest weight by any row (`recall_tally` max), or with the
    largest sum. `index` says which keys are scanned: the exact ones, or a copy of them in 8 or 4 bits that stays on the
    device. `host_dtype` is what evicted pairs are stored in: the model's own dtype (`auto`) or `int8`.
    """

    recall_interval: int = 1
    recall_voters: str = "fresh"
    recall_tally: str = "max"
    index: str = "none"
    host_dtype: str = "auto"
    where: ClassVar[str] = "host"
    """Where pairs wait that are not read."""

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_whole("recall_interval", self.recall_interval, 1)
        _check_words(self, recall_voters=RECALL_VOTERS, recall_tally=RECALL_TALLIES)
        _check_words(self, index=INDEXES, host_dtype=HOST_DTYPES)

    def due(self, since: int, *, begins: bool) -> bool:
        """Tell whether rows choose in a pass, so many after the one over the prompt; `begins`: the first of a block."""
        return since % self.recall_interval == 0

    def __str__(self) -> str:
        counted = "max" if self.recall_tally == "max" else "Σ"
        often = "every step" if self.recall_interval == 1 else f"every {self.recall_interval} steps"
        keys = "" if self.index == "none" else f", over {self.index} keys"
        return f"{often}, {counted} A_ij, i in {self.recall_voters} rows{keys}"


@dataclass(frozen=True)
class BlockVote:
    """Let each block of a block-causal model choose what its rows read (MAGE, arXiv 2602.14209): nothing is lost.

    All pairs stay on the device. In the first pass of a block its rows read all of them, and the pairs to which its
    `recall_voters` (all rows, or the masks) give most weight, as many for each head as the policy's vote gave it, are
    what the block's other passes read. `recall_tally` is as in a `Recall`.
    """

    recall_voters: str = "mask"
    recall_tally: str = "sum"
    where: ClassVar[str] = "device"
    index: ClassVar[str] = "none"
    host_dtype: ClassVar[str] = "auto"

    def __post_init__(self) -> None:
        """Check the parameters."""
        _check_words(self, recall_voters=RECALL_VOTERS, recall_tally=RECALL_TALLIES)

    def due(self, since: int, *, begins: bool) -> bool:
        """Tell whether rows choose in a pass: in the first of a block."""
        return begins

    def __str__(self) -> str:
        counted = "max" if self.recall_tally == "max" else "Σ"
        return f"once a block, {counted} A_ij, i in {self.recall_voters} rows, after all pairs were read"


def _check_words(recall: Recall | BlockVote, **known: tuple[str, ...]) -> None:
    for name, words in known.items():
        if getattr(recall, name) not in words:
            raise InputError(f"{name} {getattr(recall, name)!r}: expected one of {', '.join(words)}")
