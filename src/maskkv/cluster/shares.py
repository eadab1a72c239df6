"""Which part of a machine or of a GPU a replica takes, told from `plan` and the number of replicas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from maskkv.errors import InputError
from maskkv.plan import Shape, Workload

CONTEXT_BYTES = 1 << 30
"""What a process takes of a card beside its tensors: driver's context, kernels, and the allocator's slack."""
_USABLE = 0.9
"""Of a card's memory, what is planned with."""


@dataclass(frozen=True)
class Share:
    """Say what a replica takes: cores and GPUs as Ray counts them, threads of torch, and how many share a device."""

    cpus: float
    gpus: float
    threads: int
    parts: int

    def options(self) -> dict[str, float]:
        """Return what Ray is told of it."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus}


def of_cores(cores: Sequence[int], replicas: int) -> Share:
    """Divide hosts with so many cores each into the largest equal parts that are enough for all replicas.

    >>> of_cores([4, 2], replicas=3)
    Share(cpus=2.0, gpus=0.0, threads=2, parts=2)
    """
    hosts = [each for each in cores if each > 0]
    if not hosts:
        raise InputError("the cluster has no CPU core that Ray may use: start a node with --num-cpus")
    # Each candidate divides one host into equal parts; the largest that fits often enough is the answer.
    candidates = sorted({(each / parts, each, parts) for each in hosts for parts in range(1, replicas + 1)})
    share, host, parts = next(
        (share, host, parts)
        for share, host, parts in reversed(candidates)
        if sum(_fitting(each, host, parts) for each in hosts) >= replicas
    )
    most = max(_fitting(each, host, parts) for each in hosts)
    # Ray counts in ten-thousandths; rounded up, the last part would not fit.
    return Share(math.floor(share * 10_000) / 10_000, 0.0, max(1, int(share)), most)


def _fitting(cores: int, host: int, parts: int) -> int:
    """Count how often `host / parts` cores fit into `cores`."""
    return cores * parts // host


def of_card(card_bytes: int, shape: Shape, work: Workload, max_batch: int, cards: int = 1) -> Share:
    """Divide cards of so many bytes among replicas that each hold the weights and a full batch.

    A model that is split over several `cards`, each of which holds one `shape`, has them for itself.

    Raises:
        InputError: Not even one fits on a card.
    """
    needed = shape.peak(work, max_batch) + CONTEXT_BYTES
    parts = int(_USABLE * card_bytes) // needed
    if parts < 1:
        raise InputError(
            f"a replica needs about {needed / 1e9:,.1f} GB with {max_batch} requests at once, and of a card "
            f"{_USABLE * card_bytes / 1e9:,.1f} GB are planned with: a smaller --max-batch, --max-prompt-length or "
            "--budget, or --quantize, needs less"
        )
    if cards > 1:
        return Share(float(cards), float(cards), 1, 1)
    # Rounded up, so many parts would be more than a card.
    return Share(1.0, math.floor(10_000 / parts) / 10_000, 1, parts)


def fitting_on(share: Share, cards: Sequence[int]) -> int:
    """Count the replicas that fit on hosts with so many cards each; the cards of one lie in one host.

    >>> fitting_on(Share(1.0, 0.5, 1, 2), [1, 2])
    6
    >>> fitting_on(Share(1.0, 2.0, 1, 1), [1, 3, 8])
    5
    """
    if share.gpus <= 1:
        return share.parts * sum(cards)
    return sum(count // int(share.gpus) for count in cards)


def on_card(card_bytes: int, parts: int, weight_bytes: int) -> int:
    """Return the bytes that running requests of a replica may take beside the weights."""
    return max(1, int(_USABLE * card_bytes) // parts - weight_bytes - CONTEXT_BYTES)
