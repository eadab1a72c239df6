"""Every policy in the engine: batch mates, blocks, and a budget of the prompt."""

from dataclasses import replace

import pytest
import torch
from tests.reference import CONFIGS, random_model, random_prompt
from torch import Tensor

from maskkv.decoding.engine import Engine
from maskkv.eviction.policy import Policy
from maskkv.eviction.view import LayerView
from maskkv.generation import Generation
from maskkv.models.transformer import Transformer
from maskkv.policies import named, names

EVICTING = [name for name in names() if named(name).can_evict]
SETTINGS = Generation(gen_length=4, block_length=2, prompt_interval=3, response_interval=2, seed=1)

Generated = tuple[list[int], list[list[list[int]]]]


def together(model: Transformer, members: list[tuple[list[int], Policy, int | None]]) -> list[Generated]:
    engine = Engine(model)
    numbers = [engine.add(prompt, SETTINGS, policy, budget) for prompt, policy, budget in members]
    while engine.step():
        pass
    return [(engine[number].response(), engine[number].kept()) for number in numbers]


@pytest.mark.parametrize(("family", "turn"), [("llada", 0), ("dream", 1)])
def test_batch_mates_do_not_matter(family: str, turn: int) -> None:
    """Every other policy on a prompt of its own, the rest on one that they share."""
    model = random_model(CONFIGS[family], seed=4)
    members = []
    for i, name in enumerate(EVICTING):
        length, seed = (12 + 3 * i, i) if i % 2 == turn else (40, 99)
        members.append((random_prompt(model.config, length, seed), named(name), 2 + i % 4))
    assert together(model, members) == [together(model, [member])[0] for member in members]


@pytest.mark.parametrize("family", CONFIGS)
def test_a_budget_of_the_prompt_changes_nothing(family: str) -> None:
    model = random_model(CONFIGS[family], seed=4)
    prompt = random_prompt(model.config, 20)
    members = [(prompt, named(name), budget) for name in EVICTING for budget in (20, 1000)]
    full, *others = together(model, [(prompt, named("full"), None), *members])
    assert others == [full] * len(members)


class Watching:
    """Score like another policy, and write down which rows are the block."""

    def __init__(self) -> None:
        self.blocks: list[list[int]] = []

    def __call__(self, view: LayerView) -> Tensor:
        self.blocks.append(view.rows("block").tolist())
        return view.votes("mask")


def watched(block_lengths: list[int]) -> tuple[list[list[list[int]]], list[int]]:
    """Return the blocks that each sequence's policy saw in layer 0, and the rows of every pass."""
    model = random_model(CONFIGS["llada"])
    engine, watching = Engine(model), [Watching() for _ in block_lengths]
    for length, scorer in zip(block_lengths, watching, strict=True):
        policy = Policy("watching", "–", scorer=scorer)
        engine.add(random_prompt(model.config, 10), replace(SETTINGS, block_length=length), policy, 3)
    while engine.step():
        pass
    return [scorer.blocks[:: model.config.num_layers] for scorer in watching], model.rows_run


def test_the_block_is_the_one_being_decoded() -> None:
    """Of 4 steps the prompt is refreshed at 0 and 3: in the first block of two, and in the second."""
    (blocks,), _ = watched([2])
    assert blocks == [[10, 11], [12, 13]]


def test_sequences_with_other_blocks_do_not_share_a_pass() -> None:
    (short, whole), rows = watched([1, 4])
    assert short[0] == [10]
    assert whole[0] == [10, 11, 12, 13]
    assert rows[:2] == [14, 14]


@pytest.mark.parametrize("name", EVICTING)
def test_values_of_any_dtype_are_scored_in_fp32_or_more(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, (keys, values) = torch.randn(30, 4, 8, generator=generator), torch.randn(2, 30, 2, 8, generator=generator)
    masked = torch.ones(8, dtype=torch.bool)
    wide = LayerView(0, 4, keys.bfloat16().float(), values, lambda span: queries[span].bfloat16().float(), 22, masked)
    half = replace(wide, keys=keys.bfloat16(), values=values.bfloat16(), queries=lambda span: queries[span].bfloat16())
    scorer = named(name).scorer
    assert scorer is not None
    torch.testing.assert_close(scorer(replace(half, _mass={})), scorer(replace(wide, _mass={})), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", CONFIGS)
def test_knorm_keeps_the_earlier_of_equal_tokens(family: str, dtype: torch.dtype) -> None:
    """In layer 0 a key is its token's, turned: equal tokens tie, whatever rotation rounds, over spans of rows too."""
    model = random_model(CONFIGS[family], seed=4, chunk_rows=7).to(dtype)
    prompt = [3 + place % 5 for place in range(40)]
    ((_, kept),) = together(model, [(prompt, named("knorm"), 13)])
    for head in kept[0]:
        tokens = [prompt[position] for position in head]
        assert head == sorted(
            position for token in {*tokens} for position in places(prompt, token)[: tokens.count(token)]
        )


def places(prompt: list[int], token: int) -> list[int]:
    return [position for position, own in enumerate(prompt) if own == token]
