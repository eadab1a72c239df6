"""What each mask would become, how likely that is, and how it ranks among the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from maskkv.generation import Generation
from maskkv.ops.wide import wide, widest


@dataclass(frozen=True)
class Proposals:
    """Hold, for each candidate, its token, the token's probability, and a score: the highest goes first.

    `surest` is the largest probability that the candidate gives to any token, where a rule asks for it.
    """

    tokens: Int[Tensor, " n"]
    confidences: Float[Tensor, " n"]
    scores: Float[Tensor, " n"]
    surest: Float[Tensor, " n"] | None = None

    def split(self, counts: Sequence[int]) -> list[Proposals]:
        """Give each sequence its own, if its candidates are so many."""
        columns = (self.tokens, self.confidences, self.scores)
        parts = [column.split(list(counts)) for column in columns]
        surest = [None] * len(counts) if self.surest is None else self.surest.split(list(counts))
        return [Proposals(*own) for own in zip(*parts, surest, strict=True)]

    @property
    def columns(self) -> list[Tensor]:
        """Return all that is held."""
        held = [self.tokens, self.confidences, self.scores]
        return held if self.surest is None else [*held, self.surest]


@dataclass(frozen=True)
class Draws:
    """Draw random numbers for the candidates of several sequences, each from its own sequence's generator.

    What a sequence draws does not depend on the others.
    """

    generators: Sequence[torch.Generator]
    counts: Sequence[int]
    """Candidates of each sequence."""

    def uniform(self, *columns: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "n ..."]:
        """Draw from [0, 1)."""
        return torch.cat(
            [
                torch.rand((count, *columns), dtype=dtype, device=generator.device, generator=generator)
                for generator, count in zip(self.generators, self.counts, strict=True)
            ]
        )

    def gumbel(self, *columns: int) -> Float[Tensor, "n ..."]:
        """Draw standard Gumbel noise, -ln(-ln u), in wide numbers: fp32 truncates its tail (arXiv 2409.02908)."""
        return -(-self.uniform(*columns, dtype=widest(self.generators[0].device)).log()).log()

    def multinomial(self, probabilities: Float[Tensor, "n vocab"]) -> Int[Tensor, " n"]:
        """Draw a token for each candidate: the one whose exponential clock, as fast as it is likely, rings first.

        These are the numbers that torch.multinomial draws, which asks the host whether it was given probabilities.
        """
        waits = [
            torch.empty_like(own).exponential_(generator=generator)
            for generator, own in zip(self.generators, probabilities.split(list(self.counts)), strict=True)
        ]
        return (probabilities / torch.cat(waits)).argmax(-1)


def shaken(scores: Float[Tensor, "n ..."], temperature: float, noise: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Add noise to scores in float64, the stronger the higher the temperature; only their order means anything.

    The larger of the two keeps its size, so that no temperature is too high or too low for the numbers there are.
    """
    own = wide(scores)
    return own + temperature * noise if temperature <= 1 else own / temperature + noise


def propose_llada(
    logits: Float[Tensor, "n vocab"], generation: Generation, eos_ids: tuple[int, ...], draws: Draws
) -> Proposals:
    """Propose as LLaDA does (arXiv 2502.09992): Gumbel-max tokens, ranked by their plain softmax.

    With `confidence_eos_eot_inf` the ranking excludes the end tokens: the other tokens share their
    probability, and positions that predict one come last, at any temperature.
    """
    if generation.temperature > 0:
        # exp(logits) / (-ln u)^T is largest where its logarithm is, and the logarithm cannot overflow.
        tokens = shaken(logits, generation.temperature, draws.gumbel(logits.shape[-1])).argmax(-1)
    else:
        tokens = logits.argmax(-1)
    confidences = probability_of(tokens, logits)
    scores = confidences
    if generation.remasking == "random":
        scores = draws.uniform()
    if generation.remasking == "sequential":
        # Candidates come in the order of their positions.
        scores = -torch.arange(len(logits), dtype=torch.float32, device=logits.device)
    if generation.confidence_eos_eot_inf:
        ends = torch.tensor(eos_ids, dtype=torch.long).to(logits.device, non_blocking=True)
        if generation.remasking == "low_confidence":
            scores = probability_of(tokens, logits.index_fill(-1, ends, -torch.inf))
        scores = scores.masked_fill(torch.isin(tokens, ends), -torch.inf)
    return Proposals(tokens, confidences, scores)


def propose_dream(logits: Float[Tensor, "n vocab"], generation: Generation, draws: Draws) -> Proposals:
    """Propose as Dream does (arXiv 2508.15487): tempered, filtered tokens, ranked by what `alg` names."""
    probabilities = dream_probabilities(logits, generation)
    tokens = draws.multinomial(probabilities) if generation.temperature > 0 else probabilities.argmax(-1)
    confidences = probabilities.gather(-1, tokens[:, None]).squeeze(-1)
    if generation.alg == "origin":
        return Proposals(tokens, confidences, -draws.uniform())
    scores = confidences
    if generation.alg == "topk_margin":
        first, second = probabilities.topk(2, dim=-1).values.unbind(-1)
        scores = first - second
    elif generation.alg == "entropy":
        scores = (probabilities * (probabilities + 1e-10).log()).sum(-1)
    if generation.alg_temp > 0:
        # The k largest of score + Gumbel noise are k draws without replacement from softmax(score); unlike
        # drawing from the softmax, this still works where all but a few probabilities underflow.
        scores = shaken(scores, generation.alg_temp, draws.gumbel())
    return Proposals(tokens, confidences, scores)


def dream_probabilities(logits: Float[Tensor, "n vocab"], generation: Generation) -> Float[Tensor, "n vocab"]:
    """Divide by the temperature, keep the nucleus (`top_p`), then the `top_k` likeliest, and normalise."""
    if generation.temperature > 0:
        # The largest becomes 0 first, so that no temperature is too small to divide by, but those that fp32 lacks.
        logits = (logits - logits.amax(-1, keepdim=True)) / _normal(generation.temperature)
    if generation.top_p is not None and generation.top_p < 1:
        falling, order = logits.sort(dim=-1, descending=True, stable=True)
        outside = falling.softmax(-1).cumsum(-1) > generation.top_p
        # The token that crosses the line still belongs to the nucleus.
        outside = outside.roll(1, dims=-1).index_fill(-1, order.new_zeros(1), False)
        logits = logits.masked_fill(outside.scatter(-1, order, outside), -torch.inf)
    if generation.top_k is not None:
        weakest = logits.topk(min(generation.top_k, logits.shape[-1]), dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < weakest, -torch.inf)
    return logits.softmax(-1)


def _normal(number: float) -> float:
    """Return the nearest number that is normal in fp32, as its reciprocal is: a device may multiply by that."""
    least = torch.finfo(torch.float32).tiny
    return min(max(number, least), 1 / least)


def probability_of(tokens: Int[Tensor, " n"], logits: Float[Tensor, "n vocab"]) -> Float[Tensor, " n"]:
    """Return the softmax probability of one token per row."""
    return logits.softmax(-1).gather(-1, tokens[:, None]).squeeze(-1)
