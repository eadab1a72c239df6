"""What a token's row reads is the plain formula over the pairs that are really there."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import maskkv
from maskkv import api, lens, policies
from maskkv.decoding.engine import Engine
from maskkv.generation import Generation
from maskkv.lens.reads import readable, reading
from maskkv.mini import sample
from maskkv.models.layer import Layer
from maskkv.result import finish
from tests.cache.test_recall import HOST
from tests.cache.test_restatement import FAMILIES, MASKKV, schedule
from tests.cli.tiny import save_tiny
from tests.reference import CONFIGS, random_model, random_prompt

BUDGET = 4


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return maskkv.load(save_tiny(tmp_path_factory.mktemp("tiny")))


@FAMILIES
@pytest.mark.parametrize("policy", [MASKKV, HOST])
@pytest.mark.parametrize("generation", [schedule(6, 4, 0.4), schedule(50, 3, 0.25, stop_at_eos=False)])
def test_weights_are_softmax_over_the_kept_pairs_and_the_rows_own(tiny, family, policy, generation, monkeypatch):
    """Everything is taken from what the model's layers compute: the queries and keys of two passes, head by head."""
    config = CONFIGS[family]
    model, prompt = random_model(config, seed=3), random_prompt(config, 20, seed=4)
    llm = api.LanguageModel(model, tiny.text)
    passes, together = [], Layer._queries_and_keys

    def watched(self, x, norm, rotation, parts):
        queries, keys = together(self, x, norm, rotation, parts)
        passes.append((torch.cat([queries(part) for part in parts]), keys))
        return queries, keys

    monkeypatch.setattr(Layer, "_queries_and_keys", watched)
    reads = finish(reading(llm, prompt, generation, policy, BUDGET))
    layers = config.num_layers
    last = passes[-layers:]
    monkeypatch.undo()
    whole = [each for each in passes[:-layers] if len(each[1]) == len(prompt) + generation.gen_length][-layers:]
    engine = Engine(model)
    number = engine.add(prompt, generation, policy, BUDGET)
    while not engine[number].finished:
        engine.step()
    kept = engine[number].kept()
    said = len(llm.said(engine[number].response()))
    assert len(reads) == said
    group = config.num_heads // config.num_kv_heads
    for layer, ((queries, own), (_, prompt_keys)) in enumerate(zip(last, whole, strict=True)):
        for head in range(config.num_kv_heads):
            held = kept[layer][head]
            keys = torch.cat((prompt_keys[held, head], own[:, head]))
            for token in range(said):
                weights = [
                    torch.softmax(queries[token, head * group + each] @ keys.T / keys.shape[1] ** 0.5, 0)
                    for each in range(group)
                ]
                mean = sum(weights) / group
                read = reads[token][layer][head]
                assert read.prompt == pytest.approx(float(mean[: len(held)].sum()), abs=1e-5)
                assert set(read.positions) <= set(held)
                assert read.weights == sorted(read.weights, reverse=True)
                by_position = dict(zip(held, mean.tolist(), strict=False))
                assert read.weights == pytest.approx([by_position[each] for each in read.positions], abs=1e-5)
                assert read.weights == pytest.approx(sorted(by_position.values(), reverse=True)[:8], abs=1e-5)


def test_the_lens_shows_them_for_each_token_of_the_answer(tiny):
    tokens = tiny.prompt_tokens(sample("multi-key", 60, 4).content)
    seen = lens.inspect(tiny, tokens, Generation(gen_length=8), policies.named("maskkv"), 5)
    assert len(seen.reads) == len(seen.evicted.said)
    for token in seen.reads:
        for layer, heads in zip(seen.kept, token, strict=True):
            for held, read in zip(layer, heads, strict=True):
                assert set(read.positions) <= set(held)
                assert len(read.positions) == min(8, len(held))
    guided = lens.inspect(tiny, tokens, Generation(gen_length=8, cfg_scale=1.5), policies.named("maskkv"), 5)
    assert guided.reads is None


def test_an_answer_without_a_word_reads_nothing(tiny, monkeypatch):
    """The end token came first."""
    monkeypatch.setattr(api.LanguageModel, "said", lambda self, ids: [])
    tokens = tiny.prompt_tokens(sample("multi-key", 60, 4).content)
    seen = lens.inspect(tiny, tokens, Generation(gen_length=8), policies.named("maskkv"), 5)
    assert seen.reads == []


def test_where_the_rows_are_never_all_in_one_pass_there_is_nothing_to_show(tiny, monkeypatch):
    assert readable(tiny, Generation())
    assert not readable(tiny, Generation(cfg_scale=1.0))
    monkeypatch.setattr(tiny.model, "ranks", SimpleNamespace(count=2))
    assert not readable(tiny, Generation())
    monkeypatch.undo()
    # 3 layers of 2 KV heads: 6 rows for each token.
    assert readable(tiny, Generation(gen_length=21_840))
    assert not readable(tiny, Generation(gen_length=21_848))
    monkeypatch.setattr(tiny.model, "config", replace(tiny.model.config, causal_block=32))
    assert not readable(tiny, Generation())


def test_kept_keys_in_eight_bits_are_those_that_are_read(tiny):
    tokens = tiny.prompt_ids(sample("multi-key", 60, 4).content)
    rough = api.LanguageModel(tiny.model, tiny.text, loading=maskkv.loading.Loading(kv_dtype="int8"))
    exact, coarse = (finish(reading(llm, tokens, Generation(gen_length=8), MASKKV, 5)) for llm in (tiny, rough))
    assert coarse[0][0][0].positions[0] == exact[0][0][0].positions[0]
    assert coarse[0][0][0].weights == pytest.approx(exact[0][0][0].weights, abs=0.02)
    assert coarse[0][0][0].weights != exact[0][0][0].weights
