"""`--tensor-parallel N`: what commands and the server answer is what they answer on one device."""

import json
import os
import signal

import pytest
from tests.server.live import serving, until

import maskkv
from maskkv.mini import sample

SAMPLE = sample("multi-key", 120, 3)
SHORT = ("--gen-length", 8)
OF_ONE_DEVICE = ("cache_bytes", "full_cache_bytes", "peak_memory_bytes", "latency_s", "tokens_per_s")


def test_generate_says_the_same_and_keeps_the_same_pairs(run, tiny):
    asked = ("generate", "--model", tiny, SAMPLE.content, "--budget", 4, "--json", *SHORT)
    one, two = (json.loads(run(*asked, "--tensor-parallel", parts).out) for parts in (1, 2))
    assert one["cache_bytes"] > two["cache_bytes"]
    assert two.pop("confidences") == pytest.approx(one.pop("confidences"), abs=1e-5)
    for name in OF_ONE_DEVICE:
        del one[name], two[name]
    assert one == two


def test_an_evaluation_makes_the_same_records_of_the_same_model(run, tmp_path):
    """The bundled model has 3 KV heads; its layer profile is found for it in parts, too."""
    asked = (
        "eval",
        "mini",
        "--task",
        "multi-key",
        "-n",
        2,
        "--length",
        120,
        "--policy",
        "full",
        "--policy",
        "maskkv",
        "--budget",
        8,
    )
    asked = (*asked, "--dtype", "float32")
    records = []
    for parts in (1, 3):
        folder = tmp_path / str(parts)
        assert run(*asked, "--tensor-parallel", parts, "--out", folder).status == 0
        records.append([json.loads(line) for line in (folder / "mini.jsonl").read_text("utf-8").splitlines()])
    one, three = records
    assert [each.pop("tensor_parallel") for each in three] == [3, 3]
    for record in (*one, *three):
        del record["mean_cache_bytes"], record["mean_full_cache_bytes"]
    assert one == three
    assert one[0]["profile"] is not None


@pytest.mark.slow
def test_bench_counts_what_one_device_does(run, tmp_path):
    out = tmp_path / "bench.jsonl"
    asked = ("bench", "--shape", "tiny", "--prompt-length", 64, "--gen-length", 8, "--repeats", 1, "--json-out", out)
    for parts in (1, 2):
        assert run(*asked, "--policy", "full", "--tensor-parallel", parts).status == 0
    one, two = (json.loads(line) for line in out.read_text("utf-8").splitlines())
    assert (one["tensor_parallel"], two["tensor_parallel"]) == (1, 2)
    for whole, own in zip(one["runs"][0]["cases"], two["runs"][0]["cases"], strict=True):
        assert whole["response_flops"] / 2 < own["response_flops"] < whole["response_flops"]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("generate", "x", "--tensor-parallel", 2), "this model's 3 KV heads do not split into 2 equal parts"),
        (("generate", "x", "--tensor-parallel", 0), "tensor_parallel must be a whole number from 1 to 64, not 0"),
        (("generate", "x", "--tensor-parallel", 3, "--compile"), "compile is for a model on one device"),
        (("bench", "--shape", "tiny", "--tensor-parallel", 3), "2 KV heads do not split into 3 equal parts"),
        (("bench", "--shape", "tiny", "--tensor-parallel", 2, "--compile"), "compile is for a model on one device"),
    ],
)
def test_what_cannot_be_split_is_one_line(refused, command, told):
    assert told in refused(*command)


def test_a_profile_is_measured_on_one_device(refused, tiny, tmp_path):
    asked = ("calibrate", "--model", tiny, "--tensor-parallel", 2, "--out", tmp_path / "profile.json", "-n", 1)
    assert "measured on one device" in refused(*asked)


def test_a_server_answers_the_same_and_says_when_a_part_is_lost():
    one = maskkv.load(policy="maskkv", budget=32, dtype="float32")
    settings = {"model": "maskkv-mini", "messages": [{"role": "user", "content": SAMPLE.content}], "max_tokens": 16}
    with serving(one) as live:
        expected = live.http.post("/v1/chat/completions", json=settings).json()["choices"]
    three = maskkv.load(policy="maskkv", budget=32, dtype="float32", tensor_parallel=3)
    with serving(three) as live:
        assert live.http.post("/v1/chat/completions", json=settings).json()["choices"] == expected
        body = {**settings, "budget": 8}
        seen = live.http.post("/api/lens", json=body)
        assert (seen.status_code, "one device" in seen.json()["error"]["message"]) == (400, True)
        assert live.http.post("/v1/chat/completions", json=settings).json()["choices"] == expected
        assert live.http.get("/health").status_code == 200
        os.kill(three.model.ranks._followers[0]._process.pid, signal.SIGKILL)
        lost = live.http.post("/v1/chat/completions", json=settings)
        assert (lost.status_code, lost.json()["error"]["code"]) == (500, "model_failed")
        until(lambda: live.http.get("/health").status_code == 503)
        assert live.http.post("/v1/chat/completions", json=settings).status_code in (500, 503)
    three.close()
