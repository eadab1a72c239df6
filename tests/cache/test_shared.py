"""Sequences that share a prompt refresh learn the layers' importance while it runs, all of them."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.reference import LLADA, random_model, random_prompt

from maskkv import policies
from maskkv.cache import EvictingCache
from maskkv.decoding.engine import Engine
from maskkv.generation import Generation


def test_before_a_layers_pairs_come_every_cache_knows_the_layers_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the pairs that wait for a layer's budget can be fewer with every layer that has run."""
    told: dict[int, list[int]] = {}
    learn = EvictingCache.learn

    def noted(cache: EvictingCache, importance: Sequence[float]) -> None:
        told.setdefault(id(cache), []).append(len(importance))
        learn(cache, importance)

    monkeypatch.setattr(EvictingCache, "learn", noted)
    model = random_model(replace(LLADA, num_layers=4))
    engine, prompt = Engine(model), random_prompt(model.config, 20)
    generation = Generation(gen_length=8, stop_at_eos=False)
    numbers = [
        engine.add(prompt, generation, policies.named(name), budget)
        for name, budget in (("squeezeattention", 4), ("squeezeattention", 6), ("maskkv", 4))
    ]
    engine.step()
    assert len(model.rows_run) == 1, "one pass for all"
    assert told == {id(engine[number].branches[0].cache): [0, 1, 2, 3, 4] for number in numbers}
