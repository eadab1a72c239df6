"""Who waits is told for what: on a terminal by a bar, elsewhere by a line now and then."""

import dataclasses
import json
import re
import sys
import time

import pytest

from maskkv.cli import calibrate, terminal
from maskkv.eval import table
from maskkv.eviction.profile import LayerProfile

DEADLINE = 60.0


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(terminal, "PATIENCE", 0.001)
    monkeypatch.setattr(terminal, "BETWEEN", 0.001)


def until(capsys, *lines):
    """Wait until lines like these were told, one after the other."""
    said, end = "", time.monotonic() + DEADLINE
    while time.monotonic() < end:
        said += capsys.readouterr().err
        if re.search("\\n(.*\\n)*?".join(lines), said):
            return said
        time.sleep(0.001)
    raise AssertionError(said)


def test_a_line_now_and_then_says_what_is_waited_for_and_how_long(capsys, impatient):
    with terminal.waiting("loading it") as say:
        until(capsys, r"loading it, \d+ s", r"loading it, \d+ s")
        say("trying it")
        until(capsys, r"trying it, \d+ s")
    capsys.readouterr()
    time.sleep(0.05)
    assert capsys.readouterr() == ("", ""), "it is over"


def test_a_line_now_and_then_says_how_far_it_is(capsys, impatient):
    with terminal.progress("reading", 2000) as advance:
        until(capsys, r"reading: 0 of 2,000, \d+ s")
        advance(1500)
        until(capsys, r"reading: 1,500 of 2,000, \d+ s")
        advance(7, "denoising", 8)
        assert "\x1b" not in until(capsys, r"denoising: 7 of 8, \d+ s")


def test_nothing_is_said_of_what_is_quick(capsys):
    with terminal.waiting("loading"), terminal.progress("reading", 3) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_what_fails_stops_the_lines(capsys, impatient):
    with pytest.raises(KeyError), terminal.waiting("loading"):
        raise KeyError
    capsys.readouterr()
    time.sleep(0.05)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("patience", [1e6, 0.0])
def test_loading_is_told_on_standard_error_only(run, tiny, monkeypatch, patience):
    monkeypatch.setattr(terminal, "PATIENCE", patience)
    ran = run("generate", "anna holds 1 .", "--model", tiny, "--gen-length", 8, "--budget", 2, "--json")
    assert json.loads(ran.out)["steps"] == 8
    assert (f"loading {tiny}, 0 s" in ran.err) == (patience == 0)


@pytest.fixture
def benched(run, monkeypatch, tmp_path):
    asked = ("bench", "--shape", "tiny", "--prompt-length", 32, "--gen-length", 8, "--budget", 4)

    def benched(*more, tty=False):
        monkeypatch.setenv("COLUMNS", "60")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: tty)
        return run(*asked, *more, "--json-out", tmp_path / "bench.jsonl")

    return benched


def test_on_a_terminal_bench_prints_tables_only(benched, tmp_path):
    ran = benched("--repeats", 1, tty=True)
    assert "{" not in ran.out
    assert json.loads((tmp_path / "bench.jsonl").read_text())["repeats"] == 1


def test_tables_of_bench_fit_sixty_columns_and_one_repeat_has_no_range(benched):
    once = benched("--repeats", 1).out
    text, _, record = once.rstrip().rpartition("\n")
    tables = text.partition("Speed: ")[2].partition("Timed: ")[0]
    assert max(map(len, tables.splitlines())) <= 60
    assert "…" not in tables
    assert re.search(r"^maskkv 4  .*\d\n +– +– +– +–$", tables, re.MULTILINE)
    assert json.loads(record)["benchmark"] == "policies"
    assert re.search(r"\d–\d", benched("--repeats", 2).out)


def test_a_title_is_not_wrapped_where_its_table_ends(capsys):
    title = "what this narrow table is about is said at some length"
    made = terminal.table("a", "b", title=title)
    made.add_row("1", "2")
    terminal.show(made)
    assert capsys.readouterr().out.splitlines()[0].rstrip() == title


def test_one_example_has_no_error_and_one_document_no_spread(capsys):
    single = {"policy_name": "full", "budget": None, "scores": [1.0], "n": 1, "task": "t"}
    assert table.percent(single) == "100.0 ± –"
    assert table.percent({**single, "scores": [1.0, 0.0], "n": 2}) == "50.0 ± 35.4"
    profile = LayerProfile("m", "f", 1, 8, (0.5, 0.25), (0.0, 0.0))
    calibrate._show(profile)
    calibrate._show(dataclasses.replace(profile, n=2))
    said = capsys.readouterr().err
    assert (said.count("–"), said.count("0.0000")) == (2, 2)
