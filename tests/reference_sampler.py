"""The published samplers restated slowly: whole canvases, plain loops, one candidate at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from maskkv.generation import Generation

Model = Callable[[list[int]], Tensor]
"""Maps the tokens of a response to logits [gen_length, vocab]."""
Event = tuple[int, int, float]
"""A committed position, its token and the token's probability."""


def make_model(length: int, vocab: int, seed: int) -> Model:
    """Make logits that depend on every token of the canvas, at random but always in the same way.

    They are about 1 in size: no probability comes so near to 1 that fp32 makes a tie of what is none.
    """
    random = torch.Generator().manual_seed(seed)
    mix = torch.randn(length, length, generator=random) / math.sqrt(length)
    embed = torch.randn(vocab, 8, generator=random)
    head = torch.randn(8, vocab, generator=random) / 4
    return lambda canvas: (torch.eye(length) + mix) @ embed[canvas] @ head


def allowed(logits: Tensor, generation: Generation, mask_id: int, eos_ids: tuple[int, ...]) -> list[list[float]]:
    """Forbid the tokens that may not be committed."""
    table: list[list[float]] = logits.tolist()
    for row in table:
        row[mask_id] = -math.inf
        if generation.logits_eos_inf:
            row[eos_ids[0]] = -math.inf
    return table


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def argmax(row: list[float]) -> int:
    return max(range(len(row)), key=lambda index: (row[index], -index))


def best(scores: dict[int, float], count: int) -> list[int]:
    return sorted(sorted(scores, key=lambda position: (-scores[position], position))[:count])


def parallel_count(scores: dict[int, float], generation: Generation) -> int:
    falling = sorted(scores.values(), reverse=True)
    count = 1
    while count < len(falling):
        if generation.threshold is not None:
            sure = falling[count] >= generation.threshold
        else:
            assert generation.factor is not None
            sure = falling[count] >= 1 - generation.factor / (count + 2)
        if not sure:
            break
        count += 1
    return count


def shared_out(masks: int, generation: Generation, usual: str) -> list[int]:
    """Say how many of a block's masks each of its steps takes, by hand; `usual` is the model's own way."""
    blocks = math.ceil(generation.gen_length / generation.block_length)
    steps = generation.block_length if generation.steps is None else math.ceil(generation.steps / blocks)
    if (generation.shares or usual) == "largest_first":
        return [masks // steps + (step < masks % steps) for step in range(steps)]
    shares, one = [], np.float32(1)
    for left in range(steps, 0, -1):
        before, after = (one - (one - np.float32(each / steps)) for each in (left, left - 1))
        share = min(masks, round(masks * (1 - float(after / before))))
        if share:
            shares.append(share)
        masks -= share
    return shares


def llada(
    model: Model, generation: Generation, mask_id: int, eos_ids: tuple[int, ...], usual: str = "largest_first"
) -> list[list[Event]]:
    """Run LLaDA's sampler, or A2D's, to its end; one list of events per step. `usual` is the model's own schedule."""
    random = torch.Generator().manual_seed(generation.seed)
    canvas = [mask_id] * generation.gen_length
    history: list[list[Event]] = []
    for start in range(0, generation.gen_length, generation.block_length):
        block = range(start, min(start + generation.block_length, generation.gen_length))
        shares = shared_out(len(block), generation, usual)
        step = 0
        while any(canvas[position] == mask_id for position in block):
            logits = allowed(model(canvas), generation, mask_id, eos_ids)
            left = [position for position in block if canvas[position] == mask_id]
            vocab = len(logits[0])
            noise = torch.ones(len(left), vocab, dtype=torch.float64)
            if generation.temperature > 0:
                noise = torch.rand(len(left), vocab, dtype=torch.float64, generator=random)
            lottery = torch.rand(len(left), generator=random) if generation.remasking == "random" else None
            tokens, confidences, scores = {}, {}, {}
            for index, position in enumerate(left):
                row = noisy = logits[position]
                if generation.temperature > 0:
                    draws = noise[index].tolist()
                    noisy = [
                        math.exp(value) / (-math.log(u)) ** generation.temperature
                        for value, u in zip(row, draws, strict=True)
                    ]
                tokens[position] = argmax(noisy)
                confidences[position] = softmax(row)[tokens[position]]
                scores[position] = confidences[position]
                if generation.confidence_eos_eot_inf:
                    others = [-math.inf if token in eos_ids else value for token, value in enumerate(row)]
                    scores[position] = softmax(others)[tokens[position]]
                if lottery is not None:
                    scores[position] = float(lottery[index])
                if generation.confidence_eos_eot_inf and tokens[position] in eos_ids:
                    scores[position] = -math.inf
            count = parallel_count(scores, generation) if generation.confidence_decides else shares[step]
            history.append([(p, tokens[p], confidences[p]) for p in best(scores, count)])
            for position, token, _ in history[-1]:
                canvas[position] = token
            step += 1
    return history


def filtered(row: list[float], generation: Generation) -> list[float]:
    """Apply Dream's temperature, top-p and top-k to one row, and normalise."""
    if generation.temperature > 0:
        row = [value / generation.temperature for value in row]
    order = sorted(range(len(row)), key=lambda token: -row[token])
    if generation.top_p is not None and generation.top_p < 1:
        chances, total, kept = softmax(row), 0.0, set()
        for token in order:
            if total > generation.top_p:
                break
            kept.add(token)
            total += chances[token]
        row = [value if token in kept else -math.inf for token, value in enumerate(row)]
    if generation.top_k is not None:
        least = row[order[min(generation.top_k, len(row)) - 1]]
        row = [value if value >= least else -math.inf for value in row]
    return softmax(row)


def rating(chances: list[float], confidence: float, alg: str | None) -> float:
    """Say how sure Dream is of a position."""
    if alg == "topk_margin":
        return sorted(chances)[-1] - sorted(chances)[-2]
    if alg == "entropy":
        return sum(chance * math.log(chance + 1e-10) for chance in chances)
    return confidence


def dream(model: Model, generation: Generation, mask_id: int, eos_ids: tuple[int, ...]) -> list[list[Event]]:
    """Run Dream's sampler to its end, its schedule repeated in every block; one list of events per step."""
    random = torch.Generator().manual_seed(generation.seed)
    canvas = [mask_id] * generation.gen_length
    steps = generation.num_steps // generation.num_blocks
    times = torch.linspace(1, generation.eps, steps + 1)
    history: list[list[Event]] = []
    for start in range(0, generation.gen_length, generation.block_length):
        for step in range(steps if not generation.confidence_decides else generation.block_length):
            left = [p for p in range(start, start + generation.block_length) if canvas[p] == mask_id]
            if not left:
                break
            logits = allowed(model(canvas), generation, mask_id, eos_ids)
            chances = {position: filtered(logits[position], generation) for position in left}
            if generation.temperature > 0:
                table = torch.tensor([chances[position] for position in left])
                drawn = torch.multinomial(table, 1, generator=random).flatten().tolist()
                tokens = dict(zip(left, drawn, strict=True))
            else:
                tokens = {position: argmax(chances[position]) for position in left}
            confidences = {position: chances[position][tokens[position]] for position in left}
            scores = {p: rating(chances[p], confidences[p], generation.alg) for p in left}
            last = step == steps - 1
            rate = 1 - times[step + 1] / times[step]
            if generation.alg == "origin":
                draws = torch.rand(len(left), generator=random)
                taken = [p for p, u in zip(left, draws, strict=True) if last or u < rate]
            elif generation.confidence_decides:
                taken = best(scores, parallel_count(scores, generation))
            else:
                if generation.alg_temp > 0:
                    # A draw without replacement by weights: the first k of exponential clocks with these rates.
                    clocks = -torch.rand(len(left), dtype=torch.float64, generator=random).log()
                    scores = {
                        p: -float(clock) / math.exp(scores[p] / generation.alg_temp)
                        for p, clock in zip(left, clocks, strict=True)
                    }
                taken = best(scores, len(left) if last else int(torch.tensor(len(left)) * rate))
            history.append([(p, tokens[p], confidences[p]) for p in taken])
            for position, token, _ in history[-1]:
                canvas[position] = token
    return history
