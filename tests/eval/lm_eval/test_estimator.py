"""An estimated likelihood against its exact expectation, which is written down for short answers."""

import math
from itertools import combinations, permutations
from statistics import fmean, stdev

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskkv.api import LanguageModel
from maskkv.errors import CheckpointError, InputError
from maskkv.eval.lm_eval.estimator import LikelihoodEstimator
from maskkv.eval.lm_eval.likelihood import Likelihood
from maskkv.eval.lm_eval.masks import Masks, draw, generator_for
from maskkv.eval.lm_eval.pairs import Pair
from maskkv.generation import Generation
from maskkv.loading import Loading
from maskkv.models.families import dream, llada
from maskkv.models.transformer import Transformer
from tests.saved_models import DREAM, LLADA

MASK = 63
PAIR = Pair((5, 9, 33), (7, 11, 7, 40))
ENDED = Pair((5, 9, 33), (7, 11, 7, 40), (2,))
FAMILIES = pytest.mark.parametrize("family", ["llada", "dream"])


def made(family, seed=0, chunk_rows=None, **loading):
    config = llada.read_config(LLADA) if family == "llada" else dream.read_config(DREAM)
    model = Transformer(config, chunk_rows)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(float(parameter.ndim == 1), 0.3, generator=generator)
    return LanguageModel(model.requires_grad_(False).eval(), None, policy="none", loading=Loading(**loading))


def estimator(llm, family, cfg_scale=0.0, seed=0, **settings):
    chosen = Likelihood(estimator=family, **settings)
    return LikelihoodEstimator(llm, chosen, Generation(cfg_scale=cfg_scale, seed=seed))


def log_probabilities(llm, pair, masked, cfg_scale=0.0):
    """Return the log-probability of each answer token, given those that are not masked, one sequence at a time."""
    answer = [MASK if place in masked else token for place, token in enumerate(pair.answer)]
    shift, first = llm.model.config.logit_shift, len(pair.context)
    rows = slice(first - shift, first + len(answer) - shift)
    logits = llm.logits([*pair.context, *answer, *pair.after])[rows]
    if cfg_scale:
        other = llm.logits([*[MASK] * first, *answer, *pair.after])[rows]
        logits = other + (cfg_scale + 1) * (logits - other)
    return logits.double().log_softmax(-1)[torch.arange(len(answer)), torch.tensor(pair.answer)].tolist()


def in_every_order(llm, pair, cfg_scale=0.0):
    """Return the mean over all orders in which the tokens of an answer can be told, of minus the log-likelihood."""
    tokens = range(len(pair.answer))
    known = {
        masked: log_probabilities(llm, pair, masked, cfg_scale)
        for size in range(1, len(tokens) + 1)
        for masked in map(frozenset, combinations(tokens, size))
    }
    return fmean(
        -math.fsum(known[frozenset(order[index:])][place] for index, place in enumerate(order))
        for order in permutations(tokens)
    )


def dream_expectation(llm, pair, eps):
    """Integrate over the part that is masked: the integrand is a polynomial, which the quadrature gets exactly."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    length = len(pair.answer)
    total = 0.0
    for masked, loss in losses(llm, pair).items():
        for node, weight in zip(nodes, weights, strict=True) if masked else ():
            part = eps + (1 - eps) * (node + 1) / 2
            total += weight / 2 * part ** (len(masked) - 1) * (1 - part) ** (length - len(masked)) * loss
    return total


def every_copy(length, share):
    """Return every way to mask a token or more, each weighing as if it came up with its probability."""
    choices = [each for size in range(1, length + 1) for each in combinations(range(length), size)]
    masked = torch.zeros(len(choices), length, dtype=torch.bool)
    for row, choice in enumerate(choices):
        masked[row, list(choice)] = True
    return Masks(masked, torch.tensor([len(choices) * share(len(choice)) for choice in choices], dtype=torch.float64))


@FAMILIES
@pytest.mark.parametrize("pair", [PAIR, ENDED, Pair((5,), (7,)), Pair((5, MASK, 6), (8, 9))])
@pytest.mark.parametrize("cfg_scale", [0.0, 0.5])
def test_all_copies_together_are_the_mean_over_all_orders(family, pair, cfg_scale):
    llm, length = made(family), len(pair.answer)
    copies = every_copy(length, lambda size: 1 / (size * math.comb(length, size)))
    found = estimator(llm, family, cfg_scale).weighed(pair, copies)
    assert found == pytest.approx(in_every_order(llm, pair, cfg_scale), rel=1e-5)


def standard_errors_off(found, exact):
    return abs(fmean(found) - exact) / (stdev(found) / math.sqrt(len(found)))


def losses(llm, pair):
    """Return the summed cross entropy of every way to mask the answer."""
    places = range(len(pair.answer))
    return {
        masked: -math.fsum(log_probabilities(llm, pair, masked)[place] for place in masked)
        for size in range(len(places) + 1)
        for masked in combinations(places, size)
    }


def drawn(known, pair, seed, settings):
    """Return the estimate from what is drawn for a pair, with the losses looked up."""
    masks = draw(len(pair.answer), settings, generator_for(seed, pair.context))
    rows = [tuple(place for place, masked in enumerate(row) if masked) for row in masks.masked.tolist()]
    return fmean(weight * known[row] for row, weight in zip(rows, masks.weights.tolist(), strict=True))


@FAMILIES
@pytest.mark.parametrize("name", ["llada", "dream"])
def test_an_estimate_is_the_mean_over_its_copies(family, name):
    llm = made(family)
    known = losses(llm, ENDED)
    for seed in (0, 7):
        found = estimator(llm, name, seed=seed, mc_num=16, mc_batch_size=8).negative_log_likelihood(ENDED)
        expected = drawn(known, ENDED, seed, Likelihood(mc_num=16, mc_batch_size=8, estimator=name))
        assert found == pytest.approx(expected, rel=1e-5)


@FAMILIES
@pytest.mark.parametrize("copies", [32, 8, 1])
def test_llada_s_estimate_has_the_right_mean(family, copies):
    llm = made(family)
    known, exact = losses(llm, PAIR), in_every_order(llm, PAIR)
    chosen = Likelihood(mc_num=copies, mc_batch_size=8, estimator="llada")
    found = [drawn(known, PAIR, seed, chosen) for seed in range(400)]
    assert standard_errors_off(found, exact) < 4
    assert standard_errors_off(found, exact * 1.1) > 4  # which so many estimates can tell apart
    # What users get, from many copies, is within its standard error with any seed.
    for seed in (0, 1, 12345):
        single = drawn(known, PAIR, seed, Likelihood(mc_num=2048, mc_batch_size=8, estimator="llada"))
        assert abs(single - exact) < 4 * stdev(found) / math.sqrt(2048 / copies)


@FAMILIES
@pytest.mark.parametrize("eps", [1e-3, 0.4])
def test_dream_s_estimate_has_the_right_mean(family, eps):
    llm = made(family)
    known, exact = losses(llm, ENDED), dream_expectation(llm, ENDED, eps)
    chosen = Likelihood(mc_num=8, estimator="dream", sampling_eps=eps)
    found = [drawn(known, ENDED, seed, chosen) for seed in range(800)]
    assert standard_errors_off(found, exact) < 4
    assert standard_errors_off(found, exact * 1.1) > 4


def test_without_a_least_part_both_estimators_have_one_mean():
    llm = made("dream")
    assert dream_expectation(llm, PAIR, 0.0) == pytest.approx(in_every_order(llm, PAIR), rel=1e-6)


@FAMILIES
def test_one_token_is_what_the_model_says(family):
    llm, pair = made(family), Pair((5, 9), (7,))
    (exact,) = log_probabilities(llm, pair, {0})
    for copies in (1, 128):
        found = estimator(llm, "llada", mc_num=copies).negative_log_likelihood(pair)
        assert found == pytest.approx(-exact, rel=1e-5)


@FAMILIES
@settings(max_examples=8)
@given(
    context=st.lists(st.integers(0, 62), min_size=1, max_size=5),
    answer=st.lists(st.integers(0, 62), min_size=1, max_size=5),
    after=st.lists(st.integers(0, 62), max_size=2),
    cfg_scale=st.sampled_from([0.0, 1.5]),
    chunk_rows=st.integers(3, 12),
)
def test_copies_side_by_side_are_those_one_at_a_time(family, context, answer, after, cfg_scale, chunk_rows):
    pair = Pair(tuple(context), tuple(answer), tuple(after))
    llm = made(family, chunk_rows=chunk_rows)
    masks = draw(len(answer), Likelihood(mc_num=5, estimator=family), generator_for(0, context))
    alone = [
        weight * -math.fsum(log_probabilities(llm, pair, places, cfg_scale)[place] for place in places)
        for row, weight in zip(masks.masked, masks.weights.tolist(), strict=True)
        for places in [row.nonzero().flatten().tolist()]
    ]
    found = estimator(llm, family, cfg_scale).weighed(pair, masks)
    assert found == pytest.approx(fmean(alone), rel=1e-4, abs=1e-5)


def filled_in(llm, context, length, cfg_scale):
    """Commit the surest mask per step, in a plain loop over whole sequences; the mask itself is never committed."""
    shift, first = llm.model.config.logit_shift, len(context)
    answer = [MASK] * length
    while MASK in answer:
        rows = slice(first - shift, first + length - shift)
        logits = llm.logits([*context, *answer])[rows].clone()
        if cfg_scale:
            other = llm.logits([*[MASK] * first, *answer])[rows]
            logits = other + (cfg_scale + 1) * (logits - other)
        logits[:, MASK] = -torch.inf
        surest = logits.softmax(-1).max(-1)
        open_ = [place for place in range(length) if answer[place] == MASK]
        place = max(open_, key=lambda each: surest.values[each].item())
        answer[place] = int(surest.indices[place])
    return answer


@FAMILIES
@pytest.mark.parametrize("cfg_scale", [0.0, 2.0])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_an_answer_is_greedy_if_a_plain_loop_gives_it(family, cfg_scale, length):
    llm = made(family, seed=length)
    answer = filled_in(llm, [5, 9, 33], length, cfg_scale)
    check = estimator(llm, family, cfg_scale)
    assert check.is_greedy(Pair((5, 9, 33), tuple(answer)))
    for place in range(length):
        other = [*answer[:place], (answer[place] + 1) % 60, *answer[place + 1 :]]
        assert not check.is_greedy(Pair((5, 9, 33), tuple(other)))


def test_guidance_that_changes_what_is_greedy_is_looked_at():
    llm = made("llada", seed=2)
    answers = {scale: tuple(filled_in(llm, [5, 9, 33], 3, scale)) for scale in (0.0, 6.0)}
    assert answers[0.0] != answers[6.0]
    assert not estimator(llm, "llada", 6.0).is_greedy(Pair((5, 9, 33), answers[0.0]))


def test_parts_of_a_text_add_up():
    llm = made("llada")
    own = estimator(llm, "llada", mc_num=4)
    parts = [PAIR, Pair((1,), (2, 3))]
    found = own.estimate(parts)
    assert found.nll == math.fsum(own.negative_log_likelihood(part) for part in parts)
    assert (found.prompt_length, found.gen_length, found.tokens, found.steps) == (3, 6, 6, 8)
    assert not found.greedy
    answer = filled_in(llm, [5, 9], 2, 0.0)
    assert own.estimate([Pair((5, 9), tuple(answer))]).greedy
    assert not own.estimate([Pair((5, 9), tuple(answer)), PAIR]).greedy
    unchecked = estimator(llm, "llada", mc_num=4, is_check_greedy=False)
    assert not unchecked.estimate([Pair((5, 9), tuple(answer))]).greedy


def test_positions_are_stretched_as_the_model_was_loaded():
    stretched = made("llada", rope_scale=4.0)
    own = estimator(stretched, "llada", mc_num=1).negative_log_likelihood(Pair((5, 9, 4), (7,)))
    logits = stretched.logits([5, 9, 4, MASK], rope_scale=None)[3]
    assert own == pytest.approx(-logits.log_softmax(-1)[7].item(), rel=1e-5)
    plain = estimator(made("llada"), "llada", mc_num=1).negative_log_likelihood(Pair((5, 9, 4), (7,)))
    assert own != pytest.approx(plain, rel=1e-4)


def test_a_pair_that_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr("maskkv.memory.available", lambda device: 1)
    with pytest.raises(InputError, match="needs about"):
        estimator(made("llada"), "llada").negative_log_likelihood(PAIR)


def test_logits_that_are_not_numbers_are_told():
    llm = made("llada")
    llm.model.norm.weight.fill_(math.nan)
    with pytest.raises(CheckpointError, match="the model's logits are not finite numbers"):
        estimator(llm, "llada").negative_log_likelihood(PAIR)
