"""Contexts and answers of lm-evaluation-harness in tokens."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from lm_eval.utils import get_rolling_token_windows, make_disjoint_window  # type: ignore[import-untyped]

from maskkv.api import LanguageModel
from maskkv.errors import CheckpointError, InputError
from maskkv.eval.lm_eval.likelihood import Likelihood

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """Hold the tokens that are given, those whose likelihood is asked for, and those that follow and are read."""

    context: tuple[int, ...]
    answer: tuple[int, ...]
    after: tuple[int, ...] = ()


class Pairs:
    """Cut texts into pairs for a model; `settings` name an estimator and a length."""

    def __init__(self, llm: LanguageModel, settings: Likelihood) -> None:
        self._text = llm.text
        self._settings = settings
        self._end = llm.model.config.eos_ids[0]
        if settings.add_bos_token and self._text.begin_id is None:
            raise CheckpointError("this checkpoint's tokenizer names no bos_token: leave out add_bos_token")

    @property
    def _most(self) -> int:
        assert self._settings.max_length is not None
        return self._settings.max_length

    @property
    def _begin(self) -> int:
        """Return what stands for an empty context, as in the harness's own models: the first token, or the last."""
        return self._end if self._text.begin_id is None else self._text.begin_id

    def pair(self, task: str, context: str, continuation: str, *, rendered: bool = False) -> Pair:
        """Encode a context and what may follow it; `rendered` if a chat template wrote the context.

        The blanks at the end of a context belong to the answer, and the two are encoded together. A context that is too
        long loses its beginning. Dream's estimator ends the answer with the end token, which is read but not scored.

        Raises:
            InputError: The answer has no tokens, or too many.
        """
        kept = context.rstrip()
        before, answer = self._encoded(kept, context[len(kept) :] + continuation, rendered)
        if not answer:
            raise InputError(f"the task {task} asks for the likelihood of no token: expected a text after the context")
        after = (self._end,) if self._settings.estimator == "dream" else ()
        room = self._most - len(answer) - len(after)
        if room < 1:
            raise InputError(
                f"the task {task} asks for the likelihood of {len(answer):,} tokens, for which max_length={self._most} "
                f"is too short: expected at least max_length={len(answer) + len(after) + 1}"
            )
        if len(before) > room:
            _LOG.warning("%s: a context of %d tokens is cut to its last %d", task, len(before), room)
        return Pair(tuple(before[-room:]), tuple(answer), after)

    def windows(self, text: str) -> Iterator[Pair]:
        """Cut a text into windows, each of whose tokens is scored once, with as much before it as there is room for.

        The harness's own rule: the first window follows the first token alone. No end token follows, since the text
        goes on.
        """
        # The harness counts what a model reads, which there lacks the last token.
        longest = self._most - 1
        ids = self._text.encode_rendered("", then=text)
        for window in get_rolling_token_windows(ids, self._begin, longest, context_len=1):
            context, answer = make_disjoint_window(window)
            yield Pair(tuple(context), tuple(answer))

    def _encoded(self, context: str, rest: str, rendered: bool) -> tuple[list[int], list[int]]:
        """Encode a context, then both texts together, and take what is longer there."""
        if not context:
            answer = self._text.encode_rendered("", then=rest)
            if answer[:1] == [self._begin]:  # a text may begin with the very token
                return answer[:1], answer[1:]
            return [self._begin], answer
        if rendered:
            before, whole = self._text.encode_rendered(context), self._text.encode_rendered(context, then=rest)
        else:
            before, whole = self._text.encode(context), self._text.encode(context + rest)
        answer = whole[len(before) :]
        begins = self._settings.add_bos_token and before[0] != self._begin
        return [self._begin] * begins + before, answer
