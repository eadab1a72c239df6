"""The comparison of a simulated load with a measured one."""

import json

import pytest

from maskkv.bench import queueing
from maskkv.bench.queueing import Seen, _busy, _figures, main
from maskkv.capacity import Limits, Simulation, Size, poisson
from tests.test_capacity import flat

SIZE = Size(1, 4, 4)


def test_time_in_which_nobody_waits_for_an_answer_is_idle_time():
    spans = [(0.0, 2.0), (1.0, 1.5), (3.0, 4.0), (3.5, 6.0), (5.0, 9.0)]
    seen = [Seen(sent, sent, done, SIZE) for sent, done in spans]
    assert _busy(seen) == 2.0 + (4.0 - 3.0) + 1.0, "up to the last arrival, at 5"


def test_a_server_that_is_as_it_is_simulated_compares_as_equal():
    pace = flat(0.5, 0.1)
    arrivals = poisson(1.2, [SIZE], [1.0], 200)
    run = Simulation(pace, Limits(2, 1000)).run(arrivals, 1)
    seen = [Seen(each.arrival.at, each.arrival.at + each.wait + 0.5, each.done, SIZE) for each in run.visits]
    found = _figures(seen[::-1], {SIZE: 0.5}, pace, 2)
    assert found["requests"] == 200
    assert found["measured"] == pytest.approx(found["simulated"])
    assert found["measured"]["wait_mean_s"] > 0.05


def test_there_is_no_ratio_to_nothing():
    assert queueing._ratios([(1.0, 0.0)]) is None
    assert queueing._ratios([(1.0, 2.0), (3.0, 2.0), (1.0, 0.0)]) == {"median": 1.0, "min": 0.5, "max": 1.5}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--rounds", "0"], "--rounds 0: expected at least 1"),
        (["--rate", "0"], "--rate and --prompt-length: expected numbers above 0"),
        (["--prompt-length", "0"], "--rate and --prompt-length: expected numbers above 0"),
    ],
)
def test_a_comparison_of_nothing_is_refused(capsys, words, says):
    assert main(words) == 2
    assert capsys.readouterr().err == f"maskkv: error: {says}\n"


@pytest.mark.slow
def test_a_whole_comparison_ends_with_a_record(capsys, tmp_path):
    file = tmp_path / "queueing.jsonl"
    small = ["--rate", "2", "--seconds", "5", "--rounds", "1", "--gen-length", "8", "--max-batch", "2"]
    assert main([*small, "--prompt-length", "128", "--json-out", str(file)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert json.loads(file.read_text(encoding="utf-8")) == record
    (load,) = record["loads"]
    assert load["requests"] == [10]
    for name in ("busy", "wait_mean_s", "wait_p90_s", "answer_mean_s", "answer_p90_s"):
        assert set(load[name]) == {"measured", "simulated", "ratio"}
    assert load["answer_mean_s"]["measured"]["median"] > 0
