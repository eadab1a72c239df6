"""What each part of a model is given of it."""

from dataclasses import replace

import pytest
import torch
from tests.reference import DREAM, GROUPED, LLADA, MOE, QWEN3, random_model

from maskkv.errors import InputError
from maskkv.models.config import ModelConfig
from maskkv.models.part import Part
from maskkv.models.sizes import parameters
from maskkv.models.transformer import Transformer


def test_two_parts_of_a_worked_example() -> None:
    """Dream's 6 query heads read 2 KV heads: each part has one of these, with the three that read it."""
    own = Part(1, 2).config(DREAM)
    assert (own.num_heads, own.num_kv_heads, own.mlp_size) == (3, 1, 24)
    assert (own.hidden_size, own.head_dim, own.num_layers, own.vocab_size) == (40, 8, 4, 61)
    assert Part(0, 1).config(DREAM) is DREAM


def test_experts_go_to_parts_whole_and_their_routers_to_all() -> None:
    first, second = (Part(rank, 2).config(GROUPED).experts for rank in range(2))
    assert first is not None
    assert second is not None
    assert (list(first.here), list(second.here)) == ([0, 1, 2, 3], [4, 5, 6, 7])
    assert (first.count, first.size, first.chosen) == (8, GROUPED.experts.size, 3)
    assert first.shared_size * 2 == GROUPED.experts.shared_size


@pytest.mark.parametrize("config", [LLADA, DREAM, QWEN3, MOE, GROUPED], ids=lambda config: config.family)
def test_the_parts_together_are_the_model(config: ModelConfig) -> None:
    """Each number of each parameter is in the parts as often as it is to be, at its place."""
    whole = random_model(config).state_dict()
    parts = [Part(rank, 2) for rank in range(2)]
    models = [Transformer(part.config(config)).state_dict() for part in parts]
    assert set(whole) == set(models[0]) | set(models[1])
    for name, tensor in whole.items():
        held = [part.take(name, tensor) for part, model in zip(parts, models, strict=True) if name in model]
        assert all(each.shape == models[index][name].shape for index, each in enumerate(held) if len(held) == 2)
        if ".experts." in name:
            assert len(held) == 1
            assert torch.equal(held[0], tensor)
        elif any(word in name for word in ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")):
            assert torch.equal(torch.cat(held), tensor)
        elif any(word in name for word in ("o_proj", "down_proj")):
            assert torch.equal(torch.cat(held, dim=1), tensor)
        else:
            assert all(torch.equal(each, tensor) for each in held)
        assert all(each.untyped_storage().nbytes() == each.nbytes for each in held if each is not tensor)


@pytest.mark.parametrize("config", [LLADA, DREAM, MOE, GROUPED], ids=lambda config: config.family)
def test_the_size_that_is_told_of_a_part_is_that_of_its_parameters(config: ModelConfig) -> None:
    own = Part(0, 2).config(config)
    assert parameters(own) == sum(each.numel() for each in Transformer(own).parameters())


@pytest.mark.parametrize(
    ("config", "count", "told"),
    [
        (DREAM, 3, "tensor_parallel 3: this model's 2 KV heads do not split into 3 equal parts"),
        (replace(LLADA, mlp_size=46), 4, "this model's 46 columns of an MLP do not split into 4"),
        (replace(MOE, experts=replace(MOE.experts, count=7)), 2, "this model's 7 experts do not split into 2"),
    ],
)
def test_what_does_not_split_is_refused_in_one_line(config: ModelConfig, count: int, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        Part(0, count).config(config)
    assert "\n" not in str(caught.value)
