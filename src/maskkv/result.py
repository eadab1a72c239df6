"""What is told of a response once it is complete, and how to wait for that."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

Seen = TypeVar("Seen")
Returned = TypeVar("Returned")
_SHOWN = 60
"""Characters of a text that are shown."""


@dataclass(frozen=True, repr=False)
class Result:
    """Report one generated response and what it cost.

    `tokens` are the response ids, untrimmed; `text` ends at the first end token. `cache_bytes` is what the cache holds
    at the end, `full_cache_bytes` what it would hold un-evicted. `peak_memory_bytes` is the device's peak during the
    call (CUDA) or the process's peak resident size (CPU). `tokens_per_s` counts tokens up to the end token.
    `prompt_passes` counts the steps that read the prompt, all of them without a cache.
    `reused` counts the prompt tokens that were not read, since their pairs came from a prefix.
    `confidences` are the probabilities that the tokens up to the end token had when they were decided.
    `kept[layer][kv_head]` lists the prompt positions kept at the end, sorted; empty without a cache. `evicted` says
    what became of the others: `drop`, `device`, or `host`, where all took `host_bytes` and `recalled` came back,
    counted over all steps, layers and KV heads (and both branches of a guided answer).
    """

    text: str
    tokens: list[int]
    prompt_length: int
    steps: int
    policy: str
    budget: int | None
    cache_bytes: int
    full_cache_bytes: int
    peak_memory_bytes: int
    latency_s: float
    tokens_per_s: float
    kept: list[list[list[int]]]
    kv_dtype: str
    prompt_passes: int
    confidences: list[float]
    evicted: str
    host_bytes: int
    recalled: int
    reused: int

    def __repr__(self) -> str:
        """Say what was answered and what it cost; `dataclasses.asdict` has everything."""
        text = self.text if len(self.text) <= _SHOWN else f"{self.text[: _SHOWN - 1]}…"
        return (
            f"Result({text!r}, policy={self.policy!r}, budget={self.budget}, prompt_length={self.prompt_length}, "
            f"steps={self.steps}, cache_bytes={self.cache_bytes} of {self.full_cache_bytes}, "
            f"latency_s={self.latency_s:.3g})"
        )


def finish(steps: Generator[Seen, None, Returned], watch: Callable[[Seen], None] = lambda step: None) -> Returned:
    """Run a generator to its end, tell `watch` each step that it yields, and return what it returns."""
    while True:
        try:
            step = next(steps)
        except StopIteration as stop:
            returned: Returned = stop.value
            return returned
        watch(step)
