"""SDAR's and LLaDA2.0's answers beside the published loop, restated over whole canvases of models of `transformers`."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests.decoding.test_a2d import commits, made, prompt, run
from tests.saved_models import TINY, in_blocks, published, reference, write

from maskkv import policies
from maskkv.api import LanguageModel
from maskkv.checkpoints import weights
from maskkv.generation import Generation
from maskkv.models.transformer import Transformer

NONE, FULL, MASKKV = (policies.named(name) for name in ("none", "full", "maskkv"))
MASK = 63
BLOCKS = {"sdar": 4, "llada2_moe": 32}


def published_loop(
    theirs: Any, tokens: list[int], generation: Generation, block: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Fill block after block, dynamically, statically or from left to right; yield what each step commits.

    Two things are ours: the mask token cannot be predicted, and what is made beyond the length asked for is not told.
    """
    asked = len(tokens) + generation.gen_length
    steps = block if generation.steps is None else -(-generation.steps // -(-generation.gen_length // block))
    x = [*tokens, *[MASK] * (-(-asked // block) * block - len(tokens))]
    open_ = set(range(len(tokens), len(x)))
    for end in range((len(tokens) // block + 1) * block, len(x) + 1, block):
        for step in range(steps):
            masks = sorted(row for row in open_ if row < end)
            if not masks:
                break
            logits = in_blocks(theirs, torch.tensor(x[:end]), block).float()
            logits[:, MASK] = -torch.inf
            guesses, chances = logits.argmax(-1), logits.softmax(-1).amax(-1)
            due = min(len(masks), block // steps + (step < block % steps))
            surest = sorted(masks, key=lambda row: -float(chances[row]))
            if generation.remasking == "sequential":
                chosen = masks[:due]
            elif generation.threshold is not None:
                sure = [row for row in masks if float(chances[row]) > generation.threshold]
                chosen = sure if len(sure) >= due else surest[:due]
            else:
                chosen = surest[:due]
            for row in chosen:
                x[row] = int(guesses[row])
                open_.discard(row)
            told = sorted(row for row in chosen if row < asked)
            yield [row - len(tokens) for row in told], [x[row] for row in told]
            if not any(row < asked for row in open_):
                return


@pytest.fixture(scope="module", params=BLOCKS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Transformer, Any]:
    """Return a checkpoint as maskkv loads it, and the model of transformers that it was made of."""
    theirs = reference(request.param, scale=0.3, seed=3)
    tensors = published(request.param, theirs)
    folder = write(tmp_path_factory.mktemp("blocks"), TINY[request.param], tensors, shards=2)
    return weights.load(folder, "cpu", "float32"), theirs


SAMPLERS: tuple[dict[str, Any], ...] = (
    {},
    {"steps": 0.5},
    {"threshold": 0.1},
    {"threshold": 0.05, "steps": 0.5},
    {"remasking": "sequential"},
    {"remasking": "sequential", "steps": 0.5},
)


def some_slow(every: tuple[dict[str, Any], ...], *fast: int) -> list[Any]:
    """Leave all but some to `make test-slow`."""
    return [each if index in fast else pytest.param(each, marks=pytest.mark.slow) for index, each in enumerate(every)]


@pytest.mark.parametrize("sampler", some_slow(SAMPLERS, 0, 3, 5), ids=repr)
def test_answers_are_those_of_the_published_loop(pair: tuple[Transformer, Any], sampler: dict[str, Any]) -> None:
    model, theirs = pair
    block = model.config.causal_block
    assert block == BLOCKS[model.config.family]
    length = 16 if block < 8 else 40
    fields = {name: int(value * length) if name == "steps" else value for name, value in sampler.items()}
    settings = made(gen_length=length, block_length=min(block, 8), **fields)
    for begin in (1, block, block + 3, 2 * block + 1) if block < 8 else (1, block + 30):
        expected = list(published_loop(theirs, prompt(begin), settings, block))
        for policy, budget in ((NONE, None), (FULL, None), (MASKKV, begin)):
            found = [each for each in commits(run(model, prompt(begin), settings, policy, budget)) if each[0]]
            assert found == [each for each in expected if each[0]]


def test_lengths_need_not_be_whole_blocks(pair: tuple[Transformer, Any]) -> None:
    model, theirs = pair
    block = model.config.causal_block or 0
    whole = made(gen_length=-(-8 // block) * block, block_length=block)
    expected = [
        ([place for place in places if place < 8], tokens[: sum(place < 8 for place in places)])
        for places, tokens in published_loop(theirs, prompt(5), whole, block)
    ]
    found = commits(run(model, prompt(5), made(gen_length=8), FULL))
    assert [each for each in found if each[0]] == [each for each in expected if each[0]]


def test_logits_are_those_of_transformers(pair: tuple[Transformer, Any]) -> None:
    model, theirs = pair
    for length in (1, 4, 37, 70):
        own = LanguageModel(model, None).logits(prompt(length))
        torch.testing.assert_close(
            own, in_blocks(theirs, torch.tensor(prompt(length)), model.config.causal_block), atol=2e-5, rtol=1e-4
        )


def edited_loop(theirs: Any, tokens: list[int], generation: Generation, block: int) -> Iterator[tuple[list[int], int]]:
    """Fill block after block as LLaDA2.1 does; yield each block's final tokens and how many passes it took."""
    asked = len(tokens) + generation.gen_length
    x = [*tokens, *[MASK] * (-(-asked // block) * block - len(tokens))]
    open_ = set(range(len(tokens), len(x)))
    for end in range((len(tokens) // block + 1) * block, len(x) + 1, block):
        rows = [row for row in range(end - block, end) if row >= len(tokens)]
        post = passes = 0
        while True:
            masks = [row for row in rows if row in open_]
            if not masks:
                post += 1
                if post > generation.max_post_steps:
                    break
            logits = in_blocks(theirs, torch.tensor(x[:end]), block).float()
            logits[:, MASK] = -torch.inf
            passes += 1
            guesses, chances = logits.argmax(-1).tolist(), logits.softmax(-1).amax(-1).tolist()
            sure = [row for row in masks if generation.threshold is not None and chances[row] > generation.threshold]
            if len(sure) < generation.min_transfer:
                sure = sorted(masks, key=lambda row: (-chances[row], row))[: generation.min_transfer]
            edits = [
                row
                for row in rows
                if row not in open_ and guesses[row] != x[row] and chances[row] > generation.edit_threshold
            ]
            for row in (*sure, *edits):
                x[row] = guesses[row]
                open_.discard(row)
            if not masks and not edits:
                break
        yield x[rows[0] : end], passes


EDITED: tuple[dict[str, Any], ...] = (
    {"threshold": 0.1, "edit_threshold": 0.05},
    {"threshold": 0.05, "edit_threshold": 0.0},
    {"threshold": 0.9, "edit_threshold": 0.0, "max_post_steps": 2},
    {"threshold": 0.0, "edit_threshold": 0.0, "max_post_steps": 0},
    {"edit_threshold": 0.03, "min_transfer": 3},
    {"threshold": 0.2, "edit_threshold": 1.0},
)


@pytest.mark.parametrize("sampler", some_slow(EDITED, 0, 3), ids=repr)
def test_edited_answers_are_those_of_the_published_loop(pair: tuple[Transformer, Any], sampler: dict[str, Any]) -> None:
    """Also how many passes they take: a block whose last pass changed nothing is not run once more for its pairs."""
    model, theirs = pair
    block = model.config.causal_block or 0
    settings = made(**({"gen_length": 8, "block_length": 4} if block == 4 else {"gen_length": 16}), **sampler)
    for begin in (1, block + 3) if block < 8 else (block + 30,):
        found = list(edited_loop(theirs, prompt(begin), settings, block))
        expected = [token for tokens, _ in found for token in tokens][: settings.gen_length]
        for policy, budget in ((NONE, None), (FULL, None), (MASKKV, begin)):
            steps = run(model, prompt(begin), settings, policy, budget)
            response: dict[int, int] = {}
            for step in steps:
                assert not response.keys() & set(step.positions), "what is told is final"
                response |= zip(step.positions, step.tokens, strict=True)
            assert [response[place] for place in range(settings.gen_length)] == expected
            passes = sum(count for _, count in found)
            assert len(steps) == passes if policy is NONE else passes <= len(steps) <= passes + len(found)


def test_an_edit_changes_an_answer(pair: tuple[Transformer, Any]) -> None:
    model, _ = pair
    plain, edited = (
        run(model, prompt(7), made(gen_length=32, threshold=0.0, **more), FULL)
        for more in ({}, {"edit_threshold": 0.0})
    )
    assert commits(plain) != [each for each in commits(edited) if each[0]]
    assert sum(map(len, (step.tokens for step in plain))) == sum(map(len, (step.tokens for step in edited)))
