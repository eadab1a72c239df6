"""What `docs/scaling.md` says is what its commands print."""

import json
import re
import shlex
from pathlib import Path

import pytest

from maskkv.cli import main

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(--shape [^`]+)` \| (.*) \|$", PAGE, re.MULTILINE)
COMMAND = "maskkv plan --batch-size 16 --shape llada-8b --memory 24GB\n"


def printed(capsys, words):
    assert main(shlex.split(words.removeprefix("maskkv "))) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("flags", "cells"), ROWS)
def test_the_table_is_what_plan_says(capsys, flags, cells):
    assert COMMAND in PAGE
    found = json.loads(printed(capsys, f"plan --batch-size 16 {flags} --json"))
    assert (found["prompt_length"], found["gen_length"], found["budget"]) == (32_768, 64, 256)
    fields = ("weight_bytes", "held_bytes", "reading_bytes", "peak_bytes")
    told = [f"{found[field] / 1e9:.1f} GB" for field in fields]
    told.append(f"{found['longest_prompt']:,}" if found["fits"] else "does not fit")
    assert cells.split(" | ") == told


def test_every_model_is_planned_for_every_card():
    planned = {(shape, memory) for shape, memory in re.findall(r"--shape (\S+).* --memory (\d+GB)` \|", PAGE)}
    assert planned == {(shape, size) for shape in ("llada-8b", "dream-7b", "llada2-mini") for size in SIZES}


SIZES = ("16GB", "24GB", "80GB")


def test_the_example_is_printed_as_it_is_shown(capsys, monkeypatch):
    (command,) = re.findall(r"^maskkv plan .* --pace results/.*$", PAGE, re.MULTILINE)
    (shown,) = re.findall(re.escape(command) + r"\n```\n\n```text\n(.*?)\n```", PAGE, re.DOTALL)
    monkeypatch.chdir(ROOT)
    assert [line.rstrip() for line in printed(capsys, command).splitlines()] == shown.splitlines()


QUEUEING = [json.loads(line) for line in (ROOT / "results" / "queueing.jsonl").read_text(encoding="utf-8").splitlines()]


def test_how_far_the_simulation_is_off_is_that_of_the_records():
    rows = re.findall(
        r"^\| (\d[\d.]*) \| (\d+ × \d+) \| (busy|answer, mean|answer, p90|wait, mean) \| (.*) \|$", PAGE, re.MULTILINE
    )
    names = {
        "busy": "busy",
        "answer, mean": "answer_mean_s",
        "answer, p90": "answer_p90_s",
        "wait, mean": "wait_mean_s",
    }
    told = []
    for record in QUEUEING:
        for load in record["loads"]:
            count = f"{len(load['requests'])} × {load['requests'][0]}"
            for label, name in names.items():
                cells = [
                    f"{each['median']:.2f} ({each['min']:.2f}–{each['max']:.2f})"
                    for each in (load[name][kind] for kind in ("measured", "simulated", "ratio"))
                ]
                told.append((f"{load['rate']:g}", count, label, " | ".join(cells)))
    assert rows == told
    assert re.findall(r"^python -m maskkv\.bench\.queueing .*$", PAGE, re.MULTILINE)
