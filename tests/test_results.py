"""The figures in the README and the model card are those of the records, of the bundled weights."""

from pathlib import Path

import pytest

import maskkv
from maskkv import checkpoint, mini, records
from maskkv.eval.store import Record
from maskkv.eval.table import percent, score_table, summary_table
from maskkv.mini import TASKS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHORT, LONG = (ROOT / "results" / name / "mini.jsonl" for name in ("length512", "retention"))
HEADLINE = ("none", "full", "maskkv")


def measured(file: Path) -> list[Record]:
    return sorted(
        records.read(file),
        key=lambda each: (TASKS.index(str(each["task"])), str(each["policy_name"]), int(str(each["budget"] or 0))),
    )


def test_the_score_table_is_that_of_the_records() -> None:
    found = [each for name in HEADLINE for each in measured(LONG) if each["policy_name"] == name]
    table = score_table(sorted(found, key=lambda each: TASKS.index(str(each["task"]))))
    assert table.markdown() in README
    assert table.title in README


def test_the_table_of_policies_is_that_of_the_records() -> None:
    assert summary_table(measured(LONG), "full").markdown() in README


def test_the_card_states_the_scores_of_the_records() -> None:
    card = (mini.folder() / "MODEL_CARD.md").read_text(encoding="utf-8")
    short, long = (
        {str(each["task"]): each for each in measured(file) if each["policy_name"] == "none"} for file in (SHORT, LONG)
    )
    assert list(long) == list(TASKS)
    for task, record in long.items():
        at_512 = percent(short[task]) if task in short else "–"
        assert f"| {task} | {at_512} | {percent(record)} |\n" in card


def test_the_speeds_are_those_of_the_records() -> None:
    (record,) = records.read(ROOT / "results" / "bench.jsonl")
    for run in record["runs"]:  # type: ignore[attr-defined]
        for case in run["cases"][1:]:
            median, least, most = (case["speedup"][part] for part in ("median", "min", "max"))
            name = case["policy"] if case["budget"] is None else f"{case['policy']} {case['budget']}"
            name += "" if case["profiled"] else ", no profile"
            (row,) = (
                line
                for line in README.splitlines()
                if line.startswith(f"| {run['prompt_length']:,} | {name} | {median:.1f} ({least:.1f}–{most:.1f}) |")
            )
            if case["policy"] != "full":
                median, least, most = (case["over_full"][part] for part in ("median", "min", "max"))
                assert f"| {median:.2f} ({least:.2f}–{most:.2f}) |" in row
                assert median >= 1


def test_what_other_seeds_say_is_stated() -> None:
    for record in records.read(ROOT / "results" / "bench-seeds.jsonl"):
        (case,) = (each for each in record["runs"][0]["cases"] if not each["profiled"])  # type: ignore[index]
        median, least, most = (case["over_full"][part] for part in ("median", "min", "max"))
        assert f"{median:.2f} ({least:.2f}–{most:.2f})" in README


@pytest.mark.parametrize("file", [SHORT, LONG], ids=lambda file: str(file.parent.name))
def test_every_cell_is_on_the_same_documents_and_on_the_bundled_weights(file: Path) -> None:
    found = measured(file)
    assert len({(each["n"], each["first_seed"], each["length"]) for each in found}) == 1
    assert {each["fingerprint"] for each in found} == {checkpoint.fingerprint(maskkv.load().model)}
