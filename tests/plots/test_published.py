"""The figures of the documentation, drawn from the published records, keep what the page promises of them."""

from itertools import combinations
from pathlib import Path

import pytest

from maskkv.plots import draw
from maskkv.plots.direct import MOST_LABELLED
from maskkv.plots.source import load, where
from maskkv.plots.style import POLICIES, policy_of
from tests.plots.pictures import caption, clashes, lightness, names

pytestmark = pytest.mark.slow
RESULTS = Path(__file__).parents[2] / "results"

PUBLISHED = [
    ("budget", "retention", []), ("budget", "recall", []), ("quality", "retention", []), ("gpu", "gpu.jsonl", []),
    ("cost", "bench.jsonl", []), ("ablation", "ablation", ["budget=64", "budget=null"]), ("schedule", "schedule", []),
    ("parallel", "parallel", []), ("needle", "needle", []), ("attention", "observe", ["task=long-value"]),
    ("heads", "observe", ["task=long-value"]), ("similarity", "observe", []), ("preference", "observe", []),
]  # fmt: skip


@pytest.mark.parametrize(("figure", "source", "conditions"), PUBLISHED, ids=lambda value: str(value))
def test_a_published_figure_is_clear_in_colour_and_in_grey(figure, source, conditions):
    drawn = draw(figure, where(load(RESULTS / source), conditions))
    assert clashes(drawn) == []
    assert "n = " in caption(drawn)
    assert drawn.get_figwidth() <= 8.8
    panels = {}
    for name, text in names(drawn).items():
        number, _, line = name.partition(": ")
        policy, color = policy_of(line), text.arrow_patch.get_edgecolor()
        panels.setdefault(number, {})[line] = color
        if policy in POLICIES:
            assert lightness(color) == pytest.approx(lightness(POLICIES[policy]))
    for lines in panels.values():
        assert len(lines) <= MOST_LABELLED + 1  # the weights are no line of a policy
        for (one, color), (other, another) in combinations(lines.items(), 2):
            if {policy_of(one), policy_of(other)} <= set(POLICIES) and policy_of(one) != policy_of(other):
                assert abs(lightness(color) - lightness(another)) > 7.5
