"""The load and the soak of the server, at a size that says nothing but that they work."""

import argparse
import json
from collections import Counter
from dataclasses import replace

import pytest

from maskkv import records
from maskkv.bench import serving, soak

pytest.importorskip("fastapi")
SMALL = ["--clients", "2", "--prompt-length", "60", "--gen-length", "8", "--budget", "8"]


def test_load_compares_answers_and_counts_steps_after_a_hang_up(capsys, tmp_path):
    out = tmp_path / "serving.jsonl"
    more = ["--rounds", "1", "--turns", "1", "--disconnects", "3", "--json-out", str(out)]
    assert serving.main(["load", *SMALL, *more]) == 0
    record = json.loads(capsys.readouterr().out)
    assert list(records.read(out)) == [record]
    assert (record["benchmark"], record["answers_compared"], record["answers_different"]) == ("serving-load", 2, 0)
    assert record["throughput_ratio"]["median"] > 0
    assert record["hang_ups"] == 3
    assert 0 <= record["steps_after_hang_up"]["max"] <= 8


@pytest.mark.slow
def test_soak_counts_what_came_of_everything_and_finds_no_fault(capsys):
    """It would find an answer that differs from that alone, an error logged, a thread or an open file too many."""
    asked = ["soak", *SMALL, "--longest-prompt", "200", "--minutes", "0.1", "--clients", "4"]
    serving.main(asked)
    record = json.loads(capsys.readouterr().out)
    # In so short a time allocators are still warming up.
    assert [fault for fault in record["faults"] if not fault.startswith("memory")] == []
    assert record["status_500"] == record["answers_different"] == 0
    assert record["requests"] > 0
    assert sum(record["outcomes"].values()) > 0
    assert len(record["resident_mib"]) == len(record["threads"]) == len(record["open_files"]) == soak.ROUNDS + 1


def test_soak_says_in_words_what_was_wrong():
    rest = soak.Rest(idle=True, resident_mib=100.0, cache_bytes=0, threads=9, open_files=20)
    assert soak.faults([rest, rest, replace(rest, resident_mib=109.0, threads=8 + soak._POOL)], Counter(), [], []) == []
    later = replace(rest, resident_mib=111.0, cache_bytes=1, threads=10 + soak._POOL, open_files=21)
    assert soak.faults([rest, rest, later], Counter({"whole: 500": 2}), [7, 3, 7], ["step failed"]) == [
        "2 × whole: 500",
        "request 3: another answer than alone",
        "request 7: another answer than alone",
        "logged: step failed",
        "requests or caches stay when nobody asks",
        "memory grows from 100.0 MiB to 111.0 MiB",
        f"threads grow from 9 to {10 + soak._POOL}, past the {soak._POOL} of the loop's pool",
        "open files grow from 20 to 21",
    ]
    assert soak.faults([replace(rest, idle=False), rest], Counter(), [], []) != []


def test_soaked_prompts_range_from_the_shortest_to_the_longest():
    options = argparse.Namespace(prompt_length=32, longest_prompt=2048, gen_length=8, budget=8, seed=0)
    lengths = [len(body["messages"][0]["content"].split()) for body in soak.bodies(options)]
    assert lengths[0] < 80
    assert 1500 < lengths[-1] < 2500
    assert soak.bodies(options) == soak.bodies(options)


def test_soak_counts_as_improper_what_should_not_be():
    seen = soak.Seen()
    for came in ("200", "429 queue_full", "500 internal_error"):
        seen.note("whole", came, "200")
    assert seen.improper == Counter({"whole: 500 internal_error": 1})
    assert sum(seen.outcomes.values()) == 3


def test_numbers_that_cannot_be_are_refused(capsys):
    assert serving.main(["load", "--clients", "0"]) == 2
    assert capsys.readouterr().err == "maskkv: error: --clients 0: expected at least 1\n"
    assert serving.main(["soak", "--longest-prompt", "100"]) == 2
    assert capsys.readouterr().err == "maskkv: error: --longest-prompt 100: expected at least --prompt-length, 128\n"


def test_a_file_that_cannot_be_written_is_refused_before_a_server_is_started(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "load", None)
    assert serving.main(["load", *SMALL, "--json-out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"maskkv: error: cannot write records to {tmp_path}: this is a folder, expected a file\n"
    )
