"""The load and the soak of the server, at a size that says nothing but that they work."""

import json

import pytest

from maskkv import records
from maskkv.bench import serving

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


def test_soak_counts_what_came_of_everything(capsys):
    assert serving.main(["soak", *SMALL, "--minutes", "0.05", "--clients", "4"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["status_500"] == 0
    assert record["queue_empty_at_end"]
    assert record["requests"] > 0
    assert sum(record["outcomes"].values()) > 0
    assert record["resident_mib_end"] > 0


def test_numbers_that_cannot_be_are_refused(capsys):
    assert serving.main(["load", "--clients", "0"]) == 2
    assert capsys.readouterr().err == "maskkv: error: --clients 0: expected at least 1\n"


def test_a_file_that_cannot_be_written_is_refused_before_a_server_is_started(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "load", None)
    assert serving.main(["load", *SMALL, "--json-out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"maskkv: error: cannot write records to {tmp_path}: this is a folder, expected a file\n"
    )
