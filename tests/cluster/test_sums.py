"""Metrics of several processes added up, on numbers that a reader checks by hand."""

import pytest

from maskkv.cluster.sums import Sums
from maskkv.server.metrics import Metrics


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture
def sums(clock):
    return Sums(lambda: clock[0])


def replica(**counts):
    metrics = Metrics()
    metrics.steps.inc(counts.get("steps", 0))
    metrics.running.set(counts.get("running", 0))
    metrics.requests.labels("/health", "200").inc(counts.get("healthy", 0))
    for seconds in counts.get("seconds", ()):
        metrics.seconds.labels("/health").observe(seconds)
    return metrics


def told(sums):
    lines = [line for line in sums.text().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_counters_histograms_and_gauges_add_up(sums):
    sums.tell("a", replica(steps=3, running=1, healthy=2, seconds=(0.06, 20)).families(), is_replica=True)
    sums.tell("b", replica(steps=4, running=2, healthy=5, seconds=(0.07,)).families(), is_replica=True)
    found = told(sums)
    assert found["maskkv_steps_total"] == 7
    assert found["maskkv_running"] == 3
    assert found['maskkv_requests_total{route="/health",status="200"}'] == 7
    assert found['maskkv_request_seconds_bucket{le="0.05",route="/health"}'] == 0
    assert found['maskkv_request_seconds_bucket{le="0.1",route="/health"}'] == 2
    assert found['maskkv_request_seconds_bucket{le="+Inf",route="/health"}'] == 3
    assert found['maskkv_request_seconds_count{route="/health"}'] == 3
    assert found['maskkv_request_seconds_sum{route="/health"}'] == pytest.approx(20.13)
    assert found["maskkv_replicas"] == 2


def test_what_the_dead_counted_stays_and_what_they_were_doing_does_not(sums, clock):
    sums.tell("a", replica(steps=3, running=1).families(), is_replica=True)
    clock[0] += 4.9
    sums.tell("b", replica(steps=4, running=2).families(), is_replica=True)
    assert (told(sums)["maskkv_running"], told(sums)["maskkv_replicas"]) == (3, 2)
    clock[0] += 0.2
    found = told(sums)
    assert (found["maskkv_steps_total"], found["maskkv_running"], found["maskkv_replicas"]) == (7, 2, 1)
    sums.leave("b")
    found = told(sums)
    assert (found["maskkv_steps_total"], found["maskkv_replicas"]) == (7, 0)
    assert "maskkv_running" not in found


def test_a_process_that_tells_again_replaces_what_it_told(sums, clock):
    metrics = replica(steps=3)
    sums.tell("a", metrics.families(), is_replica=True)
    metrics.steps.inc(2)
    sums.tell("a", metrics.families(), is_replica=True)
    assert told(sums)["maskkv_steps_total"] == 5
    clock[0] += 100
    sums.tell("a", metrics.families(), is_replica=True)
    assert (told(sums)["maskkv_steps_total"], told(sums)["maskkv_replicas"]) == (5, 1)


def test_series_began_when_the_first_of_them_did(sums):
    first, second = replica(steps=1), replica(steps=1)
    for name, metrics in (("b", second), ("a", first)):
        sums.tell(name, metrics.families(), is_replica=True)
    began = [
        sample.value
        for metrics in (first, second)
        for family in metrics.families()
        for sample in family.samples
        if sample.name == "maskkv_steps_created"
    ]
    assert told(sums)["maskkv_steps_created"] == min(began)


def test_nothing_is_said_of_single_processes_and_fronts_are_no_replicas(sums):
    sums.tell("front", replica(healthy=1).families(), is_replica=False)
    found = told(sums)
    assert found["maskkv_replicas"] == 0
    assert found['maskkv_requests_total{route="/health",status="200"}'] == 1
    assert not any(name.startswith("process_") for name in found)


def test_help_and_types_are_those_of_one_server(sums):
    metrics = replica()
    sums.tell("a", metrics.families(), is_replica=True)

    def comments(text):
        return {line for line in text.decode().splitlines() if line.startswith("#") and "process_" not in line}

    assert comments(metrics.text()) < comments(sums.text())
