"""`maskkv plan --rate`: how many replicas a load needs, told from a record of `maskkv bench`."""

import json

import pytest

from tests.test_capacity import record, written

MID = 25_174_528
BASE = ("plan", "--shape", "mid", "--dtype", "float32", "--budget", 64)


@pytest.fixture
def pace(tmp_path):
    return written(tmp_path, record(parameters=MID))


def simulated(run, pace, *words):
    ran = run(*BASE, "--pace", pace, "--json", "--requests", 600, *words)
    assert ran.status == 0, ran.err
    return json.loads(ran.out)


def test_the_fewest_replicas_stand_between_one_less_and_one_more(run, pace):
    found = simulated(run, pace, "--rate", 2, "--lengths", "100:3,300:1", "--wait", 2)
    assert found["needed"] > 1
    fewer, enough, more = found["runs"]
    assert [each["replicas"] for each in found["runs"]] == [found["needed"] + step for step in (-1, 0, 1)]
    assert fewer["wait_s"]["p90"] > 2 >= enough["wait_s"]["p90"] >= more["wait_s"]["p90"]
    assert fewer["utilisation"] > enough["utilisation"] > more["utilisation"]
    assert enough["refused"] == 0
    assert found["lengths"] == {"100": 3, "300": 1}
    assert (found["max_batch"], found["max_queue"], found["requests"]) == (4, 64, 600)


def test_the_table_fits_and_says_where_its_seconds_come_from(run, pace):
    words = ("--rate", 2, "--lengths", 100, "--replicas", 2, "--requests", 600)
    ran = run(*BASE, "--pace", pace, *words)
    assert "pace of random tiny in float32 on cpu, 2 threads; 600 requests simulated, 2 a second" in ran.err
    assert "replicas" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80
    assert run(*BASE, "--pace", pace, *words).out == ran.out


@pytest.mark.slow
def test_a_load_is_simulated_for_longer_than_its_answers_take(run, refused, pace):
    """Two thousand requests within four seconds would find every copy nearly empty."""
    words = ("--rate", 500, "--lengths", 100, "--replicas", 200)
    ran = run(*BASE, "--pace", pace, "--json", *words)
    assert json.loads(ran.out)["requests"] > 2000
    assert "--requests 2000: at this rate all would have come before" in refused(
        *BASE, "--pace", str(pace), *map(str, words), "--requests", "2000"
    )
    assert "ask for a part of this load, and multiply" in refused(
        *BASE, "--pace", str(pace), "--lengths", "100", "--rate", "1e300"
    )


def test_replicas_are_told_apart_by_load(run, pace):
    (one,) = simulated(run, pace, "--rate", 2, "--lengths", 300, "--replicas", 1, "--max-queue", 2)["runs"]
    (many,) = simulated(run, pace, "--rate", 2, "--lengths", 300, "--replicas", 64, "--max-queue", 2)["runs"]
    assert one["refused"] > 0.5
    assert one["utilisation"] > 0.9 > many["utilisation"]
    assert many["refused"] == 0
    assert many["latency_s"]["p50"] >= 3.0, "a prompt of 300 tokens is read for 3 s here"


def test_memory_limits_who_runs_together(run, pace):
    words = ("--rate", 2, "--lengths", 300, "--replicas", 4)
    (roomy,) = simulated(run, pace, *words, "--memory", "1GB")["runs"]
    # 101 MB of weights; nine tenths of the rest hold one request's 14 MB, and not another 6 MB.
    (narrow,) = simulated(run, pace, *words, "--memory", "118MB")["runs"]
    assert narrow["wait_s"]["p90"] > roomy["wait_s"]["p90"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--rate", 1), "nothing says how long a step takes: run `maskkv bench --json-out FILE`"),
        (("--replicas", 2), "--replicas is for simulations: give --rate, requests a second"),
        (("--rate", 0, "--pace", "x"), "--rate 0: expected a number above 0"),
        (("--rate", "nan", "--pace", "x"), "--rate nan: expected a number above 0"),
        (("--rate", 1, "--wait", -1, "--pace", "x"), "--wait -1: expected a number above 0"),
        (("--rate", 1, "--pace", "nowhere.jsonl"), "there is no nowhere.jsonl: `maskkv bench"),
        (("--rate", 1, "--pace", "{}", "--lengths", "many"), "--lengths many: expected numbers of tokens with weights"),
        (("--rate", 1, "--pace", "{}", "--lengths", "100:0"), "--lengths 100:0: expected"),
        (("--rate", 1, "--pace", "{}", "--lengths", "100,"), "--lengths 100,: expected"),
        (("--rate", 1, "--pace", "{}", "--gen-lengths", "64:x"), "--gen-lengths 64:x: expected"),
        (("--rate", 1, "--pace", "{}"), "prompts of 32,768 tokens were not measured, only from 100 to 300"),
        (("--rate", 1, "--pace", "{}", "--lengths", "100", "--gen-length", 8), "responses of 8 tokens were not measur"),
        (
            ("--rate", 1, "--pace", "{}", "--lengths", "100", "--max-batch", 8),
            "--max-batch 8: at most 4 sequences were",
        ),
        (("--rate", 1, "--pace", "{}", "--lengths", "100", "--memory", "1MB"), "does not fit into the memory even alo"),
        (
            ("--rate", 1, "--pace", "{}", "--lengths", "100", "--policy", "snapkv"),
            "has no measurement of snapkv 64: it",
        ),
    ],
)
def test_what_cannot_be_simulated_gets_one_line(refused, pace, words, says):
    assert says in refused(*BASE, *(str(word).replace("{}", str(pace)) for word in words))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--shape", "tiny", "--dtype", "float32", "--budget", 64), "25,174,528 parameters, and "),
        (("--shape", "mid", "--budget", 64), "in bfloat16 are meant: name the same model"),
        (("--shape", "mid", "--dtype", "float32", "--budget", "5%"), "--budget 5%: records hold numbers of pairs"),
    ],
)
def test_what_was_measured_must_be_what_is_meant(refused, pace, words, says):
    assert says in refused("plan", "--rate", 1, "--pace", pace, "--lengths", 100, *words)
