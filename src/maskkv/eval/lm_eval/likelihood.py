"""How likelihoods are estimated: settings under the names and with the defaults of those who published the models."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from maskkv.checks import check_one_of, check_real, check_whole, quoted
from maskkv.errors import InputError

if TYPE_CHECKING:
    from maskkv.eviction.policy import Policy
    from maskkv.models.config import ModelConfig

Estimator = Literal["llada", "dream", "blocks"]
BATCH = 32
"""Draws that are spread evenly over the number of masks, in both publishers' evaluations."""


@dataclass(frozen=True)
class Likelihood:
    """Say how the likelihood of an answer is estimated; beside a field's type stands its help.

    The names and defaults are those of ML-GSAI/LLaDA eval_llada.py and of HKUNLP/Dream eval/eval.py. Seed and guidance
    are those of `Generation`.

    Raises:
        InputError: A value is out of range, or the draws do not make whole batches.
    """

    mc_num: Annotated[
        int, "lm-eval: masked copies that a likelihood is estimated from: of an answer, or at most of each block of it."
    ] = 128
    mc_batch_size: Annotated[
        int, "lm-eval: copies whose numbers of masks are spread evenly; more than --mc-num count as that many."
    ] = BATCH
    estimator: Annotated[
        str | None,
        "lm-eval: how copies are masked: llada or dream (default: as the model's publisher does), "
        "blocks on block-causal models.",
        "NAME",
    ] = None
    sampling_eps: Annotated[float, "lm-eval: the least part that Dream's estimator masks, 0 to 1."] = 1e-3
    is_check_greedy: Annotated[bool, "lm-eval: see whether greedy decoding would give the very answer."] = True
    add_bos_token: Annotated[bool, "lm-eval: begin every context with the tokenizer's first token."] = False
    max_length: Annotated[int | None, "lm-eval: tokens of context and answer; default: the trained length."] = None

    def __post_init__(self) -> None:
        check_whole("mc_num", self.mc_num, 1)
        check_whole("mc_batch_size", self.mc_batch_size, 1)
        if self.mc_num % self.batch:
            below = self.mc_num // self.batch * self.batch
            raise InputError(
                f"mc_num must be a multiple of mc_batch_size={self.batch}: "
                f"{below} or {below + self.batch} would fit, not {self.mc_num}"
            )
        if self.estimator is not None:
            check_one_of("estimator", self.estimator, get_args(Estimator))
        check_real("sampling_eps", self.sampling_eps, 0.0, 1.0)
        for name in ("is_check_greedy", "add_bos_token"):
            if not isinstance(value := getattr(self, name), bool):
                raise InputError(f"{name} must be True or False, not {quoted(value)}")
        if self.max_length is not None:
            check_whole("max_length", self.max_length, 2)

    @property
    def batch(self) -> int:
        """Return how many copies are drawn together."""
        return min(self.mc_batch_size, self.mc_num)

    def resolved(self, config: ModelConfig) -> Likelihood:
        """Return the settings for a model, with nothing left open.

        Raises:
            InputError: The estimator is for bidirectional models and the model is block-causal, or the reverse.
        """
        kinds = ("bidirectional", "block-causal")
        own = config.causal_block is not None
        if self.estimator is not None and (self.estimator == "blocks") != own:
            raise InputError(
                f"estimator={self.estimator} is for {kinds[not own]} models, and {config.family} is {kinds[own]}: "
                "leave it out"
            )
        usual = "blocks" if own else "dream" if config.family == "dream" else "llada"
        return replace(self, estimator=self.estimator or usual, max_length=self.max_length or config.trained_length)


def check_uncached(task: str, policy: Policy) -> None:
    """Raise InputError unless nothing is cached: no estimate uses a cache."""
    if policy.cached:
        raise InputError(
            f"the task {task} asks for likelihoods, which are estimated without a cache: expected the policy none, "
            f"not {policy.name}"
        )


SETTINGS = tuple(field.name for field in fields(Likelihood))
