"""A2D's sampler: its schedule by hand and as properties, and whole answers beside the published loop, restated."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tests.reference import CONFIGS, random_model, random_prompt
from tests.reference_sampler import shared_out
from tests.saved_models import A2D, both_ways, published, reference, write

from maskkv import policies
from maskkv.checkpoints import weights
from maskkv.decoding.engine import Engine, Step
from maskkv.decoding.proposals import Proposals
from maskkv.decoding.sampler import Sampler, rounded_count
from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.generation import Generation
from maskkv.models.transformer import Transformer

FAMILY = "a2d_qwen3"
NONE, FULL, MASKKV = (policies.named(name) for name in ("none", "full", "maskkv"))
MASK, ENDS = 63, (2,)


def shares(masks: int, steps: int) -> list[int]:
    """Ask for the share of each step until no mask is left."""
    found: list[int] = []
    while sum(found) < masks:
        found.append(rounded_count(masks, steps, len(found)))
    return found


@pytest.mark.parametrize(
    ("masks", "steps", "expected"),
    [
        (8, 3, [3, 2, 3]),  # 8/3, then 5/2 and 3/1
        (7, 2, [4, 3]),  # 3.5 goes to 4
        (5, 2, [2, 3]),  # 2.5 goes to 2
        (10, 4, [2, 3, 2, 3]),
        (4, 3, [1, 1, 2]),  # 3/2 is a half that fp32 makes less of
        (4, 7, [1, 1, 1, 1]),  # 4/7, 3/6 is none, 3/5, 2/4 is none, 2/3, 1/2 is none, 1/1
        (1, 100, [1]),
        (8, 1, [8]),
        (8, 8, [1] * 8),
        (128, 128, [1] * 128),
    ],
)
def test_shares_by_hand(masks: int, steps: int, expected: list[int]) -> None:
    assert shares(masks, steps) == expected


@given(st.integers(1, 300), st.integers(1, 300))
@example(8, 3)
@example(3, 300)
def test_every_step_takes_its_part_of_what_is_left(masks: int, steps: int) -> None:
    found = shares(masks, steps)
    assert sum(found) == masks
    assert len(found) <= min(masks, steps)
    assert all(share >= 1 for share in found)
    # Even: no step takes two more than another.
    assert max(found) - min(found) <= 1
    if masks >= steps:
        assert abs(found[0] - Fraction(masks, steps)) <= Fraction(1, 2)
    if masks % steps == 0:
        assert found == [masks // steps] * steps
    if steps >= masks:
        assert found == [1] * masks


def slow_loop(theirs: Any, prompt: list[int], generation: Generation) -> Iterator[tuple[list[int], list[int]]]:
    """Generate as the published loop does, over whole canvases of a model of `transformers`; yield each step's commits.

    One thing is ours: the mask token cannot be predicted.
    """
    length, block = generation.gen_length, generation.block_length
    blocks = -(-length // block)
    x = [*prompt, *[MASK] * length]
    response = set(range(len(prompt), len(x)))
    for number in range(blocks):
        end = min(len(prompt) + (number + 1) * block, len(x))
        left = end - len(prompt) - number * block
        counts = shared_out(left, generation, "rounded")
        for count in (count for count in counts if count):
            logits = both_ways(theirs, torch.tensor(x)).float()
            if generation.cfg_scale:
                other = both_ways(theirs, torch.tensor([MASK] * len(prompt) + x[len(prompt) :])).float()
                logits = other + (generation.cfg_scale + 1) * (logits - other)
            logits[:, MASK] = -torch.inf
            tokens, chances = logits.argmax(-1), logits.softmax(-1).amax(-1)
            masks = [row for row in sorted(response) if row < end]
            surest = sorted(sorted(masks, key=lambda row: -float(chances[row]))[:count])
            for row in surest:
                x[row] = int(tokens[row])
                response.discard(row)
            yield [row - len(prompt) for row in surest], [x[row] for row in surest]


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Transformer, Any]:
    """Return a checkpoint as maskkv loads it, and the model of transformers that it was made of."""
    theirs = reference(FAMILY, scale=0.4, seed=3, tied=request.param)
    raw = A2D | {"tie_word_embeddings": request.param}
    folder = write(tmp_path_factory.mktemp("a2d"), raw, published(FAMILY, theirs, request.param), shards=2)
    return weights.load(folder, "cpu"), theirs


def prompt(length: int, seed: int = 0) -> list[int]:
    return torch.randint(3, 62, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def made(**fields: Any) -> Generation:
    return Generation(**{"stop_at_eos": False, **fields})


def run(
    model: Transformer, tokens: list[int], settings: Generation, policy: Policy, budget: int | None = None
) -> list[Step]:
    engine = Engine(model)
    engine.add(tokens, settings, policy, budget)
    steps: list[Step] = []
    while not (steps and steps[-1].finished):
        steps += engine.step()
    return steps


def commits(steps: list[Step]) -> list[tuple[list[int], list[int]]]:
    return [(list(step.positions), list(step.tokens)) for step in steps]


SCHEDULES = (
    made(gen_length=8, block_length=8, steps=3),
    made(gen_length=16, block_length=8, steps=10),
    made(gen_length=12, block_length=12),
    made(gen_length=20, block_length=8, steps=11, shares="rounded"),
    made(gen_length=13, block_length=5, steps=2, shares="rounded"),
    made(gen_length=9, block_length=4, steps=9, shares="rounded"),
    made(gen_length=10, block_length=5, steps=6, cfg_scale=1.5, shares="rounded"),
)


@pytest.mark.parametrize("settings", SCHEDULES, ids=repr)
def test_answers_are_those_of_the_published_loop(pair: tuple[Transformer, Any], settings: Generation) -> None:
    model, theirs = pair
    for length in (1, 17):
        expected = list(slow_loop(theirs, prompt(length), settings))
        assert commits(run(model, prompt(length), settings, NONE)) == expected
        assert len(expected) <= settings.num_steps


def test_a_response_may_ask_for_the_other_schedule(pair: tuple[Transformer, Any]) -> None:
    settings = made(gen_length=8, block_length=8, steps=3)
    for asked, counts in ((None, [3, 2, 3]), ("rounded", [3, 2, 3]), ("largest_first", [3, 3, 2])):
        steps = run(pair[0], prompt(9), replace(settings, shares=asked), NONE)
        assert [len(step.positions) for step in steps] == counts
    llada = random_model(CONFIGS["llada"])
    for asked, counts in ((None, [3, 3, 2]), ("rounded", [3, 2, 3])):
        steps = run(llada, random_prompt(llada.config, 9), replace(settings, shares=asked), NONE)
        assert [len(step.positions) for step in steps] == counts


def test_one_step_per_token_is_one_in_a_short_block_too(pair: tuple[Transformer, Any]) -> None:
    steps = run(pair[0], prompt(9), made(gen_length=11, block_length=8, shares="rounded"), NONE)
    assert [len(step.positions) for step in steps] == [1] * 11


@pytest.mark.parametrize("settings", SCHEDULES[:4], ids=repr)
def test_nothing_evicted_is_the_plain_loop(pair: tuple[Transformer, Any], settings: Generation) -> None:
    """Refreshed at every step, a cache changes nothing; nor does a budget of the whole prompt, however refreshed."""
    model, tokens = pair[0], prompt(30)
    every = replace(settings, prompt_interval=1, response_interval=1)
    plain = commits(run(model, tokens, settings, NONE))
    assert commits(run(model, tokens, every, FULL)) == commits(run(model, tokens, every, MASKKV, 30)) == plain
    lazy = replace(settings, prompt_interval=3, response_interval=2)
    assert commits(run(model, tokens, lazy, MASKKV, 30)) == commits(run(model, tokens, lazy, FULL))


def test_alone_is_among_others(pair: tuple[Transformer, Any]) -> None:
    model = pair[0]
    members = (
        (21, SCHEDULES[0], MASKKV, 3),
        (1, SCHEDULES[1], FULL, None),
        (34, SCHEDULES[2], NONE, None),
        (12, SCHEDULES[3], MASKKV, 2),
        (26, SCHEDULES[4], MASKKV, 26),
    )
    asked = [
        (prompt(length, length), replace(settings, prompt_interval=4, response_interval=2), policy, budget)
        for length, settings, policy, budget in members
    ]
    alone = [commits(run(model, *each)) for each in asked]
    engine = Engine(model)
    numbers = {engine.add(*each): index for index, each in enumerate(asked)}
    together: list[list[Step]] = [[] for _ in asked]
    for _ in range(40):
        for step in engine.step():
            together[numbers[step.sequence]].append(step)
    assert [commits(steps) for steps in together] == alone


def test_a_step_that_is_put_off_counts_for_no_share() -> None:
    settings = made(gen_length=8, block_length=8, steps=3)
    sampler = Sampler(settings, mask_id=MASK, eos_ids=ENDS, shares="rounded")
    masked, counts = torch.ones(8, dtype=torch.bool), []
    for put_off in (True, False, True, False, False):
        left = len(sampler.candidates(masked))
        commit = sampler.commit(proposals(left), masked, put_off=put_off)
        masked[commit.positions] = False
        counts.append(len(commit.positions))
    assert counts == [0, 3, 0, 2, 3]


def proposals(count: int) -> Proposals:
    return Proposals(torch.zeros(count, dtype=torch.long), torch.full((count,), 0.5), torch.full((count,), 0.5))


def test_lengths_that_do_not_divide_need_the_schedule_that_takes_them() -> None:
    loose = Generation(gen_length=20, block_length=8, steps=11, shares="rounded")
    assert (loose.num_blocks, loose.block_steps, loose.num_steps) == (3, 4, 12)
    assert Generation(gen_length=20, block_length=8, shares="rounded").num_steps == 20
    assert Generation(gen_length=20, block_length=8, steps=20, shares="rounded").num_steps == 20
    for shares in (None, "largest_first"):
        with pytest.raises(InputError, match="gen_length must be a multiple of block_length=8"):
            Generation(gen_length=20, block_length=8, shares=shares)
        with pytest.raises(InputError, match="steps must be a multiple of the 2 blocks"):
            Generation(gen_length=16, block_length=8, steps=3, shares=shares)
    with pytest.raises(InputError, match="steps must be at most gen_length=20"):
        Generation(gen_length=20, block_length=8, steps=21, shares="rounded")
    with pytest.raises(InputError, match="shares='rounded' is an option of LLaDA's sampler: with alg='entropy' leave"):
        Generation(alg="entropy", shares="rounded")
