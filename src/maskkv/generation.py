"""What a user may choose about one response: its length, its schedule and how its tokens are picked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from maskkv.checks import Range, check_one_of, check_real, check_whole, quoted
from maskkv.errors import InputError
from maskkv.renamed import hint

Remasking = Literal["low_confidence", "random", "sequential"]
Shares = Literal["largest_first", "rounded"]
Algorithm = Literal["maskgit_plus", "topk_margin", "entropy", "origin"]
_MOST_STEPS = 1 << 24
"""Steps of a response whose steps need not commit anything."""


@dataclass(frozen=True)
class Allowed:
    """Say which values a field of `Generation` may have.

    `kind` is `int`, `float`, `bool` or a `Literal` of words; numbers have a `range`; `optional` allows None as well.
    """

    kind: Any
    range: Range | None
    optional: bool

    def check(self, name: str, value: object) -> None:
        """Refuse any other value.

        Raises:
            InputError: It is of another type, out of range, or not one of the words.
        """
        if self.optional and value is None:
            return
        if self.range is None:
            if self.kind is not bool:
                check_one_of(name, value, get_args(self.kind))
            elif not isinstance(value, bool):
                raise InputError(f"{name} must be True or False, not {quoted(value)}")
        elif self.kind is int:
            check_whole(name, value, self.range.low, self.range.high)
        else:
            high = math.inf if self.range.high is None else float(self.range.high)
            check_real(name, value, float(self.range.low), high, above=self.range.above)


@cache
def allowed_values() -> dict[str, Allowed]:
    """Return what each field of `Generation` may be, as its annotation says; the one place that ranges come from."""
    return {name: _allowed(kind) for name, kind in get_type_hints(Generation, include_extras=True).items()}


def _allowed(annotated: Any) -> Allowed:
    kind, *notes = get_args(annotated) if get_origin(annotated) is Annotated else (annotated,)
    optional = NoneType in get_args(kind)
    return Allowed(get_args(kind)[0] if optional else kind, notes[0] if notes else None, optional)


@dataclass(frozen=True)
class Generation:
    """Describe how one response is made; anything that cannot work is refused here, before a model runs.

    LLaDA's sampler is the default; `alg` chooses Dream's instead. Either runs on either family of models.
    `threshold` or `factor` (Fast-dLLM, arXiv 2505.22618) let the confidences decide how many tokens a step
    commits, and `steps` is not used then.

    Raises:
        InputError: A value is unusable, or two values do not fit together.
    """

    gen_length: Annotated[int, Range(1)] = 64
    steps: Annotated[int | None, Range(1)] = None
    """Denoising steps for the whole response; None means one per token."""
    block_length: Annotated[int, Range(1)] = 8
    """Blocks are finished from left to right; `block_length=gen_length` means no blocks.

    Block-causal models were trained for blocks of one length, which the default stands for there.
    """
    temperature: Annotated[float, Range(0)] = 0.0
    remasking: Remasking = "low_confidence"
    """Which masks of a block go first: the surest, any (`random`), or the leftmost (`sequential`)."""
    shares: Shares | None = None
    """How the masks of a block are shared out over its steps; None: as the model's publisher does.

    With `largest_first` (LLaDA) the larger shares come first. With `rounded` (A2D) a step takes the masks left over the
    steps left, rounded: then any lengths and steps fit, a block takes ⌈steps / blocks⌉, and the last one may be short.
    """
    seed: Annotated[int, Range(0, 2**63 - 1)] = 0
    prompt_interval: Annotated[int, Range(1)] = 50
    """Steps from one refresh of the prompt's cache to the next."""
    response_interval: Annotated[int, Range(1)] = 5
    transfer_ratio: Annotated[float, Range(0, 1)] = 0.25
    """Fraction of the response's rows that is recomputed between refreshes."""
    one_pass: bool = False
    """Read the prompt in the first step only, whatever `prompt_interval` says."""
    min_confidence: Annotated[float | None, Range(0, 1)] = None
    """Read the prompt again, instead of committing, when no candidate is this sure; replaces `prompt_interval`."""
    value_drift: Annotated[float | None, Range(0, above=True)] = None
    """Read the prompt again once the live rows' values have moved this far since; replaces `prompt_interval`.

    A step moves them by one minus their mean cosine with the step before, over live rows and layers past the first.
    """
    threshold: Annotated[float | None, Range(0, 1)] = None
    """Commit every mask that is at least this sure, and always the surest.

    On block-causal models: every mask that is surer than this, or the step's share of the block if that is more.
    """
    factor: Annotated[float | None, Range(0, above=True)] = None
    """Commit the n surest masks while (n + 1)(1 - confidence of the n-th) is at most this, at least one."""
    edit_threshold: Annotated[float | None, Range(0, 1)] = None
    """Replace tokens of the unfinished block by others that are surer than this (LLaDA2.1, arXiv 2602.08676).

    For block-causal models. `threshold` and `min_transfer` then say which masks become tokens, and `steps` is not used.
    """
    max_post_steps: Annotated[int, Range(0)] = 16
    """With `edit_threshold`: passes over a block without a mask, as long as each of them changes something."""
    min_transfer: Annotated[int, Range(1)] = 1
    """With `edit_threshold`: masks that a step commits at least."""
    stop_at_eos: bool = True
    """Stop as soon as everything before an end token is committed; what follows it would not be read."""
    cfg_scale: Annotated[float, Range(0)] = 0.0
    """Strength of classifier-free guidance; 0 is off, anything else doubles the work."""
    logits_eos_inf: bool = False
    """Never predict the end of sequence."""
    confidence_eos_eot_inf: bool = False
    """Commit the positions that predict an end token after all others (LLaDA's sampler)."""
    alg: Algorithm | None = None
    alg_temp: Annotated[float, Range(0)] = 0.0
    """Dream: above 0, draw the positions at random, the surer the likelier, instead of taking the surest."""
    eps: Annotated[float, Range(0, 1, above=True)] = 1e-3
    """Dream: the noise level at the end of the schedule, which starts at 1."""
    top_p: Annotated[float | None, Range(0, 1, above=True)] = None
    """Dream: keep the likeliest tokens that together reach this probability."""
    top_k: Annotated[int | None, Range(1)] = None
    """Dream: keep this many of the likeliest tokens."""

    def __post_init__(self) -> None:
        self._check_values()
        self._check_lengths()
        if self.alg is None:
            self._check_llada()
        else:
            self._check_dream()
        self._check_parallel()
        self._check_edits()

    @property
    def num_blocks(self) -> int:
        """Return how many blocks the response has."""
        return -(-self.gen_length // self.block_length)

    @property
    def block_steps(self) -> int:
        """Return the most steps that a block may take, those that `min_confidence` puts off not counted."""
        if self.steps is None or self.confidence_decides:
            return self.block_length
        return -(-self.steps // self.num_blocks)

    @property
    def confidence_decides(self) -> bool:
        """Tell whether `threshold`, `factor` or `edit_threshold` replaces the fixed schedule."""
        return any(each is not None for each in (self.threshold, self.factor, self.edit_threshold))

    @property
    def by_the_clock(self) -> bool:
        """Tell whether the prompt is read again every `prompt_interval` steps, and not by another rule."""
        return not self.one_pass and self.min_confidence is None and self.value_drift is None

    @property
    def num_steps(self) -> int:
        """Return the most steps that the response may take.

        Not counted are those that `min_confidence` puts off, and of block-causal models those that store a block's
        pairs or edit its tokens.
        """
        most = self.num_blocks * self.block_steps
        return min(most, self.gen_length) if self.alg is None else most

    def _check_values(self) -> None:
        for name, allowed in allowed_values().items():
            allowed.check(name, getattr(self, name))
        rules = [
            name for name in ("one_pass", "min_confidence", "value_drift") if getattr(self, name) not in (None, False)
        ]
        if len(rules) > 1:
            raise InputError(f"{' and '.join(rules)} are rules for when the prompt is read again: give one of them")

    def _check_lengths(self) -> None:
        length, block, blocks = self.gen_length, self.block_length, self.num_blocks
        steps = length if self.steps is None or self.confidence_decides else self.steps
        if block > length:
            raise InputError(
                f"block_length={block} is longer than gen_length={length}: block_length={length} would fit"
            )
        whole = self.shares != "rounded"
        if whole and length % block:
            raise InputError(
                f"gen_length must be a multiple of block_length={block}: "
                f"{_multiples_around(length, block)} would fit, not {length}"
            )
        if self.alg is None and steps > length:
            raise InputError(
                f"steps must be at most gen_length={length}, since every step commits a token, not {steps}"
            )
        if whole and steps % blocks:
            raise InputError(
                f"steps must be a multiple of the {blocks} blocks (gen_length {length} / block_length "
                f"{block}): {_multiples_around(steps, blocks)} would fit, not {steps}"
            )

    def _check_llada(self) -> None:
        for name in ("alg_temp", "eps", "top_p", "top_k"):
            if getattr(self, name) != getattr(Generation, name):
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
        if self.shares is not None:
            raise InputError(
                f"shares={self.shares!r} is an option of LLaDA's sampler: with alg={self.alg!r} leave it out, "
                "since Dream's noise levels decide"
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
        if self.threshold is None and self.factor is None:
            return
        name = "factor" if self.threshold is None else "threshold"
        if self.remasking != "low_confidence":
            raise InputError(
                f"{name} compares confidences, so remasking must be 'low_confidence', not {self.remasking!r}"
            )
        if self.alg not in (None, "maskgit_plus"):
            raise InputError(
                f"{name} compares probabilities, so alg must be left out or 'maskgit_plus', not {self.alg!r}"
            )
        if self.alg_temp:
            raise InputError(f"{name} takes the surest positions, so alg_temp must be 0, not {self.alg_temp}")

    def _check_edits(self) -> None:
        if self.edit_threshold is None:
            for name in ("max_post_steps", "min_transfer"):
                if getattr(self, name) != getattr(Generation, name):
                    raise InputError(f"{name}={getattr(self, name)} is for edited responses: give edit_threshold too")
            return
        for name, others in (("remasking", "low_confidence"), ("factor", None), ("alg", None), ("steps", None)):
            if getattr(self, name) != others:
                raise InputError(
                    f"{name}={getattr(self, name)!r} says what a step commits, as edit_threshold does: leave one out"
                )


def chosen(generation: Generation | None, settings: Mapping[str, Any]) -> Generation:
    """Return a `Generation` with some fields set by name; None: the default one.

    Raises:
        InputError: There is no such field, or its value is unusable.
    """
    for name in settings:
        if name not in allowed_values():
            known = ", ".join(allowed_values())
            raise InputError(f"unknown setting {name!r}: {hint([name])}expected one of {known}")
    if generation is not None and not isinstance(generation, Generation):
        raise InputError(f"generation {quoted(generation)}: expected a maskkv.Generation")
    return Generation(**settings) if generation is None else replace(generation, **settings)


def _multiples_around(value: int, unit: int) -> str:
    below = value // unit * unit
    return f"{below} or {below + unit}" if below else str(unit)
