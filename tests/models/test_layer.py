"""Norms of queries and keys, against `transformers`' Qwen3, a restatement, and the same model joined."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.reference import QWEN3, SlowModel, random_model, random_prompt
from tests.saved_models import both_ways
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from maskkv.bench.gpu.model_checks import live_rows
from maskkv.cache import NoCache, WatchingCache
from maskkv.decoding.engine import Engine
from maskkv.generation import Generation
from maskkv.models import sizes
from maskkv.models.published import like_llama
from maskkv.models.step_cache import StepCache
from maskkv.models.transformer import Transformer
from maskkv.ops.attention import Queries, UnrotatedKeys
from maskkv.ops.rope import rotate
from maskkv.policies import named

TOKENS = torch.tensor(random_prompt(QWEN3, 37, seed=5))


def qwen3(scale: float) -> Any:
    """Make the model of `transformers` that `QWEN3` describes."""
    theirs: Any = Qwen3ForCausalLM(
        Qwen3Config(
            hidden_size=QWEN3.hidden_size,
            num_hidden_layers=QWEN3.num_layers,
            num_attention_heads=QWEN3.num_heads,
            num_key_value_heads=QWEN3.num_kv_heads,
            head_dim=QWEN3.head_dim,
            intermediate_size=QWEN3.mlp_size,
            vocab_size=QWEN3.vocab_size,
            rms_norm_eps=QWEN3.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": QWEN3.rope_theta},
            tie_word_embeddings=False,
        )
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, scale, generator=generator)
    return theirs.eval().requires_grad_(False)


def ours(theirs: Any) -> Transformer:
    """Make the same model here, by the names that a family of Qwen3's layout has."""
    model = Transformer(QWEN3).to(theirs.dtype).requires_grad_(False)
    state, names = theirs.state_dict(), like_llama(QWEN3)
    assert set(names.values()) == set(state)
    model.load_state_dict({name: state[published] for name, published in names.items()})
    return model


def logits(model: Transformer) -> Tensor:
    with torch.inference_mode():
        return model.logits(model(TOKENS, model.rotation(torch.arange(len(TOKENS))), NoCache()))


@pytest.mark.parametrize("chunk_rows", [1024, 37, 16, 5])
def test_logits_equal_those_of_qwen3(chunk_rows: int) -> None:
    theirs = qwen3(0.15)
    model = ours(theirs)
    model._chunk_rows = chunk_rows
    torch.testing.assert_close(logits(model), both_ways(theirs, TOKENS), atol=1e-5, rtol=1e-5)


def test_bf16_is_rounded_as_in_qwen3() -> None:
    theirs = qwen3(0.3)
    frequencies = theirs.model.rotary_emb.inv_freq.clone()
    theirs = theirs.bfloat16()
    theirs.model.rotary_emb.inv_freq = frequencies  # a cast of the whole model takes it along
    expected, found = both_ways(theirs, TOKENS).float(), logits(ours(theirs)).float()
    assert (found - expected).abs().max() <= 2.0**-8 * expected.abs().max()


def test_norms_of_queries_and_keys_matter() -> None:
    """The weights of both are used, each for its own."""
    theirs = qwen3(0.15)
    before = logits(ours(theirs))
    for norm in ("q_norm", "k_norm"):
        changed = ours(theirs)
        getattr(changed.layers[0], norm).weight[0] *= 3
        assert not torch.allclose(logits(changed), before, atol=1e-4), norm


@pytest.mark.parametrize("chunk_rows", [1024, 13])
@pytest.mark.parametrize("joined", [False, True])
def test_unrotated_keys_are_the_keys_before_rotation(chunk_rows: int, joined: bool) -> None:
    """Policies that measure keys get them normalised, as they are when they are rotated."""
    model = random_model(QWEN3, 3, chunk_rows)
    for layer in model.layers if joined else ():
        layer.join_projections()
    rotation = model.rotation(torch.arange(len(TOKENS)))
    seen: list[int] = []

    def read(layer: int, keys: Tensor, values: Tensor, queries: Queries, unrotated: UnrotatedKeys) -> None:
        seen.append(layer)
        for span in (slice(0, len(keys)), slice(5, 9)):
            torch.testing.assert_close(rotate(unrotated(span), rotation[span]), keys[span])

    cache: StepCache = WatchingCache(NoCache(), on_pairs=read)
    with torch.inference_mode():
        model(TOKENS, rotation, cache)
    assert seen == [0, 1]


def test_the_restatement_agrees() -> None:
    model = random_model(QWEN3)
    slow = SlowModel(model)
    hidden, _ = slow.run(TOKENS.tolist())
    expected = torch.stack([slow.logits(row) for row in hidden])
    torch.testing.assert_close(logits(model).double(), expected, atol=1e-4, rtol=1e-4)


def test_live_rows_are_those_of_a_pass_over_everything() -> None:
    """A cache that keeps all pairs holds keys that were normalised, then rotated."""
    cached, everything = live_rows(random_model(QWEN3), 30)
    torch.testing.assert_close(cached, everything, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("chunk_rows", [1024, 13])
@pytest.mark.parametrize("kv_dtype", ["auto", "int8"])
def test_a_model_with_joined_projections_answers_the_same(chunk_rows: int, kv_dtype: str) -> None:
    """8 bits take the keys before they are rotated, from a projection of their own."""
    responses = []
    for joined in (False, True):
        model = random_model(QWEN3, 3, chunk_rows)
        for layer in model.layers if joined else ():
            layer.join_projections()
        engine = Engine(model)
        generation = Generation(gen_length=16, prompt_interval=6, response_interval=3, stop_at_eos=False)
        number = engine.add(random_prompt(QWEN3, 30), generation, named("maskkv"), 5, kv_dtype=kv_dtype)
        while engine.step():
            pass
        responses.append(engine[number].response())
    assert responses[0] == responses[1]
    assert len(set(responses[0])) > 4


@pytest.mark.parametrize("config", [QWEN3, replace(QWEN3, qk_norm=False)])
def test_the_plan_counts_every_weight(config: Any) -> None:
    model = Transformer(config)
    assert sizes.parameters(config) == sum(parameter.numel() for parameter in model.parameters())
