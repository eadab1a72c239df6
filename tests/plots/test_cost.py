"""Speed and bytes against prompt length, from the lines that the benchmark writes."""

import json
from pathlib import Path

import pytest

from maskkv.errors import InputError
from maskkv.plots import draw
from maskkv.plots.source import load
from tests.plots.pictures import POLICIES, caption, clashes, names

ROOT = Path(__file__).parents[2]


def run(prompt_length, *cases, **fields):
    return {"benchmark": "policies", "shape": "tiny", "gen_length": 64, "prompt_length": prompt_length,
            "environment": {"commit": "c"}, "cases": list(cases), **fields}  # fmt: skip


def case(policy, budget, speed, peak, cache):
    return {"policy": policy, "budget": budget, "steps_per_s": speed, "peak_live_bytes": peak, "cache_bytes": cache}


def spread(median, least, most):
    return {"median": median, "min": least, "max": most}


RUNS = [
    run(2048, case("none", None, 1.0, 4000, 0), case("maskkv", 64, spread(20.0, 18.0, 24.0), 5000, 700)),
    run(1024, case("none", None, 2.0, 2000, 0), case("maskkv", 64, spread(30.0, 30.0, 30.0), 2500, 700)),
]


def curves(axis):
    lines = [line for line in axis.get_lines() if line.get_marker() not in ("_", "|")]
    return [[*map(list, line.get_data())] for line in lines]


def test_every_measure_is_a_panel_and_every_case_a_curve_over_the_lengths():
    figure = draw("cost", RUNS)
    speed, peak, cache = figure.axes
    assert curves(speed) == [[[1024, 2048], [2.0, 1.0]], [[1024, 2048], [30.0, 20.0]]]
    assert curves(peak) == [[[1024, 2048], [2000, 4000]], [[1024, 2048], [2500, 5000]]]
    assert curves(cache) == [[[1024, 2048], [700, 700]]]  # nothing is cached by none
    assert list(names(figure)) == ["0: none", "0: maskkv 64", "1: none", "1: maskkv 64", "2: maskkv 64"]
    assert [label.get_text() for label in speed.get_xticklabels()] == ["1k", "2k"]


def test_bytes_have_one_scale_and_the_caption_says_what_bars_are():
    figure = draw("cost", [{**run, "repeats": 5} for run in RUNS])
    speed, peak, cache = figure.axes
    assert peak.get_ylim() == cache.get_ylim() == (500, 5000)
    assert speed.get_xlim() == peak.get_xlim() == cache.get_xlim()
    assert caption(figure).startswith("n = 5 repeats; points are medians, bars from the least to the most.")
    assert caption(draw("cost", RUNS)).startswith("Points are medians,")


def test_runs_of_one_line_are_drawn_like_lines_of_their_own():
    common = {name: value for name, value in RUNS[0].items() if name not in ("prompt_length", "cases")}
    line = {**common, "runs": [{"prompt_length": run["prompt_length"], "cases": run["cases"]} for run in RUNS]}
    assert curves(draw("cost", [line]).axes[0]) == curves(draw("cost", RUNS).axes[0])
    with pytest.raises(InputError, match="no list of runs"):
        draw("cost", [{**line, "runs": 3}])


def test_error_bars_span_the_repeats():
    maskkv = draw("cost", RUNS).axes[0].containers[1]
    assert [list(segment[:, 1]) for segment in maskkv.lines[2][0].get_segments()] == [[30.0, 30.0], [18.0, 24.0]]


def test_what_was_not_measured_leaves_a_gap_or_no_panel():
    lacking = [run(512, {"policy": "none", "budget": None, "steps_per_s": 3.0, "peak_live_bytes": None})]
    (speed,) = draw("cost", lacking).axes
    assert curves(speed) == [[[512], [3.0]]]


def test_the_published_record_makes_the_figure():
    figure = draw("cost", load(ROOT / "results" / "bench.jsonl"))
    (measured,) = (json.loads(line) for line in (ROOT / "results" / "bench.jsonl").read_text().splitlines())
    drawn = [points[1][0] for points in curves(figure.axes[1])]
    assert drawn == [each["peak_live_bytes"] for each in measured["runs"][0]["cases"]]
    assert clashes(figure) == []


NONE = case("none", None, 1.0, 1, 1)


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ([], "no record here is a run of `maskkv bench`"),
        ([run(512, NONE), run(512, NONE, environment={"commit": "d"})], "choose with --where environment.commit=c"),
        ([run(512, NONE), run(1024, NONE, shape="mid")], "differ in shape"),
        ([run(512)], "hold no numbers"),
        ([run(512, cases="none")], "field cases is no list"),
        ([run(512, {"budget": 3})], "field case.policy is missing"),
        ([run(0, NONE)], "field prompt_length is 0: expected a number above 0"),
        ([run(512, case("none", None, "fast", 1, 1))], "field case.steps_per_s is fast"),
        ([run(512, case("none", None, 1.0, -1, 1))], "field case.peak_live_bytes is -1"),
        ([run(512, case("none", None, spread(1.0, 0.5, None), 1, 1))], r"field case.steps_per_s.max is null"),
    ],
)
def test_what_makes_no_figure_is_refused(runs, says):
    with pytest.raises(InputError, match=says):
        draw("cost", runs)


def test_nothing_is_printed_over_anything():
    runs = [
        run(
            length,
            *(
                case(policy, None if number < 2 else 256, 4096 / length * (number + 0.2), length * (number + 1), 90_000)
                for number, policy in enumerate(POLICIES)
            ),
        )
        for length in (512, 1024, 2048, 4096, 8192, 16384, 32768)
    ]
    assert clashes(draw("cost", runs)) == []
