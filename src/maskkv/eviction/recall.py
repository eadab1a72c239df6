"""How evicted pairs come back: who asks for them, how often, and what of them is looked at."""

from __future__ import annotations

from dataclasses import dataclass

from maskkv.checks import check_whole, quoted
from maskkv.errors import InputError

EVICTED = ("drop", "host")
"""What becomes of evicted pairs: they are freed (the paper), or they wait in host memory and may come back."""

RECALL_VOTERS = ("fresh", "mask")
RECALL_TALLIES = ("max", "sum")
INDEXES = ("none", "int8", "int4")
HOST_DTYPES = ("auto", "int8")


def check_evicted(evicted: object) -> str:
    """Return what becomes of evicted pairs if there is such a thing, else raise InputError."""
    if not isinstance(evicted, str) or evicted not in EVICTED:
        raise InputError(f"evicted {quoted(evicted)}: expected {' or '.join(EVICTED)}")
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

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_whole("recall_interval", self.recall_interval, 1)
        for name, known in (
            ("recall_voters", RECALL_VOTERS),
            ("recall_tally", RECALL_TALLIES),
            ("index", INDEXES),
            ("host_dtype", HOST_DTYPES),
        ):
            if getattr(self, name) not in known:
                raise InputError(f"{name} {getattr(self, name)!r}: expected one of {', '.join(known)}")

    def __str__(self) -> str:
        counted = "max" if self.recall_tally == "max" else "Σ"
        often = "every step" if self.recall_interval == 1 else f"every {self.recall_interval} steps"
        keys = "" if self.index == "none" else f", over {self.index} keys"
        return f"{often}, {counted} A_ij, i in {self.recall_voters} rows{keys}"
