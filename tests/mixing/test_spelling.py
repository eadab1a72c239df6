"""A policy with changes is spelt as its own name says."""

import pytest

from maskkv.errors import InputError
from maskkv.policies import Changes, mix, named, resolve


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        ("maskkv", {"tally": "max", "boundary_layers": 2}),
        ("maskkv", {"layer_budget": "uniform", "head_budget": "adakv", "voters": "mask-part:1/4"}),
        ("maskkv", {"layer_base": 0.25, "head_base": 1.0, "revote": False}),
        ("snapkv", {"kernel": 3, "protect_window": True}),
        ("mask-voting", {"value_weighted": True, "pooled": False}),
    ],
)
def test_the_name_of_a_mixed_policy_makes_it_again(base: str, changes: Changes) -> None:
    mixed = mix(named(base), **changes)
    assert resolve(mixed.name) == mixed


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        ("maskkv()", "expected NAME=VALUE"),
        ("maskkv(talley=max)", "NAME one of layer_budget"),
        ("maskkv(boundary_layers=two)", "boundary_layers=two: expected a whole number"),
        ("maskkv(head_base=much)", "head_base=much: expected a number"),
        ("maskkv(revote=no)", "expected True or False"),
        ("maskkv(tally=most)", "most"),
        ("none(tally=max)", "evicts nothing"),
        ("nosuch(tally=max)", "unknown policy 'nosuch'"),
        ("maskkv(tally=max", "unknown policy"),
    ],
)
def test_wrong_spellings_are_refused(spelling: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve(spelling)
