"""The film of an answer: what is kept of its prompt after every step, and which rows had pairs come back."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from torch import Tensor

from maskkv.api import LanguageModel
from maskkv.budget import Budget
from maskkv.cache import Refresh
from maskkv.decoding.engine import Engine, Step
from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.generation import Generation
from maskkv.result import finish

Pair = tuple[int, int, int]
"""A layer, a KV head and a prompt position."""


@dataclass(frozen=True)
class Frame:
    """Tell what one step recomputed (`refresh`), what it committed, and how what is kept of the prompt changed.

    `positions` are those of the response, with the committed `tokens` and their `pieces` of text; `came` and `went`
    list pairs in increasing order. Where the prompt was read (`refresh` is `prompt`), the vote decided and `asked_by`
    is empty. Else all that came was recalled, and `asked_by` names for each pair the response position of the row that
    gave it the largest weight; −1 stands for a row of the prompt.
    """

    refresh: str
    positions: list[int]
    tokens: list[int]
    pieces: list[str]
    came: list[Pair]
    went: list[Pair]
    asked_by: list[int]


@dataclass(frozen=True)
class Film:
    """Hold the positions kept by the first vote, per layer and KV head, and a frame per step of the response."""

    gen_length: int
    first: list[list[list[int]]]
    frames: list[Frame]

    def kept(self, step: int) -> list[list[list[int]]]:
        """Return the positions kept after a step, counted from 0, per layer and KV head, sorted: as `Result.kept`."""
        held = _pairs(self.first)
        for frame in self.frames[: step + 1]:
            held = held.difference(frame.went).union(frame.came)
        kept: list[list[list[int]]] = [[[] for _ in heads] for heads in self.first]
        for layer, head, position in sorted(held):
            kept[layer][head].append(position)
        return kept


def record(llm: LanguageModel, prompt: Sequence[int], generation: Generation, policy: Policy, budget: Budget) -> Film:
    """Answer a prompt and film it; of a guided answer (`cfg_scale`), the branch that sees the prompt.

    Finding out which rows asked takes longer than the answer itself.

    Raises:
        InputError: The policy evicts nothing, or the prompt, budget or generation is unusable.
    """
    return finish(filming(llm, prompt, generation, policy, budget))


def filming(
    llm: LanguageModel, prompt: Sequence[int], generation: Generation, policy: Policy, budget: Budget
) -> Generator[Step, None, Film]:
    """Yield each step of an answer as it is filmed; the generator returns the film, see `record`."""
    check_evicts(policy)
    if llm.model.ranks.count > 1:
        raise InputError("a film needs all KV heads on one device: load the model without tensor_parallel")
    engine = Engine(llm.model, llm.profile)
    number = llm.add_to(engine, prompt, generation, policy, budget)
    (step,) = engine.step()
    cache = engine[number].branches[0].cache
    assert cache is not None, "a policy that evicts has a cache"
    recalls = _Recalls(llm.model.config.logit_shift)
    if cache.tiers is not None:
        cache.tiers.on_recall = recalls.note
    first = engine[number].kept()
    held, frames = _pairs(first), [_frame(llm, step, [], [], [])]
    yield step
    while not step.finished:
        recalls.asked_by.clear()
        (step,) = engine.step()
        now = _pairs(engine[number].kept())
        came, went = sorted(now - held), sorted(held - now)
        asked_by = [] if step.refresh is Refresh.PROMPT else [recalls.asked_by[pair] for pair in came]
        frames.append(_frame(llm, step, came, went, asked_by))
        held = now
        yield step
    return Film(generation.gen_length, first, frames)


def check_evicts(policy: Policy) -> None:
    """Raise InputError unless there is something to see of a policy."""
    if not policy.can_evict:
        raise InputError(f"policy {policy.name!r} evicts nothing: there is something to see with one that does")


class _Recalls:
    """Note who asked for the pairs that come back in a step."""

    def __init__(self, logit_shift: int) -> None:
        self.asked_by: dict[Pair, int] = {}
        self._logit_shift = logit_shift

    def note(self, layer: int, heads: Tensor, positions: Tensor, live_rows: Tensor) -> None:
        """Take what `Tiers.on_recall` is told."""
        for head, position, row in zip(heads.tolist(), positions.tolist(), live_rows.tolist(), strict=True):
            self.asked_by[layer, head, position] = max(-1, row - self._logit_shift)


def _pairs(kept: list[list[list[int]]]) -> set[Pair]:
    return {
        (layer, head, position)
        for layer, heads in enumerate(kept)
        for head, positions in enumerate(heads)
        for position in positions
    }


def _frame(llm: LanguageModel, step: Step, came: list[Pair], went: list[Pair], asked_by: list[int]) -> Frame:
    assert step.refresh is not None, "a policy that evicts has a cache"
    pieces = [llm.text.piece(token) for token in step.tokens]
    return Frame(step.refresh.value, list(step.positions), list(step.tokens), pieces, came, went, asked_by)
