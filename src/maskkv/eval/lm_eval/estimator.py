"""The likelihood of an answer, estimated from masked copies of it, and whether greedy decoding would give it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from maskkv.api import LanguageModel
from maskkv.cache import BlockCopies, NoCache, SeparateSequences
from maskkv.decoding.fitting import for_model
from maskkv.decoding.sampler import guide
from maskkv.errors import CheckpointError
from maskkv.eval.lm_eval.blocks import Copies, copy_blocks, count
from maskkv.eval.lm_eval.likelihood import Likelihood
from maskkv.eval.lm_eval.masks import Masks, draw, generator_for
from maskkv.eval.lm_eval.pairs import Pair
from maskkv.eval.lm_eval.requests import Estimate
from maskkv.generation import Generation
from maskkv.models.stretch import stretch
from maskkv.models.transformer import LOGIT_ROWS
from maskkv.plan import Workload, check_fits

_CHUNKS = 4
"""Chunks of rows in a pass over several copies, unless one copy is longer."""


class LikelihoodEstimator:
    """Estimate likelihoods under a model, without a cache.

    `settings` name an estimator. Of `schedule` the seed and the guidance count.

    Raises:
        InputError: The model is block-causal, for which there is no guidance.
    """

    def __init__(self, llm: LanguageModel, settings: Likelihood, schedule: Generation) -> None:
        for_model(Generation(cfg_scale=schedule.cfg_scale), llm.policy, llm.model.config)
        self._llm = llm
        self._settings = settings
        self._seed = schedule.seed
        self._cfg_scale = schedule.cfg_scale

    def estimate(self, pairs: Sequence[Pair]) -> Estimate:
        """Estimate pairs that are parts of one text; greedy decoding gives it if it gives every part."""
        tokens = sum(len(pair.answer) for pair in pairs)
        return Estimate(
            text="",
            prompt_length=len(pairs[0].context) if pairs else 0,
            gen_length=tokens,
            tokens=tokens,
            steps=sum(map(self._copies, pairs)),
            cache_bytes=0,
            full_cache_bytes=0,
            nll=math.fsum(map(self.negative_log_likelihood, pairs)),
            greedy=self._settings.is_check_greedy and all(map(self.is_greedy, pairs)),
        )

    def negative_log_likelihood(self, pair: Pair) -> float:
        """Estimate the negative log-likelihood of an answer, in nats; the same whatever was asked before.

        Raises:
            InputError: The pair needs more memory than is free.
            CheckpointError: The logits were not numbers.
        """
        model, made = self._llm.model, replace(self._response(pair), block_length=1)
        check_fits(model, Workload(len(pair.context) + len(pair.after), made, self._llm.policy_for()))
        generator = generator_for(self._seed, pair.context)
        if model.config.causal_block is None:
            estimate = self.weighed(pair, draw(len(pair.answer), self._settings, generator))
        else:
            estimate = self.weighed_blocks(pair, copy_blocks(pair, model.config, self._settings, generator))
        if not math.isfinite(estimate):
            raise CheckpointError(
                "the model's logits are not finite numbers: its weights must be finite, and its dtype wide enough for "
                "its activations (bfloat16 or float32 rather than float16)"
            )
        return estimate

    def weighed(self, pair: Pair, masks: Masks) -> float:
        """Return the mean over the copies of the weighted cross entropies at their masks."""
        total = 0.0
        with torch.inference_mode():
            for copies in self._groups(pair, len(masks.masked)):
                total += float(self._losses(pair, Masks(masks.masked[copies], masks.weights[copies])).sum())
        return total / len(masks.masked)

    def weighed_blocks(self, pair: Pair, copies: Copies) -> float:
        """Return the sum over the copies of blocks of the weighted cross entropies at their masks."""
        rows = self._llm.model.chunk_rows
        # Beside what comes before the blocks, a chunk at least.
        size = max(1, max(rows, _CHUNKS * rows - int(copies.starts[-1])) // copies.tokens.shape[1])
        total = 0.0
        with torch.inference_mode():
            for start in range(0, len(copies.starts), size):
                total += float(self._block_losses(pair, copies.some(slice(start, start + size))).sum())
        return total

    def is_greedy(self, pair: Pair) -> bool:
        """Tell whether the answer is what committing the surest mask, one per step, makes of the context.

        On block-causal models that is the surest of a block, and what comes behind the answer in its last block is made
        as well, if it is surer.
        """
        left = len(pair.answer)
        for step in self._llm.stream_ids(pair.context, self._response(pair), policy="none", budget=None):
            for place, token in zip(step.positions, step.tokens, strict=True):
                if place < len(pair.answer):
                    if pair.answer[place] != token:
                        return False  # what is committed stays
                    left -= 1
            if left == 0:
                break
        return True

    def _response(self, pair: Pair) -> Generation:
        """Say how greedy decoding makes an answer so long: as one block, or as the blocks of a block-causal model."""
        length = len(pair.answer)
        block = self._llm.model.config.causal_block or length
        return Generation(
            gen_length=-(-length // block) * block, block_length=block, stop_at_eos=False, cfg_scale=self._cfg_scale
        )

    def _copies(self, pair: Pair) -> int:
        block = self._llm.model.config.causal_block
        return self._settings.mc_num if block is None else count(pair, block, self._settings)

    def _groups(self, pair: Pair, copies: int) -> Iterator[slice]:
        """Split the copies so that a pass has a limited number of rows, and at least one copy."""
        length = len(pair.context) + len(pair.answer) + len(pair.after)
        size = max(1, _CHUNKS * self._llm.model.chunk_rows // (length * (2 if self._cfg_scale else 1)))
        yield from (slice(start, start + size) for start in range(0, copies, size))

    def _losses(self, pair: Pair, masks: Masks) -> Float64[Tensor, " masks"]:
        """Return the weighted cross entropy at every mask, in float64 on the host."""
        model = self._llm.model
        context, mask_id = len(pair.context), model.config.mask_id
        copies = torch.tensor([*pair.context, *pair.answer, *pair.after]).repeat(len(masks.masked), 1)
        length = copies.shape[1]
        answers = slice(context, context + len(pair.answer))
        copies[:, answers].masked_fill_(masks.masked, mask_id)
        copy, place = masks.masked.nonzero(as_tuple=True)
        rows = copy * length + context + place - model.config.logit_shift
        if self._cfg_scale:
            unconditional = copies.clone()
            unconditional[:, :context] = mask_id
            copies = torch.cat((copies, unconditional))
        if len(rows) == 0:
            return masks.weights[copy]
        positions = torch.arange(length).repeat(len(copies))
        hidden = self._hidden(copies.flatten(), positions, length, SeparateSequences(len(copies)))
        return self._cross_entropies(hidden, rows, torch.tensor(pair.answer)[place]) * masks.weights[copy]

    def _block_losses(self, pair: Pair, copies: Copies) -> Float64[Tensor, " masks"]:
        """Return the weighted cross entropy at every mask of blocks, in float64 on the host.

        What comes before the last of them is run once, unmasked.
        """
        before, block = int(copies.starts[-1]), copies.tokens.shape[1]
        masked = copies.tokens.masked_fill(copies.masked, self._llm.model.config.mask_id)
        tokens = torch.cat((torch.tensor([*pair.context, *pair.answer])[:before], masked.flatten()))
        places = copies.starts[:, None] + torch.arange(block)
        positions = torch.cat((torch.arange(before), places.flatten()))
        length = len(pair.context) + self._response(pair).gen_length
        hidden = self._hidden(tokens, positions, length, BlockCopies(copies.starts.tolist(), block))
        copy, place = copies.masked.nonzero(as_tuple=True)
        rows = before + copy * block + place
        return self._cross_entropies(hidden, rows, copies.tokens[copy, place]) * copies.weights[copy]

    def _hidden(
        self, tokens: Int[Tensor, " rows"], positions: Int[Tensor, " rows"], length: int, cache: NoCache
    ) -> Float[Tensor, "rows hidden"]:
        """Run rows through the model, stretched as a sequence of so many tokens is."""
        model = self._llm.model
        scale = stretch(model.config, length, self._llm.rope_scale)
        return model(tokens, model.rotation(positions.to(model.device), scale), cache)

    def _cross_entropies(
        self, hidden: Float[Tensor, "rows hidden"], rows: Int[Tensor, " masks"], targets: Int[Tensor, " masks"]
    ) -> Float64[Tensor, " masks"]:
        """Return how unlikely each row finds its target, in nats, in float64 on the host."""
        device = self._llm.model.device
        parts = zip(self._logits(hidden, rows.to(device)), targets.to(device).split(LOGIT_ROWS), strict=True)
        return torch.cat(
            [-logits.log_softmax(-1).gather(-1, own[:, None]).squeeze(-1).double().cpu() for logits, own in parts]
        )

    def _logits(
        self, hidden: Float[Tensor, "rows hidden"], rows: Int[Tensor, " n"]
    ) -> Iterator[Float[Tensor, "part vocab"]]:
        """Compute the guided logits of some rows, in fp32, a few rows at a time."""
        model = self._llm.model
        for part in rows.split(LOGIT_ROWS):
            logits = model.logits(hidden[part]).float()
            if self._cfg_scale:
                other = model.logits(hidden[len(hidden) // 2 + part]).float()
                logits = guide(logits, other, self._cfg_scale)
            yield logits
