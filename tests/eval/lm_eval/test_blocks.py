"""Likelihoods on block-causal models, block by block, against a list-based restatement and what is exact."""

import math
from dataclasses import replace
from itertools import combinations, permutations
from statistics import fmean, stdev

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskkv.api import LanguageModel
from maskkv.errors import InputError
from maskkv.eval.lm_eval.blocks import count, parts
from maskkv.eval.lm_eval.estimator import LikelihoodEstimator
from maskkv.eval.lm_eval.likelihood import Likelihood
from maskkv.eval.lm_eval.masks import copies_of, draw, every, generator_for
from maskkv.eval.lm_eval.pairs import Pair
from maskkv.generation import Generation
from maskkv.loading import Loading
from maskkv.models.stretch import stretch
from tests.emulated import moved, pretended
from tests.reference import LLADA, SDAR, SlowModel, random_model, random_prompt
from tests.reference_blocks import run_block_causally

MASK = SDAR.mask_id
PAIR = Pair((5, 9, 33, 2, 8), (7, 11, 7, 40, 3, 29))
"""Of blocks of 4 tokens the second has three of the answer, and the third has three and a mask."""
ALL = Likelihood(estimator="blocks")
FEW = replace(ALL, mc_num=4, mc_batch_size=2)


def made(block=4, seed=0, chunk_rows=1024, config=SDAR, **loading):
    model = random_model(replace(config, causal_block=block), seed, chunk_rows)
    return LanguageModel(model, None, policy="none", loading=Loading(**loading))


def estimator(llm, chosen=ALL, seed=0):
    return LikelihoodEstimator(llm, chosen, Generation(seed=seed))


def slow_losses(llm, pair):
    """Return of each block, of each choice of its answer's tokens, the summed cross entropy if these are masked.

    Each is a sequence of its own, cut off where the block ends, over lists.
    """
    block, slow = llm.model.config.causal_block, SlowModel(llm.model)
    whole, found = [*pair.context, *pair.answer], []
    for start in range(0, len(whole), block):
        own = [row for row in range(start, min(start + block, len(whole))) if row >= len(pair.context)]
        known = {}
        for masked in (each for size in range(1, len(own) + 1) for each in combinations(own, size)):
            tokens = [MASK if row in masked else token for row, token in enumerate(whole[: start + block])]
            tokens += [MASK] * (start + block - len(tokens))
            hidden, _ = run_block_causally(slow, tokens, block)
            known[masked] = {row: -float(slow.logits(hidden[row]).log_softmax(0)[whole[row]]) for row in masked}
        if own:
            found.append((own, known))
    return found


def in_every_order(losses):
    """Return the sum over the blocks of the mean over the orders in which a block's tokens can be told."""
    return math.fsum(
        fmean(
            math.fsum(known[tuple(sorted(order[index:]))][row] for index, row in enumerate(order))
            for order in permutations(own)
        )
        for own, known in losses
    )


def drawn(losses, pair, seed, chosen):
    """Return the estimate from what is drawn for a pair, block by block, with the losses looked up."""
    generator, total = generator_for(seed, pair.context), 0.0
    for own, known in losses:
        masks = draw(len(own), chosen, generator)
        rows = [tuple(own[place] for place in row.nonzero().flatten().tolist()) for row in masks.masked]
        total += fmean(
            weight * math.fsum(known[masked].values())
            for masked, weight in zip(rows, masks.weights.tolist(), strict=True)
        )
    return total


@pytest.mark.parametrize(
    ("block", "pair"),
    [
        (4, PAIR),
        (4, Pair((5, 9, 33), (7, 11, 7, 40, 3))),  # one token, then a whole block
        (4, Pair((5, 9, 33, 2), (7, 11))),
        (3, Pair((5,), (7, 11, 4))),
        (6, PAIR),
        (4, Pair((5, MASK, 6), (8, 9))),
    ],
)
def test_an_estimate_is_the_mean_over_the_orders_of_each_block(block, pair):
    llm = made(block)
    assert estimator(llm).negative_log_likelihood(pair) == pytest.approx(
        in_every_order(slow_losses(llm, pair)), rel=1e-5
    )


def test_what_is_drawn_is_drawn_block_by_block():
    llm = made()
    losses = slow_losses(llm, PAIR)
    for seed in (0, 7):
        for chosen in (FEW, replace(FEW, mc_num=1), replace(FEW, mc_num=6, mc_batch_size=3)):
            found = estimator(llm, chosen, seed).negative_log_likelihood(PAIR)
            assert found == pytest.approx(drawn(losses, PAIR, seed, chosen), rel=1e-5)


@pytest.mark.parametrize("copies", [1, 4])
def test_what_is_drawn_has_the_right_mean(copies):
    losses = slow_losses(made(), PAIR)
    exact, chosen = in_every_order(losses), replace(FEW, mc_num=copies)
    found = [drawn(losses, PAIR, seed, chosen) for seed in range(600)]
    error = stdev(found) / math.sqrt(len(found))
    assert abs(fmean(found) - exact) < 4 * error
    assert abs(fmean(found) - 1.1 * exact) > 4 * error  # which so many can tell apart


def test_one_number_of_masks_for_all_blocks_would_have_the_same_mean():
    """What published code draws: so many masks anywhere in the answer, each block with those that it happens to get."""
    losses, length = slow_losses(made(), PAIR), len(PAIR.answer)
    rows = [row for own, _ in losses for row in own]
    total = 0.0
    for masked in (each for size in range(1, length + 1) for each in combinations(rows, size)):
        by_block = [tuple(row for row in masked if row in own) for own, _ in losses]
        loss = math.fsum(sum(known[each].values()) for each, (_, known) in zip(by_block, losses, strict=True) if each)
        total += loss / len(masked) / math.comb(length, len(masked))
    assert total == pytest.approx(in_every_order(losses), rel=1e-9)


@pytest.mark.parametrize("copies", [1, 128])
def test_blocks_of_one_token_are_exactly_autoregressive(copies):
    """Each token given all tokens before it, and its own mask: the chain rule, nothing estimated."""
    llm, chosen = made(1), replace(ALL, mc_num=copies)
    told, exact = [*PAIR.context], 0.0
    for token in PAIR.answer:
        exact += llm.logits([*told, MASK])[-1].double().log_softmax(-1)[token].item()
        told.append(token)
    assert estimator(llm, chosen).negative_log_likelihood(PAIR) == pytest.approx(-exact, rel=1e-5)
    assert estimator(llm, chosen).estimate([PAIR]).steps == len(PAIR.answer)


@pytest.mark.parametrize("context", [(5, 9, 33), (5,), (5, 9, 33, 2), (5, 9, 33, 2, 8, 7)])
@pytest.mark.parametrize("copies", [1, 2])
def test_a_block_with_one_token_of_the_answer_is_exact(context, copies):
    llm, chosen = made(), Likelihood(mc_num=copies, estimator="blocks")
    behind = -(len(context) + 1) % 4
    logits = llm.logits([*context, MASK, *[MASK] * behind])[len(context)]
    found = estimator(llm, chosen).negative_log_likelihood(Pair(context, (7,)))
    assert found == pytest.approx(-logits.log_softmax(-1)[7].item(), rel=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 5), st.integers(1, 6))
def test_an_answer_is_as_likely_as_its_blocks_one_after_the_other(block, context, blocks, answer):
    llm = made(block)
    cut = max(0, blocks * block - context)  # where a block ends
    tokens = tuple(random_prompt(SDAR, context + cut + answer, blocks))
    whole = estimator(llm).negative_log_likelihood(Pair(tokens[:context], tokens[context:]))
    split = context + cut
    halves = [Pair(tokens[:context], tokens[context:split]), Pair(tokens[:split], tokens[split:])]
    each = [estimator(llm).negative_log_likelihood(half) for half in halves if half.answer]
    assert whole == pytest.approx(math.fsum(each), rel=1e-4)


@pytest.mark.parametrize("chunk_rows", [1, 2, 5, 12, 1024])
def test_copies_in_many_passes_are_those_in_one(chunk_rows):
    few, one = made(chunk_rows=chunk_rows), made()
    found = estimator(few).negative_log_likelihood(PAIR)
    assert found == pytest.approx(estimator(one).negative_log_likelihood(PAIR), rel=1e-5)
    copies = 2 * 7
    assert one.model.rows_run == [8 + 4 * copies]  # what comes before the last block is run once
    assert sum(few.model.rows_run) >= 4 * copies
    assert max(few.model.rows_run) <= 8 + max(4, chunk_rows, 4 * chunk_rows - 8)


def test_copies_are_as_many_as_there_are_ways_or_as_are_drawn():
    assert list(parts(PAIR, 4)) == [range(5, 8), range(8, 11)]
    assert list(parts(PAIR, 16)) == [range(5, 11)]
    assert [copies_of(length, FEW) for length in (1, 2, 3, 4)] == [1, 3, 4, 4]
    assert copies_of(1, Likelihood()) == 128  # as published
    assert count(PAIR, 4, ALL) == 14
    assert count(PAIR, 4, FEW) == 8
    assert count(Pair((1, 2, 3), (4, 5, 6)), 4, FEW) == 1 + 3
    just_enough = replace(ALL, mc_num=15, mc_batch_size=5)
    assert len(draw(4, just_enough, generator_for(0, [1])).masked.unique(dim=0)) == 15
    assert estimator(made()).estimate([PAIR, Pair((1,), (2,))]).steps == 15


@pytest.mark.parametrize("length", [1, 2, 5])
def test_every_way_to_mask_weighs_what_it_is_drawn_with(length):
    masks = every(length)
    assert len(masks.masked.unique(dim=0)) == len(masks.masked) == 2**length - 1
    assert masks.masked.any(1).all()
    for masked, weight in zip(masks.masked, masks.weights.tolist(), strict=True):
        size = int(masked.sum())
        drawn_with = 1 / length / math.comb(length, size)
        assert weight / len(masks.masked) == pytest.approx(drawn_with * length / size)


def filled_in(llm, context, length):
    """Commit the surest mask of a block per step, in a plain loop over sequences that end with the block."""
    block, tokens = llm.model.config.causal_block, [*context]
    early = False
    while len(tokens) < len(context) + length:
        first = len(tokens)
        tokens += [MASK] * (block - first % block)
        while MASK in tokens[first:]:
            logits = llm.logits(tokens).clone()
            logits[:, MASK] = -torch.inf
            surest = logits.softmax(-1).max(-1)
            open_ = [row for row in range(first, len(tokens)) if tokens[row] == MASK]
            row = max(open_, key=lambda each: surest.values[each].item())
            tokens[row] = int(surest.indices[row])
            early |= row >= len(context) + length and MASK in tokens[first : len(context) + length]
    return tuple(tokens[len(context) : len(context) + length]), early


@pytest.mark.parametrize("block", [1, 4, 8])
@pytest.mark.parametrize("context", [(5, 9, 33), (5, 9, 33, 2)])
@pytest.mark.parametrize("length", [1, 2, 5, 9])
def test_an_answer_is_greedy_if_a_plain_loop_gives_it(block, context, length):
    llm = made(block, seed=length)
    answer, _ = filled_in(llm, context, length)
    check = estimator(llm)
    assert check.is_greedy(Pair(context, answer))
    assert check.estimate([Pair(context, answer)]).greedy
    for place in range(length):
        other = [*answer[:place], (answer[place] + 1) % 57, *answer[place + 1 :]]
        assert not check.is_greedy(Pair(context, tuple(other)))


def test_what_is_made_behind_an_answer_may_come_first():
    early = [seed for seed in range(12) if filled_in(made(seed=seed), (5, 9, 33, 2), 2)[1]]
    assert early
    for seed in early:
        llm = made(seed=seed)
        assert estimator(llm).is_greedy(Pair((5, 9, 33, 2), filled_in(llm, (5, 9, 33, 2), 2)[0]))


def test_no_block_behind_a_greedy_answer_is_made():
    llm, context = made(), (5, 9, 33)
    answer, _ = filled_in(llm, context, 1)
    llm.model.rows_run.clear()
    assert estimator(llm).is_greedy(Pair(context, answer))
    assert len(llm.model.rows_run) == 1


@pytest.mark.parametrize("loading", [{"rope_scale": 4.0}, {}])
def test_positions_are_stretched_as_the_whole_answer_s_are(loading):
    llm = made(config=replace(SDAR, trained_length=7, rope_theta=10.0), **loading)
    scale = loading.get("rope_scale") or stretch(llm.model.config, len(PAIR.context) + 8)
    assert scale == loading.get("rope_scale", 8.0)
    assert stretch(llm.model.config, 12) == 5.0  # as the sequences of their own would be
    exact, told = 0.0, [*PAIR.context, *PAIR.answer]
    for first in (5, 8):
        own = range(first, min(first // 4 * 4 + 4, len(told)))
        losses = {}
        for masked in (each for size in range(1, len(own) + 1) for each in combinations(own, size)):
            tokens = [MASK if row in masked else token for row, token in enumerate(told[: first // 4 * 4 + 4])]
            logits = llm.logits([*tokens, *[MASK] * (-len(tokens) % 4)], rope_scale=scale).double().log_softmax(-1)
            losses[masked] = {row: -logits[row, told[row]].item() for row in masked}
        exact += in_every_order([(own, losses)])
    assert estimator(llm).negative_log_likelihood(PAIR) == pytest.approx(exact, rel=1e-4)


def test_guidance_is_refused_by_name():
    with pytest.raises(InputError) as caught:
        LikelihoodEstimator(made(), ALL, Generation(cfg_scale=0.5))
    assert str(caught.value) == "cfg_scale=0.5 is for bidirectional models, and sdar is block-causal: leave it out"


def test_estimators_go_with_the_attention():
    assert Likelihood().resolved(SDAR) == Likelihood(estimator="blocks", max_length=4096)
    assert ALL.resolved(SDAR).estimator == "blocks"
    for name in ("llada", "dream"):
        with pytest.raises(InputError) as caught:
            Likelihood(estimator=name).resolved(SDAR)
        assert str(caught.value) == (
            f"estimator={name} is for bidirectional models, and sdar is block-causal: leave it out"
        )
    with pytest.raises(InputError) as caught:
        ALL.resolved(LLADA)
    assert str(caught.value) == "estimator=blocks is for block-causal models, and llada is bidirectional: leave it out"


def test_a_pair_that_does_not_fit_into_memory_is_refused(monkeypatch):
    llm = made()
    monkeypatch.setattr("maskkv.memory.available", lambda device: 1)
    with pytest.raises(InputError, match="a prompt of 5 tokens with a response of 8 needs about"):
        estimator(llm).negative_log_likelihood(PAIR)


@pytest.mark.parametrize("config", [SDAR, LLADA])
def test_estimates_on_a_device_are_the_cpu_s(config, monkeypatch):
    monkeypatch.setattr("maskkv.memory.available", lambda device: 1 << 40)
    own, chosen = random_model(config), Likelihood(mc_num=8).resolved(config)
    expected = LikelihoodEstimator(LanguageModel(own, None), chosen, Generation()).negative_log_likelihood(PAIR)
    with pretended() as counts:
        there = LikelihoodEstimator(LanguageModel(moved(own), None), chosen, Generation())
        assert there.negative_log_likelihood(PAIR) == pytest.approx(expected, rel=1e-5)
    assert not counts.mixed
