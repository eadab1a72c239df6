"""Projections that are computed in one product, as on a GPU, against the same ones apart."""

import pytest
import torch
from tests import reference
from torch import nn

from maskkv import policies
from maskkv.checkpoints import weights
from maskkv.decoding.engine import Engine
from maskkv.generation import Generation
from maskkv.ops.linear import Joined


def random_linear(inputs: int, outputs: int, bias: bool, seed: int) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, bias=bias).requires_grad_(False)


@pytest.mark.parametrize("bias", [False, True])
def test_joined_maps_are_the_same_maps(bias: bool) -> None:
    """Their outputs lie side by side, and what they hold lies in one place."""
    maps = [random_linear(24, outputs, bias, seed) for seed, outputs in enumerate((40, 8))]
    x = torch.randn(5, 24, generator=torch.Generator().manual_seed(9))
    expected = [each(x) for each in maps]
    joined = Joined.of(maps)
    for own, found, alone in zip(expected, joined(x), [each(x) for each in maps], strict=True):
        torch.testing.assert_close(found, own)
        torch.testing.assert_close(alone, own)
    for each in maps:
        assert each.weight.untyped_storage().data_ptr() == joined.weight.untyped_storage().data_ptr()
        if bias:
            assert each.bias.untyped_storage().data_ptr() == joined.bias.untyped_storage().data_ptr()


@pytest.mark.parametrize("family", ["llada", "dream"])
@pytest.mark.parametrize("chunk_rows", [1024, 13])
def test_a_model_with_joined_projections_answers_the_same(family: str, chunk_rows: int) -> None:
    """In steps of every kind, with prompts that are read in one part and in several."""
    plain, joined = (reference.random_model(reference.CONFIGS[family], 3, chunk_rows) for _ in range(2))
    for layer in joined.layers:
        layer.join_projections()
        for one, other in ((layer.q_proj, layer.k_proj), (layer.mlp.gate_proj, layer.mlp.up_proj)):
            assert one.weight.untyped_storage().data_ptr() == other.weight.untyped_storage().data_ptr()
    assert weights.fingerprint(joined) == weights.fingerprint(plain)
    responses = []
    for model in (plain, joined):
        engine = Engine(model)
        generation = Generation(gen_length=16, prompt_interval=6, response_interval=3, stop_at_eos=False)
        number = engine.add(reference.random_prompt(model.config, 30), generation, policies.named("maskkv"), 5)
        while engine.step():
            pass
        responses.append(engine[number].response())
    assert responses[0] == responses[1]
    assert len(set(responses[0])) > 4
