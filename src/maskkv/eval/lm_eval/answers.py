"""Answers that are known already, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace

from maskkv import records
from maskkv.api import LanguageModel
from maskkv.errors import InputError
from maskkv.eval.fields import filled
from maskkv.eval.lm_eval.requests import Asked


@dataclass(frozen=True)
class Request:
    """Hold what one request comes to: token ids, and how they are answered."""

    task: str
    prompt: tuple[int, ...]
    asked: Asked

    def drawn_anew(self, repeat: int) -> Request:
        """Return the request with a seed of its own, for the repeat-th time it is made."""
        generation = self.asked.generation
        return replace(self, asked=replace(self.asked, generation=replace(generation, seed=generation.seed + repeat)))


@dataclass(frozen=True)
class Answer:
    """Report one answer and what it cost; `tokens` counts those that were certain when it ended.

    `latency_s` is None where other sequences ran side by side.
    """

    text: str
    prompt_length: int
    gen_length: int
    tokens: int
    steps: int
    cache_bytes: int
    full_cache_bytes: int
    latency_s: float | None = None


class Answers:
    """Keep answers in a JSON lines file (None: in memory), each under all that decides it."""

    def __init__(self, journal: records.Journal | None = None) -> None:
        """Read what the file has.

        Raises:
            InputError: The file holds anything else.
        """
        self._journal = journal
        self._known: dict[str, Answer] = {}
        for line in [] if journal is None else journal.read():
            try:
                name = str(line.pop("key"))
                self._known[name] = filled(Answer, line)
            except (KeyError, TypeError) as error:
                raise InputError(f"{journal} holds a line that is no answer ({error}): move it away") from None

    def get(self, key: str) -> Answer | None:
        """Return a known answer."""
        return self._known.get(key)

    def add(self, key: str, answer: Answer) -> None:
        """Take in an answer, and write it down."""
        self._known[key] = answer
        if self._journal is not None:
            self._journal.extend([{"key": key, **asdict(answer)}])


def key(llm: LanguageModel, fingerprint: str, request: Request, timed: bool) -> str:
    """Return a hash of all that decides an answer; `timed` ones are no others, but have a latency."""
    importance = None if llm.profile is None else llm.profile.importance
    decides = [
        [fingerprint, str(llm.model.dtype), llm.kv_dtype, llm.rope_scale, importance],
        [repr(llm.policy), llm.budget, timed],
        [asdict(request.asked.generation), request.asked.until],
        request.prompt,
    ]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()
