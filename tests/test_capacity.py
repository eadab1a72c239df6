"""The simulation of a load: against closed formulas of queues, a second by hand, and what must hold of any load."""

import json
import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskkv import capacity, pace
from maskkv.capacity import Arrival, Limits, Simulation, Size, fewest, poisson, quantile
from maskkv.errors import InputError
from maskkv.pace import Pace

ENDLESS = 10**9


def flat(reading, live, interval=None):
    """Return a pace that depends on nothing, for prompts of 1 to 10 tokens and responses of any of 40 lengths."""
    grid = {length: {1: (reading, live), 100: (reading, live)} for length in (1, 10)}
    return Pace(dict.fromkeys(range(1, 41), grid), interval, 1, "float32", "nothing")


def waits(run):
    return [each.wait for each in run.counted]


def mean(values):
    return math.fsum(values) / len(values)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_alone_and_alike_requests_wait_as_pollaczek_and_khinchine_say(load):
    """M/D/1: a service of one second, so that the mean wait is load / (2 (1 − load))."""
    arrivals = poisson(load, [Size(1, 1, 1)], [1.0], 12_000, seed=1)
    run = Simulation(flat(1.0, 0.0), Limits(1, ENDLESS)).run(arrivals, 1)
    assert mean(waits(run)) == pytest.approx(load / (2 * (1 - load)), rel=0.12)
    assert run.utilisation == pytest.approx(load, rel=0.02)


def test_requests_of_two_sizes_wait_as_pollaczek_and_khinchine_say():
    """M/G/1: rate × E[S²] / (2 (1 − load)), with services of one step and of four, half of each."""
    sizes = [Size(1, 1, 1), Size(1, 4, 4)]
    arrivals = poisson(0.28, sizes, [1.0, 1.0], 12_000, seed=2)
    run = Simulation(flat(1.0, 1.0), Limits(1, ENDLESS)).run(arrivals, 1)
    assert mean(waits(run)) == pytest.approx(0.28 * (1 + 16) / 2 / (2 * (1 - 0.28 * 2.5)), rel=0.12)


@pytest.mark.parametrize("places", [2, 4])
def test_a_batch_whose_passes_take_as_long_as_one_waits_as_erlang_says(places):
    """M/M/c: c places, services of geometrically many short steps (almost exponential), prompts that take no time."""
    chance, step, load = Random(3), 0.05, 0.7
    grid = {1: {1: (step, step), 100: (step, step)}}
    unread = Pace({1: grid}, None, 1, "float32", "nothing")
    draws = [1 + int(chance.expovariate(1 / 20)) for _ in range(8_000)]
    rate = places * load / (step * mean(draws))
    times = poisson(rate, [Size(1, 1, 1)], [1.0], len(draws), seed=4)
    arrivals = [Arrival(each.at, Size(1, 1, steps)) for each, steps in zip(times, draws, strict=True)]
    simulation = Simulation(unread, Limits(places, ENDLESS))
    # Reading alone costs a step of its own here, which the others need not wait for in a queue of Erlang's.
    simulation._reading = lambda size: 0.0
    run = simulation.run(arrivals, 1)
    offered = places * load
    some = [offered**k / math.factorial(k) for k in range(places)]
    all_busy = offered**places / math.factorial(places) / (1 - load)
    expected = all_busy / (sum(some) + all_busy) * step * mean(draws) / (places - offered)
    assert mean(waits(run)) == pytest.approx(expected, rel=0.12)


def test_steps_by_hand():
    """Two requests: the second comes in the first one's second step, and is read beside its third."""
    size = Size(1, 3, 3)
    run = Simulation(flat(2.0, 0.5), Limits(2, 9)).run([Arrival(0.0, size), Arrival(2.25, size)], 1)
    first, second = run.visits
    assert (first.began, first.first, first.done) == (0.0, 2.0, 2.0 + 0.5 + (2.0 + 0.5))
    assert (second.began, second.first, second.done) == (2.5, 5.0, 6.0)
    assert (second.wait, second.until_first, second.latency) == (0.25, 2.75, 3.75)
    assert run.busy == [2.25]
    assert run.utilisation == 1.0


def test_one_prompt_is_read_per_step_and_the_others_wait_their_turn():
    run = Simulation(flat(2.0, 0.5), Limits(3, 9)).run([Arrival(0.0, Size(1, 2, 2))] * 3, 1)
    assert [each.began for each in run.visits] == [0.0, 2.0, 4.5]


def test_prompts_are_read_again_when_their_interval_is_over():
    def last(interval):
        run = Simulation(flat(2.0, 0.5, interval), Limits(1, 9)).run([Arrival(0.0, Size(1, 5, 5))], 1)
        return run.visits[0].done

    assert (last(None), last(5), last(2), last(1)) == (4.0, 4.0, 2 + 0.5 + 2 + 0.5 + 2, 10.0)


def test_a_full_queue_refuses():
    run = Simulation(flat(1.0, 1.0), Limits(1, 2)).run([Arrival(0.0, Size(1, 1, 1))] * 5, 1)
    assert [each.refused for each in run.visits] == [False, False, False, True, True]


def test_memory_admits_as_the_server_does():
    """What requests hold adds up, and of what reading takes the most counts: 2 × 3 + 4 fits into 10, not 3 × 3 + 4."""
    size = Size(1, 9, 9, held=3, reading=4)
    run = Simulation(flat(1.0, 1.0), Limits(9, 9, memory=10)).run([Arrival(0.0, size)] * 3, 1)
    assert run.visits[1].began < run.visits[0].done <= run.visits[2].began
    with pytest.raises(InputError, match="a prompt of 1 tokens does not fit into the memory even alone"):
        Simulation(flat(1.0, 1.0), Limits(9, 9, memory=6)).run([Arrival(0.0, size)], 1)


loads = st.lists(
    st.tuples(st.floats(0, 3), st.integers(1, 10), st.integers(1, 6)), min_size=1, max_size=40
)  # pauses, prompts, steps


@given(loads, st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.sampled_from([None, 1, 2, 3]))
@settings(max_examples=40, deadline=None)
def test_nothing_is_lost_and_no_time_runs_backwards(load, replicas, batch, queue, interval):
    now, arrivals = 0.0, []
    for pause, prompt, steps in load:
        now += pause
        arrivals.append(Arrival(now, Size(prompt, steps, steps)))
    run = Simulation(flat(1.0, 0.25, interval), Limits(batch, queue)).run(arrivals, replicas)
    assert [each.arrival for each in run.visits] == arrivals
    answered = [each for each in run.visits if not each.refused]
    assert answered, "the first one finds an empty queue"
    for each in answered:
        assert each.steps == each.arrival.size.steps
        assert each.arrival.at <= each.began < each.first <= each.done
        assert each.latency >= 1.0 + 0.25 * (each.steps - 1) - 1e-9 or interval is not None
    assert all(each.steps == 0 for each in run.visits if each.refused)
    assert all(0 <= busy <= run.until + 1e-9 for busy in run.busy)


@given(st.floats(0.2, 6.0), st.integers(1, 3), st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_twice_the_replicas_do_not_wait_longer(rate, replicas, seed):
    sizes = [Size(1, 2, 2), Size(10, 8, 8)]
    arrivals = poisson(rate, sizes, [2.0, 1.0], 400, seed)
    simulation = Simulation(flat(0.5, 0.1), Limits(4, ENDLESS))
    few, many = (mean(waits(simulation.run(arrivals, count))) for count in (replicas, 2 * replicas))
    assert many <= few + 0.05


def test_the_fewest_replicas_are_enough_and_one_less_are_not():
    simulation = Simulation(flat(0.5, 0.1), Limits(4, 64))
    arrivals = poisson(9.0, [Size(1, 8, 8)], [1.0], 1500)
    count = fewest(simulation, arrivals, 0.5)

    def enough(replicas):
        run = simulation.run(arrivals, replicas)
        return not run.refused and quantile(run.seconds("wait"), 0.9) <= 0.5

    assert count > 2
    assert enough(count)
    assert not enough(count - 1)


def test_what_no_number_of_replicas_can_do_is_said():
    simulation = Simulation(flat(0.5, 0.1), Limits(1, 1))
    at_once = [Arrival(0.0, Size(1, 1, 1))] * 3000
    with pytest.raises(InputError, match="not even 1,024 replicas"):
        fewest(simulation, at_once, 0.1)


@given(st.floats(0.01, 100), st.integers(1, 300), st.integers(0, 5))
def test_arrivals_are_the_same_at_every_rate_but_for_the_clock(rate, count, seed):
    sizes = [Size(1, 1, 1), Size(2, 1, 1)]
    one, other = (poisson(each, sizes, [1.0, 3.0], count, seed) for each in (1.0, rate))
    assert [each.size for each in one] == [each.size for each in other]
    assert [each.at for each in one] == pytest.approx([each.at * rate for each in other])


def test_lengths_are_drawn_by_weight():
    drawn = [each.size.prompt_length for each in poisson(1.0, [Size(1, 1, 1), Size(2, 1, 1)], [3.0, 1.0], 4000)]
    assert drawn.count(2) / 4000 == pytest.approx(0.25, abs=0.03)


def record(**changes):
    """Return a record of `maskkv bench` of two lengths and two sizes of a batch."""

    def case(policy, budget, prompt, response, partial, profiled=True):
        step = {"prompt": prompt, "response": response, "partial": partial}
        kinds = {name: {"median": seconds, "min": 0.0, "max": 9.0} for name, seconds in step.items()}
        return {"policy": policy, "budget": budget, "profiled": profiled, "step_s": kinds}

    def run(length, batch):
        prompt = batch * length / 100
        return {
            "prompt_length": length,
            "batch_size": batch,
            "cases": [
                {"policy": "none", "budget": None, "step_s": {"everything": {"median": prompt}}},
                case("full", None, prompt, 0.3 * batch, 0.1 * batch),
                case("maskkv", 64, prompt, 0.06 * batch, 0.01 * batch),
                case("maskkv", 64, 9.0, 9.0, 9.0, profiled=False),
            ],
        }

    line = {
        "benchmark": "policies",
        "name": "random tiny",
        "device": "cpu",
        "environment": {"threads": 2},
        "dtype": "float32",
        "parameters": 7,
        "gen_length": 64,
        "schedule": {"one_pass": False, "prompt_interval": 50, "response_interval": 5},
        "runs": [run(length, batch) for length in (100, 300) for batch in (1, 4)],
    }
    return line | changes


def written(folder, *lines):
    file = folder / "pace.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def test_a_pace_is_read_from_what_bench_measured(tmp_path):
    found = pace.read(written(tmp_path, {"benchmark": "other"}, record()), "maskkv", 64)
    assert (found.prompt_interval, found.parameters, found.dtype, found.most_together) == (50, 7, "float32", 4)
    assert found.measured == "random tiny in float32 on cpu, 2 threads"
    assert found.reading(100, 64) == pytest.approx(1.0)
    assert found.reading(250, 64) == pytest.approx(2.5), "on the line between 100 and 300"
    # A response refresh of 0.06 s and four partial steps of 0.01 s.
    assert found.live(100, 64, 1) == pytest.approx(0.02)
    assert found.live(200, 64, 3) == pytest.approx(0.06)


def test_without_a_cache_every_step_reads_the_prompt(tmp_path):
    found = pace.read(written(tmp_path, record()), "none", None)
    assert (found.prompt_interval, found.reading(300, 64)) == (1, pytest.approx(3.0))


def test_prompts_that_are_read_once(tmp_path):
    assert pace.read(written(tmp_path, record()), "maskkv", 64, reads_once=True).prompt_interval is None
    once = {"one_pass": True, "prompt_interval": 50, "response_interval": 5}
    assert pace.read(written(tmp_path, record(schedule=once)), "maskkv", 64).prompt_interval is None


def test_records_of_other_lengths_of_responses_add_up(tmp_path):
    found = pace.read(written(tmp_path, record(), record(gen_length=32)), "full", None)
    found.check([100, 300], [32, 64])
    with pytest.raises(InputError, match="responses of 8 tokens were not measured, only of 32, 64: add a record of"):
        found.check([100], [8])
    for length in (99, 301):
        with pytest.raises(InputError, match=rf"prompts of {length} tokens were not measured, only from 100 to 300: a"):
            found.check([length], [64])


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], r"has no measurement of maskkv 65: expected lines of `maskkv bench --json-out FILE`"),
        ([record()], r"has no measurement of maskkv 65: it has full, maskkv 64, none"),
        ([{"benchmark": "policies"}], r"holds a line that `maskkv bench` did not write \('schedule'\)"),
        ([record(runs=[{"prompt_length": 1, "batch_size": 1, "cases": [{"policy": 3}]}])], "did not write"),
    ],
)
def test_a_file_without_the_measurement_is_named(tmp_path, lines, says):
    with pytest.raises(InputError, match=says):
        pace.read(written(tmp_path, *lines), "maskkv", 65)


def test_no_file_is_said_to_be_none(tmp_path):
    with pytest.raises(InputError, match=r"there is no .*: `maskkv bench --json-out "):
        pace.read(tmp_path / "none.jsonl", "maskkv", 64)


def test_measurements_of_two_machines_are_not_mixed(tmp_path):
    with pytest.raises(InputError, match="measurements of several models, machines or schedules"):
        pace.read(written(tmp_path, record(), record(device="cuda:0")), "maskkv", 64)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, 0.0, -1.0, "1"])
def test_seconds_that_are_none_are_refused(tmp_path, seconds):
    line = record()
    line["runs"][0]["cases"][2]["step_s"]["prompt"]["median"] = seconds
    with pytest.raises(InputError):
        pace.read(written(tmp_path, line), "maskkv", 64)


def test_a_quantile_is_the_value_that_so_many_do_not_exceed():
    ordered = [float(each) for each in range(1, 101)]
    assert [quantile(ordered, part) for part in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]
    assert capacity.quantile([], 0.5) is None


def test_a_full_batch_takes_as_long_as_its_members_one_after_the_other_where_each_is_read_alone():
    simulation = Simulation(flat(reading=2.0, live=0.0), Limits(4, 64))
    assert capacity.full_batch(simulation, [Size(5, 1, 1)], [1.0], 4) == pytest.approx(8.0)
    assert capacity.enough_requests(3.0, 8.0) == 3 * 8 * capacity.SPAN
