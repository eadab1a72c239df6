"""The figures in the README are those of the records, and the records those of the bundled weights."""

from pathlib import Path
from typing import Any

import pytest

import maskkv
from maskkv import checkpoint, records
from maskkv.eval.table import score_table
from maskkv.mini import TASKS

ROOT = Path(__file__).parents[1]
POLICIES = ("none", "full", "maskkv")

Record = dict[str, Any]


@pytest.fixture(scope="module")
def measured() -> list[Record]:
    found: list[Record] = list(records.read(ROOT / "results" / "mini.jsonl"))
    return sorted(
        found, key=lambda each: (TASKS.index(each["task"]), POLICIES.index(each["policy_name"]), each["budget"] or 0)
    )


def test_the_score_table_is_that_of_the_records(measured: list[Record]) -> None:
    table = score_table(measured)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert table.markdown() in readme
    assert table.title in readme


def test_every_cell_is_on_the_same_documents(measured: list[Record]) -> None:
    assert len({(each["n"], each["first_seed"], each["length"]) for each in measured}) == 1
    assert all(len(each["scores"]) == each["n"] for each in measured)


def test_the_bundled_weights_are_those_that_were_measured(measured: list[Record]) -> None:
    assert {each["fingerprint"] for each in measured} == {checkpoint.fingerprint(maskkv.load().model)}
