"""A policy with changes is spelt as its own name says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from maskkv.errors import InputError
from maskkv.eviction.policy import Policy
from maskkv.eviction.scorers import Votes
from maskkv.mixing import mix, resolve
from maskkv.policies import named


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        ("maskkv", {"tally": "max", "boundary_layers": 2}),
        ("maskkv", {"layer_budget": "uniform", "head_budget": "adakv", "voters": "mask-part:1/4"}),
        ("maskkv", {"layer_base": 0.25, "head_base": 1.0, "revote": False}),
        ("snapkv", {"kernel": 3, "protect_window": True}),
        ("mask-voting", {"value_weighted": True, "pooled": False}),
        ("streamingllm", {"sinks": 8}),
        ("pyramidkv", {"window": 64, "pooling": "avg", "slope": 2.0, "protected": 64}),
        ("mask-voting", {"layer_budget": "squeezeattention", "squeezed": 0.5}),
        ("random", {"seed": -1}),
    ],
)
def test_the_name_of_a_mixed_policy_makes_it_again(base: str, changes: dict[str, Any]) -> None:
    mixed = mix(named(base), **changes)
    assert resolve(mixed.name) == mixed


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        ("maskkv()", "expected NAME=VALUE"),
        ("maskkv(max)", "'max': expected NAME=VALUE"),
        ("maskkv(tally=max,)", "'': expected NAME=VALUE"),
        ("maskkv(talley=max)", "has no talley; it has voters=mask, tally=sum, .*, boundary_layers=1, head_base=0.1"),
        ("maskkv(policy=full)", "has no policy; it has voters=mask"),
        ("maskkv(name=mine)", "has no name; it has voters=mask"),
        ("maskkv(sinks=8)", "sinks=8: the scorer of 'maskkv' is Votes.*; that of these has: streamingllm"),
        ("maskkv(kernel=3, kernel=5)", "kernel=3 and kernel=5: expected kernel once"),
        ("maskkv(edge=2, boundary_layers=3)", "edge and boundary_layers are the same: give boundary_layers"),
        ("streamingllm(sinks=9223372036854775808)", "expected a whole number up to 9223372036854775807"),
        ("snapkv(window=1000000000)", "window 1000000000: expected from 1 to 999,999,999 rows"),
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


def test_names_do_not_depend_on_the_order_that_changes_are_given_in() -> None:
    spelling = "maskkv(revote=False, head_base=.5, kernel=3, tally=max, layer_budget=uniform)"
    assert resolve(spelling).name == "maskkv(layer_budget=uniform, tally=max, kernel=3, head_base=0.5, revote=False)"


@dataclass(frozen=True)
class Own(Votes):
    """Votes with parameters of types that text does not tell."""

    source: Path | None = None


OWN = Policy("own", "-", Own("mask"))


def test_what_cannot_be_spelt_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskkv.policies.random.POLICY", OWN)
    with pytest.raises(InputError, match=r"source=here: no pathlib.Path \| None can be written here; set it with"):
        resolve("random(source=here)")
    assert resolve("random(tally=max)").scorer == Own("mask", "max")
    assert mix(OWN, source=Path("here")).scorer == Own("mask", source=Path("here"))
