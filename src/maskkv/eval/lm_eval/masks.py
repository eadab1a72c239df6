"""Which tokens of an answer are masked in each of its copies, and what these weigh."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from maskkv.eval.lm_eval.likelihood import Likelihood


@dataclass(frozen=True)
class Masks:
    """Hold the masked tokens of each copy of an answer, and what the cross entropy at each of them is multiplied with.

    The mean of these sums over the copies is the estimate: in expectation no less than the negative log-likelihood.
    """

    masked: Bool[Tensor, "copies tokens"]
    weights: Float64[Tensor, " copies"]


def draw(length: int, settings: Likelihood, generator: torch.Generator) -> Masks:
    """Draw the copies of an answer of so many tokens, batch by batch, on the host.

    `settings` name an estimator. A block of a block-causal model has every copy once if these are no more than are
    drawn.
    """
    if settings.estimator == "blocks" and copies_of(length, settings) == 2**length - 1:
        return every(length)
    one = draw_dream if settings.estimator == "dream" else draw_llada
    batches = [one(length, settings, generator) for _ in range(settings.mc_num // settings.batch)]
    return Masks(torch.cat([each.masked for each in batches]), torch.cat([each.weights for each in batches]))


def copies_of(length: int, settings: Likelihood) -> int:
    """Return how many copies of so many tokens are made.

    >>> copies_of(3, Likelihood(mc_num=8, estimator="blocks")), copies_of(4, Likelihood(mc_num=8, estimator="blocks"))
    (7, 8)
    """
    return min(settings.mc_num, 2**length - 1) if settings.estimator == "blocks" else settings.mc_num


def every(length: int) -> Masks:
    """Mask a token or more in every way there is: the mean of what `draw_llada` draws, without an error."""
    masked = (torch.arange(1, 2**length)[:, None] >> torch.arange(length)) % 2 == 1
    # All numbers of masks are equally likely, then all choices of so many: k masks weigh length / k.
    likely = torch.tensor([1 / (length * math.comb(length, k)) for k in masked.sum(1).tolist()], dtype=torch.float64)
    return Masks(masked, len(masked) * likely * length / masked.sum(1))


def draw_llada(length: int, settings: Likelihood, generator: torch.Generator) -> Masks:
    """Draw a batch as LLaDA does (arXiv 2502.09992; ML-GSAI/LLaDA eval_llada.py, `_forward_process`).

    The number of masks of the first copy is uniform from 1 to the answer's length; `spread` says those of the others.
    """
    copies = settings.batch
    counts = torch.tensor(spread(int(torch.randint(length, (), generator=generator)) + 1, length, copies))
    order = torch.stack([torch.randperm(length, generator=generator) for _ in range(copies)])
    return Masks(order < counts[:, None], length / counts.double())


def spread(first: int, length: int, copies: int) -> list[int]:
    """Spread numbers of masks evenly over 1 to `length`: `length / copies` apart, after the last one from 1 again.

    Halves are rounded up. Published code rounds them to even numbers, which prefers some numbers of masks (ADR 29).

    >>> spread(3, length=8, copies=4)
    [3, 5, 7, 1]
    """
    return [(first - 1 + (2 * copy * length + copies) // (2 * copies)) % length + 1 for copy in range(copies)]


def draw_dream(length: int, settings: Likelihood, generator: torch.Generator) -> Masks:
    """Draw a batch as Dream does (HKUNLP/Dream eval/eval.py, `_forward_process`).

    Of each copy every token is masked with one probability p, from `sampling_eps` to 1. Those of b copies lie 1 / b
    apart (arXiv 2107.00630, appendix I.1). A copy may have no mask.
    """
    copies = settings.batch
    start = torch.rand((), generator=generator, dtype=torch.float64)
    spread = (start + torch.arange(copies, dtype=torch.float64) / copies) % 1
    part = (1 - settings.sampling_eps) * spread + settings.sampling_eps
    masked = torch.rand((copies, length), generator=generator, dtype=torch.float64) < part[:, None]
    return Masks(masked, 1 / part)


def generator_for(seed: int, context: Sequence[int]) -> torch.Generator:
    """Seed the draws of a request by its context: answers to one question that are equally long share their masks."""
    digest = hashlib.sha256(f"{seed} {list(context)}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
