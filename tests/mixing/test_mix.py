"""Every row of the paper's Tables 2, 7 and 8 is a policy and at most one exchange."""

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import pytest

from maskkv.cli.flags import PolicyFlags
from maskkv.errors import InputError
from maskkv.eviction.budgets import UniformHeads, UniformLayers
from maskkv.eviction.policy import Policy
from maskkv.eviction.recall import Recall
from maskkv.eviction.scorers import ObservationWindow, Votes
from maskkv.mixing import mix, parameters, resolve
from maskkv.policies import named, names
from maskkv.policies.adakv import TopOfLayer
from maskkv.policies.knorm import ShortKeys
from maskkv.policies.maskkv import BoundaryAware, PromptPreference
from maskkv.policies.pyramidkv import Pyramid
from maskkv.policies.squeezeattention import LayerGroups
from maskkv.policies.streamingllm import SinksThenLatest

MASKS, EVEN_LAYERS, EVEN_HEADS = Votes("mask"), UniformLayers(), UniformHeads()

TABLES: dict[str, tuple[dict[str, Any], tuple[object, object, object]]] = {
    "2: Mask-Voting": ({"policy": "mask-voting"}, (MASKS, EVEN_LAYERS, EVEN_HEADS)),
    "2: + SqueezeAttention": (
        {"policy": "mask-voting", "layer_budget": "squeezeattention"},
        (MASKS, LayerGroups(squeezed=0.4), EVEN_HEADS),
    ),
    "2: + PyramidKV": (
        {"policy": "mask-voting", "layer_budget": "pyramidkv"},
        (MASKS, Pyramid(slope=20.0), EVEN_HEADS),
    ),
    "2: + boundary-aware": (
        {"policy": "mask-voting", "layer_budget": "maskkv"},
        (MASKS, BoundaryAware(layer_base=0.4, boundary_layers=1), EVEN_HEADS),
    ),
    "2: + AdaKV": (
        {"policy": "mask-voting", "head_budget": "adakv"},
        (MASKS, EVEN_LAYERS, TopOfLayer(head_base=0.2)),
    ),
    "2: + prompt preference": (
        {"policy": "mask-voting", "head_budget": "maskkv"},
        (MASKS, EVEN_LAYERS, PromptPreference(head_base=0.1)),
    ),
    "2: MaskKV": ({"policy": "maskkv"}, (MASKS, BoundaryAware(), PromptPreference())),
    "7: SnapKV": ({"policy": "snapkv"}, (ObservationWindow(), EVEN_LAYERS, EVEN_HEADS)),
    "7: Prompt-Voting": ({"policy": "prompt-voting"}, (Votes("prompt"), EVEN_LAYERS, EVEN_HEADS)),
    "7: Mask-Voting": ({"policy": "mask-voting"}, (MASKS, EVEN_LAYERS, EVEN_HEADS)),
    "7: All-Voting": ({"policy": "h2o"}, (Votes("all"), EVEN_LAYERS, EVEN_HEADS)),
    **{
        f"8: quarter {quarter}": (
            {"policy": "mask-voting", "voters": f"mask-part:{quarter}/4"},
            (Votes(f"mask-part:{quarter}/4"), EVEN_LAYERS, EVEN_HEADS),
        )
        for quarter in (1, 2, 3, 4)
    },
}


@pytest.mark.parametrize("row", TABLES)
def test_rows_of_the_papers_tables(row: str) -> None:
    flags, parts = TABLES[row]
    policy = PolicyFlags(**flags).chosen()
    assert len(flags) <= 2
    assert (policy.scorer, policy.layer_budget, policy.head_budget) == parts


PARTS: dict[str, tuple[str, dict[str, Any], Policy]] = {
    "tally": ("maskkv", {"tally": "max"}, replace(named("maskkv"), scorer=Votes("mask", tally="max"))),
    "value_weighted": (
        "maskkv",
        {"value_weighted": True},
        replace(named("maskkv"), scorer=Votes("mask", value_weighted=True)),
    ),
    "pooled": ("maskkv", {"pooled": True}, replace(named("maskkv"), scorer=Votes("mask", pooled=True))),
    "kernel": ("maskkv", {"kernel": 5}, replace(named("maskkv"), scorer=Votes("mask", kernel=5))),
    "kernel of the window": ("snapkv", {"kernel": 1}, replace(named("snapkv"), scorer=ObservationWindow(kernel=1))),
    "protect_window": (
        "pyramidkv",
        {"protect_window": True},
        replace(named("pyramidkv"), scorer=ObservationWindow(protect_window=True)),
    ),
    "layer_base and boundary_layers": (
        "maskkv",
        {"layer_base": 0.2, "boundary_layers": 2},
        replace(named("maskkv"), layer_budget=BoundaryAware(layer_base=0.2, boundary_layers=2)),
    ),
    "head_base": ("adakv", {"head_base": 0.5}, replace(named("adakv"), head_budget=TopOfLayer(head_base=0.5))),
    "a parameter of an exchanged part": (
        "h2o",
        {"head_budget": "maskkv", "head_base": 0.0},
        replace(named("h2o"), head_budget=PromptPreference(head_base=0.0)),
    ),
    "voters of votes": (
        "maskkv",
        {"voters": "block", "tally": "rising", "kernel": 3},
        replace(named("maskkv"), scorer=Votes("block", tally="rising", kernel=3)),
    ),
    "voters of another scorer": ("snapkv", {"voters": "all"}, replace(named("snapkv"), scorer=Votes("all"))),
    "revote": ("knorm", {"revote": False}, replace(named("knorm"), revote=False)),
}


@pytest.mark.parametrize("case", PARTS)
def test_one_part_changes_and_the_name_says_so(case: str) -> None:
    name, changes, expected = PARTS[case]
    said = ", ".join(f"{part}={value}" for part, value in changes.items())
    for mixed in (mix(named(name), **changes), PolicyFlags(policy=name, **changes).chosen()):
        assert mixed == replace(expected, name=f"{name}({said})")


def test_other_voters_are_tallied_as_those_before() -> None:
    pooled = replace(named("maskkv"), scorer=Votes("mask", tally="max", kernel=3))
    assert mix(pooled, voters="all").scorer == Votes("all", tally="max", kernel=3)


def test_nothing_asked_is_the_policy_itself() -> None:
    assert mix(named("full")) is named("full")
    assert mix(named("maskkv"), voters=None, revote=None) is named("maskkv")


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("maskkv", {"layer_budget": "nosuch"}, "unknown policy 'nosuch'"),
        ("maskkv", {"head_budget": "nosuch"}, "unknown policy 'nosuch'"),
        ("maskkv", {"voters": "everyone"}, "voters 'everyone': expected mask, "),
        ("maskkv", {"tally": "mean"}, "tally 'mean': expected one of sum, max, rising, falling"),
        ("maskkv", {"kernel": 4}, "kernel 4: expected an odd number"),
        ("maskkv", {"layer_base": 2.0}, "layer_base 2.0: expected a share"),
        ("maskkv", {"protect_window": True}, "has no protect_window; that of these has: adakv, pyramidkv, snapkv"),
        ("snapkv", {"tally": "max"}, "the scorer of 'snapkv' is ObservationWindow"),
        ("snapkv", {"head_base": 0.1}, r"the head budget of 'snapkv' is UniformHeads\(\), which has no head_base"),
        ("snapkv", {"head_base": 0.1}, "that of these has: adakv, maskkv"),
        ("pyramidkv", {"layer_base": 0.1}, "has no layer_base; that of these has: maskkv"),
        ("knorm", {"boundary_layers": 2}, "has no boundary_layers; that of these has: maskkv"),
        ("full", {"voters": "mask"}, "policy 'full' evicts nothing: voters=mask needs a policy that does"),
        ("none", {"revote": False}, "evicts nothing"),
    ],
)
def test_flags_refuse(name: str, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        PolicyFlags(policy=name, **changes).chosen()


def test_parts_that_are_no_dataclasses_have_no_parameters() -> None:
    class Own:
        needs_importance = False

        def __call__(self, view: object) -> list[float]:
            return [1.0]

    with pytest.raises(InputError, match=r"is <.*Own object at .*>, which has no boundary_layers"):
        mix(replace(named("knorm"), scorer=ShortKeys(), layer_budget=Own()), boundary_layers=2)


@pytest.mark.parametrize("name", [name for name in names() if named(name).can_evict])
def test_every_parameter_is_set_by_its_own_name(name: str) -> None:
    """A parameter that a policy gains needs nothing but its field."""
    policy = named(name)
    parts = (policy.scorer, policy.layer_budget, policy.head_budget)
    own = [field.name for part in parts for field in fields(part)]
    assert list(parameters(policy)) == [*own, "revote", "evicted"], "and no two parts have one of the same name"
    assert mix(policy, evicted="drop") is policy, "no change"
    for parameter, value in list(parameters(policy).items())[:-1]:
        assert mix(policy, **{parameter: value}) == replace(policy, name=f"{name}({parameter}={value})")


@pytest.mark.parametrize("name", [name for name in names() if named(name).can_evict])
def test_any_policy_may_let_evicted_pairs_come_back(name: str) -> None:
    policy = mix(named(name), evicted="host")
    assert policy == replace(named(name), name=f"{name}(evicted=host)", recall=Recall())
    assert {"recall_interval", "recall_voters", "recall_tally", "index", "host_dtype"} <= parameters(policy).keys()
    assert mix(policy, evicted="host") is policy
    assert mix(policy, evicted="drop") == named(name), "there and back"


def test_recall_is_mixed_like_any_part() -> None:
    mixed = resolve("maskkv(evicted=host, recall_interval=2, index=int4)")
    assert mixed.recall == Recall(recall_interval=2, index="int4")
    assert mixed.name == "maskkv(recall_interval=2, index=int4, evicted=host)"
    assert resolve(mixed.name) == mixed


def test_a_policy_that_drops_is_recorded_as_before_others_existed() -> None:
    assert "recall" not in repr(named("maskkv"))
    assert repr(mix(named("maskkv"), evicted="host")).endswith(f", recall={Recall()!r})")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"evicted": "gone"}, "evicted 'gone': expected drop, host or device"),
        ({"recall_interval": 2}, "recall_interval=2: 'maskkv' drops what it evicts; evicted=host lets pairs come back"),
        ({"evicted": "host", "recall_interval": 0}, "recall_interval must be a whole number of at least 1, not 0"),
        ({"evicted": "host", "recall_interval": 2**63}, "recall_interval must be a whole number from 1 to"),
        (
            {"evicted": "host", "recall_interval": True},
            "a whole number of at least 1, not True",
        ),
        ({"evicted": "host", "recall_voters": "all"}, "recall_voters 'all': expected one of fresh, mask"),
        ({"evicted": "host", "recall_tally": "mean"}, "recall_tally 'mean': expected one of max, sum"),
        ({"evicted": "host", "index": "fp8"}, "index 'fp8': expected one of none, int8, int4"),
        ({"evicted": "host", "host_dtype": "fp8"}, "host_dtype 'fp8': expected one of auto, int8"),
    ],
)
def test_recall_refuses(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        mix(named("maskkv"), **changes)


def test_parameters_without_a_flag() -> None:
    assert mix(named("streamingllm"), sinks=8).scorer == SinksThenLatest(sinks=8)
    assert mix(named("pyramidkv"), slope=2.0, window=64) == replace(
        named("pyramidkv"),
        name="pyramidkv(window=64, slope=2.0)",
        scorer=ObservationWindow(window=64),
        layer_budget=Pyramid(slope=2.0),
    )
    with pytest.raises(InputError, match="window 0: expected from 1 to 999,999,999 rows"):
        mix(named("snapkv"), window=0)


def test_policies_that_evict_nothing_have_no_parameters() -> None:
    assert parameters(named("full")) == parameters(named("none")) == {}


def test_an_unknown_name_is_refused_with_those_that_the_policy_has() -> None:
    with pytest.raises(InputError) as refused:
        mix(named("maskkv"), talley="max")
    assert str(refused.value) == (
        "talley=max: policy 'maskkv' has no talley; it has voters=mask, tally=sum, value_weighted=False, pooled=False, "
        "kernel=1, layer_base=0.4, boundary_layers=1, head_base=0.1, revote=True, evicted=drop, and "
        "takes layer_budget and head_budget of another policy"
    )


def test_a_name_of_two_parts_is_refused() -> None:
    @dataclass(frozen=True)
    class Own:
        kernel: int = 1
        needs_importance: ClassVar[bool] = False

        def __call__(self, view: object) -> list[float]:
            return [1.0]

    policy = replace(named("snapkv"), layer_budget=Own())
    with pytest.raises(InputError, match="kernel=3: the scorer and the layer budget of 'snapkv' both have kernel"):
        mix(policy, kernel=3)
    assert mix(policy, window=3).layer_budget == Own()
