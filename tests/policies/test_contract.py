"""What every policy promises, over every file in `maskkv/policies/`."""

from dataclasses import FrozenInstanceError, fields, replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tests.views import keeping

from maskkv import policies
from maskkv.errors import InputError
from maskkv.eviction.budgets import UniformHeads
from maskkv.eviction.policy import Policy
from maskkv.eviction.view import LayerView
from maskkv.policies import named, names

NAMES = sorted(
    path.stem.replace("_", "-")
    for path in Path(policies.__file__).parent.glob("*.py")
    if not path.stem.startswith("__")
)
EVERY = pytest.mark.parametrize("name", NAMES)
EVICTING = pytest.mark.parametrize("name", [name for name in NAMES if named(name).can_evict])
NUM_LAYERS, KV_HEADS, PROMPT, RESPONSE = 4, 3, 37, 8
IMPORTANCE = (0.9, 0.05, 0.3, 0.45)


def view_of(layer: int, *, logit_shift: int = 0, tie: bool = False) -> LayerView:
    generator = torch.Generator().manual_seed(layer)
    rows = PROMPT + RESPONSE
    queries = torch.randn(rows, 2 * KV_HEADS, 8, generator=generator) * (0 if tie else 2)
    keys, values = torch.randn(2, rows, KV_HEADS, 8, generator=generator) * (0 if tie else 1)
    masked = torch.arange(RESPONSE) % 3 > 0
    return LayerView(layer, NUM_LAYERS, keys, values, lambda span: queries[span], PROMPT - logit_shift, masked)


def test_the_files_are_the_names() -> None:
    assert names() == NAMES


@EVERY
def test_name_and_paper(name: str) -> None:
    policy = named(name)
    assert policy.name == name
    assert policy.paper.startswith("arXiv ") or name == "random"


@EVERY
def test_repr_is_a_record(name: str) -> None:
    policy = named(name)
    assert repr(policy) == repr(replace(policy))
    assert " at 0x" not in repr(policy)
    assert "\n" not in repr(policy)


@EVERY
def test_frozen_and_hashable(name: str) -> None:
    policy = named(name)
    assert hash(policy) == hash(replace(policy))
    assert policy == replace(policy)
    for part in (policy, policy.scorer, policy.layer_budget, policy.head_budget):
        for field in fields(part) if part is not None else ():
            with pytest.raises(FrozenInstanceError):
                setattr(part, field.name, None)


@EVICTING
@pytest.mark.parametrize("logit_shift", [0, 1])
@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("budget", [1, 2, 16, 33, 35])
def test_spends_exactly_its_budget(name: str, logit_shift: int, tie: bool, budget: int) -> None:
    policy, evictable = named(name), PROMPT - logit_shift
    pairs = policy.layer_pairs(
        budget, num_layers=NUM_LAYERS, kv_heads=KV_HEADS, evictable=evictable, importance=IMPORTANCE
    )
    assert sum(pairs) == budget * KV_HEADS * NUM_LAYERS
    for layer, own in enumerate(pairs):
        view = view_of(layer, logit_shift=logit_shift, tie=tie)
        keep = keeping(policy, view, own)
        assert keep.dtype == torch.bool
        assert keep.shape == (KV_HEADS, evictable)
        assert int(keep.sum()) == own
        assert torch.equal(keep, keeping(policy, view_of(layer, logit_shift=logit_shift, tie=tie), own))


@EVERY
@pytest.mark.parametrize("budget", [PROMPT, PROMPT + 1, 10_000, None])
def test_a_budget_of_the_prompt_or_more_keeps_everything(name: str, budget: int | None) -> None:
    policy = named(name)
    pairs = policy.layer_pairs(budget, num_layers=NUM_LAYERS, kv_heads=KV_HEADS, evictable=PROMPT)
    assert pairs == [KV_HEADS * PROMPT] * NUM_LAYERS
    assert keeping(policy, view_of(0), pairs[0]).all()


@EVICTING
@pytest.mark.parametrize("tie", [False, True])
def test_more_budget_keeps_more_of_the_same_ranking(name: str, tie: bool) -> None:
    """A head keeps the top of a ranking that does not depend on the budget, so it gains pairs or loses some, not both.

    Where heads get the same it never loses any. Uneven shares are rounded by largest remainder, and then a head may
    lose a single pair as the layer grows (the Alabama paradox): AdaKV's and MaskKV's heads.
    """
    policy = named(name)
    view = view_of(1, tie=tie)
    kept = [keeping(policy, view, pairs) for pairs in range(1, KV_HEADS * PROMPT + 1)]
    for few, more in pairwise(kept):
        lost, gained = (few & ~more).sum(1), (more & ~few).sum(1)
        assert not ((lost > 0) & (gained > 0)).any()
        assert int(lost.max()) <= (0 if policy.head_budget == UniformHeads() else 1)


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"unknown policy 'mask_kv': expected one of .*maskkv"):
        named("mask_kv")
    with pytest.raises(InputError):
        named("MaskKV")


def test_policies_without_eviction() -> None:
    assert named("full") == Policy(name="full", paper="arXiv 2506.06295")
    assert not named("none").cached
