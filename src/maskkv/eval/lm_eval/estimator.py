"""The likelihood of an answer, estimated from masked copies of it, and whether greedy decoding would give it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from maskkv.api import LanguageModel
from maskkv.cache import SeparateSequences
from maskkv.decoding.sampler import guide
from maskkv.errors import CheckpointError
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
    """

    def __init__(self, llm: LanguageModel, settings: Likelihood, schedule: Generation) -> None:
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
            steps=self._settings.mc_num * len(pairs),
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
        made = Generation(gen_length=len(pair.answer), block_length=1, cfg_scale=self._cfg_scale)
        length = len(pair.context) + len(pair.after)
        check_fits(self._llm.model, Workload(length, made, self._llm.policy_for()))
        masks = draw(len(pair.answer), self._settings, generator_for(self._seed, pair.context))
        estimate = self.weighed(pair, masks)
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

    def is_greedy(self, pair: Pair) -> bool:
        """Tell whether the answer is what committing the surest mask, one per step, makes of the context."""
        generation = Generation(
            gen_length=len(pair.answer),
            block_length=len(pair.answer),
            stop_at_eos=False,
            cfg_scale=self._cfg_scale,
        )
        for step in self._llm.stream_ids(pair.context, generation, policy="none", budget=None):
            if any(pair.answer[place] != token for place, token in zip(step.positions, step.tokens, strict=True)):
                return False  # what is committed stays
        return True

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
        hidden = self._hidden(copies)
        targets = torch.tensor(pair.answer)[place].to(model.device)
        losses = [
            -logits.log_softmax(-1).gather(-1, own[:, None]).squeeze(-1).double().cpu()
            for logits, own in zip(self._logits(hidden, rows.to(model.device)), targets.split(LOGIT_ROWS), strict=True)
        ]
        return torch.cat(losses) * masks.weights[copy]

    def _hidden(self, sequences: Int[Tensor, "sequences length"]) -> Float[Tensor, "rows hidden"]:
        """Run sequences through the model, each for itself."""
        model = self._llm.model
        count, length = sequences.shape
        positions = torch.arange(length, device=model.device).repeat(count)
        rotation = model.rotation(positions, stretch(model.config, length, self._llm.rope_scale))
        return model(sequences.flatten(), rotation, SeparateSequences(count))

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
