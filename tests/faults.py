"""Faults put into one place of an engine's step, for some of the sequences that it concerns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from maskkv.cache import EvictingCache, PackedCache, SharedRefresh
from maskkv.decoding import engine as engine_module
from maskkv.decoding.engine import Engine, Step
from maskkv.decoding.replay import LivePass
from maskkv.decoding.sampler import Sampler
from maskkv.decoding.sequence import RunningSequence
from maskkv.eviction.policy import Policy
from maskkv.generation import Generation
from maskkv.models.transformer import Transformer

PLACES = ("branches", "vote", "importance", "outputs", "joining", "live", "propose", "host", "commit")
Who = Literal["one", "all", "together", "once"]


class FaultError(Exception):
    """Say where it was put."""


@dataclass(frozen=True)
class Asked:
    """A sequence; no two of a run have one and the same budget, which tells them apart."""

    prompt: list[int]
    generation: Generation
    policy: Policy
    budget: int
    kv_dtype: str = "auto"


@dataclass
class Planted:
    """Raise in one place, from one call of `Engine.step` on.

    `one` concerns a victim, `all` everybody, `together` whatever is done for more than one at once, and `once` is over
    when it has been raised.
    """

    place: str
    who: Who
    at: int
    victim: int
    error: type[BaseException] = FaultError
    most: int = 1_000_000
    """How often at most."""
    tick: int = 0
    raised: int = 0

    def meet(self, place: str, budgets: list[int | None]) -> None:
        if place != self.place or self.tick < self.at:
            return
        concerned = {
            "one": self.victim in budgets,
            "all": True,
            "together": len(set(budgets)) > 1,
            "once": not self.raised,
        }
        if concerned[self.who] and self.raised < self.most:
            self.raised += 1
            raise self.error(place)


@contextmanager
def planted(fault: Planted, engine: Engine) -> Iterator[None]:
    """Put a fault into an engine."""

    def before(owner: Any, name: str, place: str, budgets: Callable[..., list[int | None]]) -> None:
        right = getattr(owner, name)

        def meeting(*given: Any, **named: Any) -> Any:
            fault.meet(place, budgets(*given))
            return right(*given, **named)

        patch.setattr(owner, name, meeting)

    def of_samplers(samplers: list[Sampler]) -> list[int | None]:
        return [each.settings.budget for each in engine._sequences.values() if each.sampler in samplers]

    with pytest.MonkeyPatch.context() as patch:
        before(RunningSequence, "open_branches", "branches", lambda each: [each.settings.budget])
        before(EvictingCache, "choose", "vote", lambda cache, view: [cache._budget] if view.layer else [])
        before(EvictingCache, "learn", "importance", lambda cache, _: [cache._budget])
        before(SharedRefresh, "add", "outputs", lambda own, layer, *_: [each._budget for each in own._parts if layer])
        joined = LivePass.of

        def joining(owner: Any, model: Any, caches: Any, *given: Any) -> Any:
            fault.meet("joining", [each._budget for each in caches])
            return joined(model, caches, *given)

        patch.setattr(LivePass, "of", classmethod(joining))
        before(PackedCache, "hold", "live", lambda own, layer, *_: [each._budget for each in own._parts if layer])
        before(Sampler, "_count", "commit", lambda own, _: of_samplers([own]))
        right = engine_module.propose

        def propose(samplers: Any, logits: Any) -> Any:
            found = right(samplers, logits)
            # Whoever draws has drawn.
            fault.meet("propose", of_samplers(samplers))
            return found

        patch.setattr(engine_module, "propose", propose)
        fetch = engine._fetch

        def fetching(proposals: Any, numbers: Any) -> Any:
            fault.meet("host", [engine[number].settings.budget for number in numbers])
            return fetch(proposals, numbers)

        patch.setattr(engine, "_fetch", fetching)
        yield


@dataclass
class Ran:
    """What a run did: the steps of each sequence, what was told of those that failed, and how the others ended."""

    steps: dict[int, list[Step]] = field(default_factory=dict)
    failed: dict[int, Exception] = field(default_factory=dict)
    raised: int = 0
    ended: dict[int, tuple[list[int], list[list[list[int]]], int, int, int]] = field(default_factory=dict)


def run(
    model: Transformer, asked: list[Asked], fault: Planted | None = None, *, told: bool = True, **options: Any
) -> Ran:
    """Run sequences to their end, in an engine that meets a fault; not `told`, what it raises is caught."""
    engine, ran = Engine(model, **options), Ran()
    for each in asked:
        number = engine.add(each.prompt, each.generation, each.policy, each.budget, kv_dtype=each.kv_dtype)
        ran.steps[number] = []

    def tell(number: int, error: Exception) -> None:
        assert number not in ran.failed
        ran.failed[number] = error

    fault = fault or Planted("", "all", 0, 0)
    with planted(fault, engine):
        while True:
            try:
                steps = engine.step(tell) if told else engine.step()
            except (FaultError, KeyboardInterrupt):
                ran.raised += 1
                assert ran.raised < 1000
                continue
            finally:
                fault.tick += 1
            if not steps and engine._finished == engine._sequences.keys():
                break
            for step in steps:
                ran.steps[step.sequence].append(step)
    for number, each in engine._sequences.items():
        ran.ended[number] = each.response(), each.kept(), each.cache_bytes, each.prompt_passes, each.recalled
    return ran
