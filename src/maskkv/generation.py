"""What a user may choose about one response: its length, its schedule and how its tokens are picked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from maskkv.checks import check_one_of, check_real, check_whole, quoted
from maskkv.errors import InputError

Remasking = Literal["low_confidence", "random"]
Algorithm = Literal["maskgit_plus", "topk_margin", "entropy", "origin"]
_MOST_STEPS = 1 << 24
"""Steps of a response whose steps need not commit anything."""


@dataclass(frozen=True)
class Generation:
    """Describe how one response is made; anything that cannot work is refused here, before a model runs.

    LLaDA's sampler is the default; `alg` chooses Dream's instead. Either runs on either family of models.
    `threshold` or `factor` (Fast-dLLM, arXiv 2505.22618) let the confidences decide how many tokens a step
    commits, and `steps` is not used then.

    Raises:
        InputError: A value is unusable, or two values do not fit together.
    """

    gen_length: int = 64
    steps: int | None = None
    """Denoising steps for the whole response; None means one per token."""
    block_length: int = 8
    """Blocks are finished from left to right; `block_length=gen_length` means no blocks."""
    temperature: float = 0.0
    remasking: Remasking = "low_confidence"
    seed: int = 0
    prompt_interval: int = 50
    """Steps from one refresh of the prompt's cache to the next."""
    response_interval: int = 5
    transfer_ratio: float = 0.25
    """Fraction of the response's rows that is recomputed between refreshes."""
    one_pass: bool = False
    """Read the prompt in the first step only, whatever `prompt_interval` says."""
    min_confidence: float | None = None
    """Read the prompt again, instead of committing, when no candidate is this sure; replaces `prompt_interval`."""
    value_drift: float | None = None
    """Read the prompt again once the live rows' values have moved this far since; replaces `prompt_interval`.

    A step moves them by one minus their mean cosine with the step before, over live rows and layers past the first.
    """
    threshold: float | None = None
    """Commit every mask that is at least this sure, and always the surest."""
    factor: float | None = None
    """Commit the n surest masks while (n + 1)(1 - confidence of the n-th) is at most this, at least one."""
    stop_at_eos: bool = True
    """Stop as soon as everything before an end token is committed; what follows it would not be read."""
    cfg_scale: float = 0.0
    """Strength of classifier-free guidance; 0 is off, anything else doubles the work."""
    logits_eos_inf: bool = False
    """Never predict the end of sequence."""
    confidence_eos_eot_inf: bool = False
    """Commit the positions that predict an end token after all others (LLaDA's sampler)."""
    alg: Algorithm | None = None
    alg_temp: float = 0.0
    """Dream: above 0, draw the positions at random, the surer the likelier, instead of taking the surest."""
    eps: float = 1e-3
    """Dream: the noise level at the end of the schedule, which starts at 1."""
    top_p: float | None = None
    """Dream: keep the likeliest tokens that together reach this probability."""
    top_k: int | None = None
    """Dream: keep this many of the likeliest tokens."""

    def __post_init__(self) -> None:
        self._check_values()
        self._check_lengths()
        if self.alg is None:
            self._check_llada()
        else:
            self._check_dream()
        self._check_parallel()

    @property
    def num_blocks(self) -> int:
        """Return how many blocks the response has."""
        return self.gen_length // self.block_length

    @property
    def confidence_decides(self) -> bool:
        """Tell whether `threshold` or `factor` replaces the fixed schedule."""
        return self.threshold is not None or self.factor is not None

    @property
    def by_the_clock(self) -> bool:
        """Tell whether the prompt is read again every `prompt_interval` steps, and not by another rule."""
        return not self.one_pass and self.min_confidence is None and self.value_drift is None

    @property
    def num_steps(self) -> int:
        """Return the most steps that the response may take, those that `min_confidence` puts off not counted."""
        return self.gen_length if self.steps is None or self.confidence_decides else self.steps

    def _check_values(self) -> None:
        for name in ("gen_length", "block_length", "prompt_interval", "response_interval"):
            check_whole(name, getattr(self, name), 1)
        for name in ("steps", "top_k"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), 1)
        check_whole("seed", self.seed, 0, 2**63 - 1)
        for name in ("temperature", "cfg_scale", "alg_temp"):
            check_real(name, getattr(self, name), 0.0)
        check_real("transfer_ratio", self.transfer_ratio, 0.0, 1.0)
        for name in ("min_confidence", "threshold"):
            if getattr(self, name) is not None:
                check_real(name, getattr(self, name), 0.0, 1.0)
        if self.factor is not None:
            check_real("factor", self.factor, 0.0, above=True)
        if self.top_p is not None:
            check_real("top_p", self.top_p, 0.0, 1.0, above=True)
        check_real("eps", self.eps, 0.0, 1.0, above=True)
        for name in ("one_pass", "stop_at_eos", "logits_eos_inf", "confidence_eos_eot_inf"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be True or False, not {quoted(getattr(self, name))}")
        check_one_of("remasking", self.remasking, get_args(Remasking))
        if self.alg is not None:
            check_one_of("alg", self.alg, get_args(Algorithm))
        if self.value_drift is not None:
            check_real("value_drift", self.value_drift, 0.0, above=True)
        rules = [
            name for name in ("one_pass", "min_confidence", "value_drift") if getattr(self, name) not in (None, False)
        ]
        if len(rules) > 1:
            raise InputError(f"{' and '.join(rules)} are rules for when the prompt is read again: give one of them")

    def _check_lengths(self) -> None:
        length, block, blocks, steps = self.gen_length, self.block_length, self.num_blocks, self.num_steps
        if block > length:
            raise InputError(
                f"block_length={block} is longer than gen_length={length}: block_length={length} would fit"
            )
        if length % block:
            raise InputError(
                f"gen_length must be a multiple of block_length={block}: "
                f"{_multiples_around(length, block)} would fit, not {length}"
            )
        if self.alg is None and steps > length:
            raise InputError(
                f"steps must be at most gen_length={length}, since every step commits a token, not {steps}"
            )
        if steps % blocks:
            raise InputError(
                f"steps must be a multiple of the {blocks} blocks (gen_length {length} / block_length "
                f"{block}): {_multiples_around(steps, blocks)} would fit, not {steps}"
            )

    def _check_llada(self) -> None:
        for name, unset in (("alg_temp", 0.0), ("eps", 1e-3), ("top_p", None), ("top_k", None)):
            if getattr(self, name) != unset:
                raise InputError(
                    f"{name}={getattr(self, name)!r} is an option of Dream's sampler: "
                    f"leave it out, or set alg to one of {', '.join(get_args(Algorithm))}"
                )

    def _check_dream(self) -> None:
        # Only LLaDA's steps are at most as many as tokens.
        check_whole("steps", self.num_steps, 1, max(_MOST_STEPS, self.gen_length))
        if self.remasking != "low_confidence":
            raise InputError(
                f"remasking={self.remasking!r} is an option of LLaDA's sampler: "
                f"with alg={self.alg!r} leave it out (alg='origin' is Dream's random order)"
            )
        if self.confidence_eos_eot_inf:
            raise InputError(
                "confidence_eos_eot_inf is an option of LLaDA's sampler: "
                f"with alg={self.alg!r} leave it out, or use logits_eos_inf"
            )
        if self.alg == "origin" and self.alg_temp:
            raise InputError(
                "alg='origin' does not rank positions, so alg_temp must be 0 there, "
                f"not {self.alg_temp}; alg='maskgit_plus' takes it"
            )

    def _check_parallel(self) -> None:
        if self.threshold is not None and self.factor is not None:
            raise InputError(
                f"threshold={self.threshold} and factor={self.factor} are two rules for the same choice: "
                "give one of them"
            )
        if not self.confidence_decides:
            return
        name = "factor" if self.threshold is None else "threshold"
        if self.remasking != "low_confidence":
            raise InputError(f"{name} compares confidences, so remasking must be 'low_confidence', not 'random'")
        if self.alg not in (None, "maskgit_plus"):
            raise InputError(
                f"{name} compares probabilities, so alg must be left out or 'maskgit_plus', not {self.alg!r}"
            )
        if self.alg_temp:
            raise InputError(f"{name} takes the surest positions, so alg_temp must be 0, not {self.alg_temp}")


def _multiples_around(value: int, unit: int) -> str:
    below = value // unit * unit
    return f"{below} or {below + unit}" if below else str(unit)
