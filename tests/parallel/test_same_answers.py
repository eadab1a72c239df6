"""A model in two processes answers as it does in one: all policies, both topologies, experts."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch
from tests.parallel.parts import CPU, answer, part_of, settings_for
from tests.reference import DREAM, GROUPED, LLADA, MOE, SDAR, random_model, random_prompt

from maskkv.decoding.engine import Engine
from maskkv.decoding.reference import logits
from maskkv.eviction.scorers import Votes
from maskkv.mixing import mix, resolve
from maskkv.models.transformer import Transformer
from maskkv.parallel.splitting import split

CONFIGS = {"llada": LLADA, "dream": DREAM, "moe": MOE, "grouped": GROUPED, "sdar": SDAR}
POLICIES = ("none", "full", "maskkv", "adakv", "sparse-dllm", "squeezeattention", "knorm", "random")


@pytest.fixture(scope="module", params=CONFIGS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Transformer, Transformer]]:
    """Make a model in one process, and the same in two."""
    config = CONFIGS[request.param]
    two = split(partial(part_of, config, 0), 2, CPU)
    yield random_model(config), two
    two.ranks.end()


def test_logits_are_those_of_one_process(pair: tuple[Transformer, Transformer]) -> None:
    one, two = pair
    ids = random_prompt(one.config, 50)
    torch.testing.assert_close(logits(two, ids, 1.0), logits(one, ids, 1.0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_keeps_the_same_pairs_and_says_the_same(pair: tuple[Transformer, Transformer], name: str) -> None:
    one, two = pair
    prompts = [random_prompt(one.config, length, seed=length) for length in (40, 33)]
    settings = settings_for(one.config)
    assert answer(one, prompts, settings, resolve(name)) == answer(two, prompts, settings, resolve(name))


@pytest.mark.parametrize("where", ["host", "device"])
def test_the_same_pairs_come_back(pair: tuple[Transformer, Transformer], where: str) -> None:
    one, two = pair
    if where == "device" and one.config.causal_block is None:
        pytest.skip("for block-causal models")
    policy = mix(resolve("maskkv"), evicted=where)
    prompts = [random_prompt(one.config, 40)]
    alone = answer(one, prompts, settings_for(one.config), policy)
    assert alone[0].recalled > 0
    assert alone == answer(two, prompts, settings_for(one.config), policy)


def test_stored_in_8_bits_and_weighted_by_values(pair: tuple[Transformer, Transformer]) -> None:
    one, two = pair
    policy = replace(resolve("mask-voting"), scorer=Votes("mask", value_weighted=True, pooled=True))
    ids = random_prompt(one.config, 40)
    told = []
    for model in (one, two):
        engine = Engine(model)
        number = engine.add(ids, settings_for(one.config), policy, 6, kv_dtype="int8")
        while engine.step():
            pass
        told.append((engine[number].response(), engine[number].kept()))
    assert told[0] == told[1]
