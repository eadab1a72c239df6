"""Requests for likelihoods: how texts become tokens, and that order and company change nothing."""

import json
import logging
from dataclasses import fields, replace

import pytest
from lm_eval.api.instance import Instance

import maskkv
from maskkv.checkpoints import weights
from maskkv.errors import CheckpointError, InputError
from maskkv.eval.lm_eval import arguments
from maskkv.eval.lm_eval.estimator import LikelihoodEstimator
from maskkv.eval.lm_eval.likelihood import Likelihood
from maskkv.eval.lm_eval.model import MaskKVModel
from maskkv.eval.lm_eval.pairs import Pair, Pairs
from maskkv.eval.lm_eval.requests import Estimate, estimate_key, from_line
from maskkv.eval.store import Store
from maskkv.generation import Generation
from tests.eval.byte_level import END, save_byte_level
from tests.reference import SDAR, random_model

FEW = Likelihood(mc_num=4)
ASKED = (("How many?", " 12"), ("How many?", " 3"), ("", "Yes"), ("A: ", "ü <|end|>"), ("How many?", " 12"))


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return maskkv.load(save_byte_level(tmp_path_factory.mktemp("bytes")), policy="none")


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    """Load a block-causal model."""
    return maskkv.load(save_byte_level(tmp_path_factory.mktemp("causal"), causal=True), policy="none")


@pytest.fixture(scope="module")
def beginning(tmp_path_factory):
    """Load a model whose tokenizer names a first token."""
    folder = save_byte_level(tmp_path_factory.mktemp("beginning"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "bos_token": "<|user|>"}))
    return maskkv.load(folder, policy="none")


def requests(*arguments, task="quiz"):
    return [
        Instance(request_type="loglikelihood", doc={}, arguments=each, idx=0, metadata=(task, number, 1))
        for number, each in enumerate(arguments)
    ]


def pairs(llm, **settings):
    return Pairs(llm, Likelihood(**settings).resolved(llm.model.config))


def text(llm, pair):
    return llm.text.decode(pair.context), llm.text.decode(pair.answer)


def test_estimates_do_not_depend_on_order_or_company(llm):
    together = MaskKVModel(llm, likelihood=FEW).loglikelihood(requests(*ASKED))
    backwards = MaskKVModel(llm, likelihood=FEW, together=1).loglikelihood(requests(*ASKED[::-1]))
    alone = [MaskKVModel(llm, likelihood=FEW).loglikelihood(requests(each))[0] for each in ASKED]
    assert together == alone == backwards[::-1]
    assert all(value < 0 for value, _ in together)
    assert together[0] == together[4]
    assert len(set(together)) == 4


def test_seed_guidance_and_settings_count(llm):
    def found(schedule=None, **settings):
        made = Generation(gen_length=8, **(schedule or {}))
        model = MaskKVModel(llm, made, likelihood=replace(FEW, **settings))
        return model.loglikelihood(requests(("How many?", " 12")))[0][0]

    ways = [
        found(),
        found({"seed": 1}),
        found({"cfg_scale": 1.0}),
        found(mc_num=8),
        found(mc_num=8, mc_batch_size=4),
        found(estimator="dream"),
        found(estimator="dream", sampling_eps=0.5),
    ]
    assert len(set(ways)) == len(ways)
    assert found() == ways[0]


def test_an_answer_that_greedy_decoding_gives_is_said_to_be(llm):
    said = llm.generate_ids(
        llm.text.encode("How many?"), gen_length=3, block_length=3, stop_at_eos=False, cfg_scale=0.0
    )
    (pair,) = [Pair(tuple(llm.text.encode("How many?")), tuple(said.tokens))]
    assert LikelihoodEstimator(llm, FEW, Generation()).is_greedy(pair)
    (_, greedy) = MaskKVModel(llm, likelihood=FEW).loglikelihood(requests(("How many?", "no")))[0]
    assert greedy is False


def test_greedy_decoding_is_only_tried_if_it_is_asked_for(llm, monkeypatch):
    monkeypatch.setattr(LikelihoodEstimator, "is_greedy", lambda self, pair: True)
    asked = requests(("How many?", " 12"))
    assert MaskKVModel(llm, likelihood=FEW).loglikelihood(asked)[0][1] is True
    assert MaskKVModel(llm, likelihood=replace(FEW, is_check_greedy=False)).loglikelihood(asked)[0][1] is False


def test_blanks_between_context_and_answer_belong_to_the_answer(llm):
    assert text(llm, pairs(llm).pair("quiz", "A: \n", "12")) == ("A:", " \n12")
    assert text(llm, pairs(llm).pair("quiz", "A:", " 12")) == ("A:", " 12")


def test_an_empty_context_is_the_first_token_or_else_the_end(llm, beginning):
    first = beginning.text.begin_id
    assert first is not None
    assert pairs(llm).pair("quiz", "", "ab").context == (END,)
    assert pairs(beginning).pair("quiz", "", "ab") == Pair((first,), tuple(llm.text.encode("ab")))
    assert text(llm, pairs(llm).pair("quiz", " ", "ab"))[1] == " ab"


def test_a_context_begins_with_the_first_token_if_that_is_asked_for(llm, beginning):
    asked = pairs(beginning, add_bos_token=True)
    bare = pairs(beginning).pair("quiz", "A:", " 1")
    assert asked.pair("quiz", "A:", " 1") == replace(bare, context=(beginning.text.begin_id, *bare.context))
    assert asked.pair("quiz", "", " 1").context == (beginning.text.begin_id,)
    # A chat that begins with it does not get it twice.
    rendered = beginning.text.render([{"role": "user", "content": "A"}])
    assert asked.pair("quiz", rendered, "1", rendered=True) == pairs(beginning).pair(
        "quiz", rendered, "1", rendered=True
    )
    with pytest.raises(CheckpointError, match="names no bos_token: leave out add_bos_token"):
        pairs(llm, add_bos_token=True)


def test_dream_s_answers_are_followed_by_the_end(llm):
    assert pairs(llm, estimator="dream").pair("quiz", "A:", " 1").after == (END,)
    assert pairs(llm).pair("quiz", "A:", " 1").after == ()


def test_a_chat_s_special_tokens_are_tokens_and_an_answer_s_are_text(llm):
    model = MaskKVModel(llm, likelihood=FEW)
    rendered = model.apply_chat_template([{"role": "user", "content": "How <|end|> many?"}])
    pair = pairs(llm).pair("quiz", rendered, "1<|end|>", rendered=True)
    assert list(pair.context) == llm.text.encode_rendered(rendered)
    assert list(pair.answer) == llm.text.encode("1<|end|>")
    assert END not in pair.answer
    model.loglikelihood(requests((rendered, "1")))
    assert model.answers["quiz"][0].prompt_length == len(pair.context)


def test_a_context_that_is_too_long_loses_its_beginning(llm, caplog):
    with caplog.at_level(logging.WARNING):
        pair = pairs(llm, max_length=8).pair("quiz", "0123456789", "ab")
        ended = pairs(llm, max_length=8, estimator="dream").pair("quiz", "0123456789", "ab")
    assert text(llm, pair) == ("456789", "ab")
    assert text(llm, ended) == ("56789", "ab")
    assert "quiz: a context of 10 tokens is cut to its last 6" in caplog.text
    assert text(llm, pairs(llm, max_length=8).pair("quiz", "012345", "ab"))[0] == "012345"


@pytest.mark.parametrize(
    ("context", "answer", "says"),
    [
        (
            "A",
            "12345678",
            "likelihood of 8 tokens, for which max_length=8 is too short: expected at least max_length=9",
        ),
        ("A", "", "the task quiz asks for the likelihood of no token: expected a text after the context"),
        ("", "", "the task quiz asks for the likelihood of no token"),
    ],
)
def test_answers_without_tokens_or_with_too_many_are_refused(llm, context, answer, says):
    with pytest.raises(InputError) as caught:
        pairs(llm, max_length=8).pair("quiz", context, answer)
    assert says in str(caught.value)


def test_a_long_answer_still_leaves_a_token_of_context(llm):
    assert text(llm, pairs(llm, max_length=8).pair("quiz", "ABC", "1234567")) == ("C", "1234567")


@pytest.mark.parametrize("length", [1, 4, 5, 6, 11, 12, 13])
def test_windows_score_every_token_once_and_fit(llm, length):
    whole = "abcdefghijklm"[:length]
    found = list(pairs(llm, max_length=6).windows(whole))
    assert "".join(llm.text.decode(each.answer) for each in found) == whole
    assert found[0].context == (END,)
    told = ""
    for each in found:
        context = llm.text.decode(each.context)
        assert told.endswith(context)
        assert context or each is found[0]
        assert len(each.context) + len(each.answer) <= 6
        assert each.after == ()
        told += llm.text.decode(each.answer)
    # The last window sees as much of what came before as there is room for.
    assert len(found) == 1 or len(found[-1].context) + len(found[-1].answer) == 6


def test_a_long_text_s_likelihood_is_the_sum_over_its_windows(llm):
    model = MaskKVModel(llm, likelihood=replace(FEW, max_length=6))
    whole, empty = model.loglikelihood_rolling(requests(("abcdefgh",), ("",)))
    own = LikelihoodEstimator(llm, model.likelihood, model.schedule)
    parts = list(pairs(llm, max_length=6).windows("abcdefgh"))
    assert len(parts) == 2
    assert whole == pytest.approx(-sum(map(own.negative_log_likelihood, parts)))
    assert empty == 0
    assert [each.gen_length for each in model.answers["quiz"]] == [8, 0]


def test_estimates_are_kept_and_not_made_again(llm, tmp_path, monkeypatch):
    with Store(from_line, tmp_path, "lm-eval") as store:
        first = MaskKVModel(llm, likelihood=FEW, store=store).loglikelihood(requests(*ASKED))
    assert len((tmp_path / "lm-eval.answers.jsonl").read_text().splitlines()) == 4  # one was asked for twice
    monkeypatch.setattr(LikelihoodEstimator, "estimate", None)
    with Store(from_line, tmp_path, "lm-eval") as store:
        model = MaskKVModel(llm, likelihood=FEW, store=store)
        assert model.loglikelihood(requests(*ASKED)) == first
    assert all(isinstance(each, Estimate) for each in model.answers["quiz"])


def test_answers_of_several_kinds_are_held_by_task(llm):
    model = MaskKVModel(llm, likelihood=FEW)
    model.loglikelihood(requests(("A", "1"), task="choice"))
    model.generate_until(requests(("A", {"max_gen_toks": 8}), task="open"))
    model.loglikelihood(requests(("A", "2"), ("A", "3"), task="choice"))
    assert {task: len(found) for task, found in model.answers.items()} == {"choice": 2, "open": 1}


def test_whatever_decides_an_estimate_is_in_its_key(llm):
    base = {
        "fingerprint": "f", "pairs": (Pair((1,), (2,)),), "settings": FEW, "schedule": Generation(),
    }  # fmt: skip
    others = [
        {},
        {"fingerprint": "g"},
        {"pairs": (Pair((1,), (3,)),)},
        {"pairs": (Pair((1, 2), ()),)},
        {"pairs": (Pair((1,), (2,), (3,)),)},
        {"pairs": (Pair((1,), (2,)), Pair((1,), (2,)))},
        {"settings": replace(FEW, is_check_greedy=False)},
        {"settings": replace(FEW, sampling_eps=0.1)},
        {"schedule": Generation(seed=1)},
        {"schedule": Generation(cfg_scale=1.0)},
    ]
    keys = [estimate_key(llm, **{**base, **each}) for each in others]
    assert len(set(keys)) == len(keys)
    assert estimate_key(llm, **{**base, "schedule": Generation(gen_length=8)}) == keys[0]


@pytest.mark.parametrize("method", ["loglikelihood", "loglikelihood_rolling"])
@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("maskkv", "expected the policy none, not maskkv"),
        ("full", "expected the policy none, not full"),
    ],
)
def test_a_cache_is_refused(llm, method, policy, says):
    own = maskkv.api.LanguageModel(llm.model, llm.text, policy=policy)
    with pytest.raises(InputError) as caught:
        getattr(MaskKVModel(own), method)(requests(("x", " y")))
    assert str(caught.value).startswith("the task quiz asks for likelihoods, which are estimated without a cache: ")
    assert says in str(caught.value)


def test_every_setting_is_an_argument(llm, monkeypatch):
    monkeypatch.setattr("maskkv.api.load_model", lambda loading, **rest: llm)
    line = "mc_num=8,mc_batch_size=4,estimator=dream,sampling_eps=0.1,is_check_greedy=False,add_bos_token=true"
    given = dict(pair.split("=") for pair in f"{line},max_length=99,cfg_scale=0.5,seed=3".split(","))
    loaded = arguments.load({"policy": "none", **given})
    assert loaded.likelihood == Likelihood(8, 4, "dream", 0.1, False, True, 99)
    assert all(getattr(loaded.likelihood, each.name) != each.default for each in fields(Likelihood))
    assert (loaded.schedule.cfg_scale, loaded.schedule.seed) == (0.5, 3)
    with pytest.raises(InputError, match="mc_num must be a whole number of at least 1, not 0"):
        arguments.load({"policy": "none", "mc_num": "0"})


def test_the_harness_is_told_the_settings(llm):
    told = MaskKVModel(llm, likelihood=FEW).get_model_info()["likelihood"]
    assert told["estimator"] == "llada"
    assert told["max_length"] == llm.model.config.trained_length


def test_block_causal_estimates_depend_neither_on_order_nor_on_company(causal):
    together = MaskKVModel(causal, likelihood=FEW).loglikelihood(requests(*ASKED))
    backwards = MaskKVModel(causal, likelihood=FEW, together=1).loglikelihood(requests(*ASKED[::-1]))
    assert together == backwards[::-1]
    assert all(value < 0 for value, _ in together)
    assert len(set(together)) == 4


def test_block_causal_answers_that_greedy_decoding_gives_are_said_to_be(causal):
    model = MaskKVModel(causal, likelihood=FEW)
    context = tuple(causal.text.encode("How many?"))
    made = causal.generate_ids(context, gen_length=8, block_length=4, stop_at_eos=False)
    own = LikelihoodEstimator(causal, model.likelihood, model.schedule)
    for length in range(1, 8):
        assert own.is_greedy(Pair(context, tuple(made.tokens[:length])))
    assert model.loglikelihood(requests(("How many?", " 12")))[0][1] is False


def test_a_text_s_likelihood_on_a_block_causal_model_is_the_sum_over_its_windows(causal):
    model = MaskKVModel(causal, likelihood=replace(FEW, max_length=7))
    (whole,) = model.loglikelihood_rolling(requests(("abcdefghij",)))
    own = LikelihoodEstimator(causal, model.likelihood, model.schedule)
    windows = list(pairs(causal, max_length=7).windows("abcdefghij"))
    assert len(windows) == 2
    assert all(each.after == () for each in windows)
    assert whole == pytest.approx(-sum(map(own.negative_log_likelihood, windows)))
    assert model.answers["quiz"][0].steps < len(windows) * 4 * 3  # fewer copies than draws where a block has few tokens


def test_estimates_of_other_attention_have_keys_of_their_own(llm, causal):
    models = [MaskKVModel(each, likelihood=FEW) for each in (llm, causal)]
    assert [each.likelihood.estimator for each in models] == ["llada", "blocks"]
    given = ((Pair((1,), (2,)),), models[0].likelihood, Generation())
    blocks = replace(models[0].likelihood, estimator="blocks")
    keys = {estimate_key(llm, "f", *given), estimate_key(llm, "f", given[0], blocks, given[2])}
    assert len(keys) == 2
    of_other_blocks = [weights.fingerprint(random_model(replace(SDAR, causal_block=block))) for block in (4, 8, None)]
    assert len(set(of_other_blocks)) == 3


@pytest.mark.parametrize("estimator", ["llada", "dream"])
def test_estimators_of_bidirectional_models_are_refused_on_block_causal_ones(llm, causal, estimator):
    with pytest.raises(InputError, match=f"estimator={estimator} is for bidirectional models, and sdar is block"):
        MaskKVModel(causal, likelihood=replace(FEW, estimator=estimator))
    with pytest.raises(InputError, match="estimator=blocks is for block-causal models, and llada is bidirectional"):
        MaskKVModel(llm, likelihood=replace(FEW, estimator="blocks"))
    guided = MaskKVModel(causal, Generation(cfg_scale=0.5), likelihood=FEW)
    for method, args in (("loglikelihood", ("x", " y")), ("loglikelihood_rolling", ("x",))):
        with pytest.raises(InputError, match=r"cfg_scale=0\.5 is for bidirectional models, and sdar is block-causal"):
            getattr(guided, method)(requests(args))
