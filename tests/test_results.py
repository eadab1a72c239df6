"""The figures in the documentation and the model card are those of the records, of the bundled weights."""

import re
from pathlib import Path

import pytest

import maskkv
from maskkv import mini, records
from maskkv.checkpoints import weights
from maskkv.cli import demo
from maskkv.eval.store import Record
from maskkv.eval.table import cost_table, percent, score_table, summary_table
from maskkv.mini import TASKS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
SHORT, LONG = (ROOT / "results" / name / "mini.jsonl" for name in ("length512", "retention"))
RECALL = ROOT / "results" / "recall" / "mini.jsonl"
HEADLINE = ("none", "full", "maskkv")


def measured(file: Path) -> list[Record]:
    return sorted(
        records.read(file),
        key=lambda each: (TASKS.index(str(each["task"])), str(each["policy_name"]), int(str(each["budget"] or 0))),
    )


def test_the_score_table_is_that_of_the_records() -> None:
    found = [each for name in HEADLINE for each in measured(LONG) if each["policy_name"] == name]
    table = score_table(sorted(found, key=lambda each: TASKS.index(str(each["task"]))))
    assert table.markdown() in PAGE
    assert table.title in PAGE


def test_the_table_of_policies_is_that_of_the_records() -> None:
    assert summary_table(measured(LONG), "full").markdown() in PAGE


def test_the_tables_of_pairs_that_come_back_are_those_of_the_records() -> None:
    performance = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    found, parts = (measured(ROOT / "results" / name / "mini.jsonl") for name in ("recall", "recall-parts"))
    assert summary_table(found, "full").markdown() in PAGE
    assert cost_table(found).markdown() in performance
    assert summary_table(parts, "full").markdown() in performance


@pytest.mark.parametrize(("budget", "mean", "worst"), [(51, 0.99, 0.97), (16, 0.979, 0.94), (8, 0.94, 0.82)])
def test_pairs_that_come_back_answer_as_the_full_cache_does(budget: int, mean: float, worst: float) -> None:
    """What the page says of 51 and 16 pairs; no share is taken of `passage`, which this model cannot do."""
    found = measured(ROOT / "results" / "recall" / "mini.jsonl")
    full, host = (
        {str(each["task"]): float(str(each["score"])) for each in found if (each["policy_name"], each["budget"]) == key}
        for key in (("full", None), ("maskkv(evicted=host)", budget))
    )
    assert sum(host.values()) >= mean * sum(full.values())
    assert min(host[task] / full[task] for task in full if task != "passage") >= worst


def test_the_times_of_pairs_that_come_back_are_those_of_the_records() -> None:
    performance = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    (record,) = records.read(ROOT / "results" / "recall-bench.jsonl")
    for run in record["runs"]:  # type: ignore[attr-defined]
        said = [f"| {run['prompt_length']:,}"]
        for name in ("maskkv", "maskkv(evicted=host)"):
            (case,) = (case for case in run["cases"] if (case["policy"], case["profiled"]) == (name, True))
            median, most, least = (1 / case["over_full"][part] for part in ("median", "min", "max"))
            said.append(f"{median:.2f} ({min(least, most):.2f}–{max(least, most):.2f})")
        assert " | ".join(said) in performance


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
                for line in PAGE.splitlines()
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
        assert f"{median:.2f} ({least:.2f}–{most:.2f})" in PAGE


def shown(way: demo.Way, task: str) -> Record:
    """Find the record of a way in which the demo answers."""
    variant = way.variant(demo.LENGTH)
    (found,) = (
        each
        for each in measured(RECALL)
        if (each["task"], each["policy"], each["budget"]) == (task, repr(variant.policy), variant.budget)
    )
    return found


def test_the_demo_says_what_the_records_say() -> None:
    for (task, way), part in demo.RECORDED.items():
        record = shown(way, task)
        assert (part, demo.RECORDED_N) == (record["score"], record["n"])
        assert (record["length"], record["mean_prompt_length"]) == (demo.LENGTH, demo.LENGTH)
        assert record["fingerprint"] == weights.fingerprint(maskkv.load().model)
    assert [str(way) for _, way in demo.RECORDED] == 2 * [str(way) for way in demo.compared(demo.PERCENT)]


def test_what_reading_again_in_doubt_gains_is_stated() -> None:
    scores = {
        (each["task"], each["budget"]): percent(each)
        for each in measured(ROOT / "results" / "demo" / "mini.jsonl")
        if each["policy_name"] == "maskkv" and each["schedule"]["min_confidence"] == 0.95
    }  # type: ignore[index]
    short, long, more_short, more_long = (
        scores[task, budget].split(" ")[0] for budget in (51, 256) for task in ("multi-key", "long-value")
    )
    said = " ".join(PAGE.split())
    assert f"`--min-confidence 0.95`, {short} % of `multi-key` and {long} % of `long-value` are right" in said
    assert f"at 256 pairs, {more_short} and {more_long} % (n = 200" in said


def test_the_page_shows_the_demo_as_it_is() -> None:
    """Counts with their intervals, what the records say, and the same counts of seed 0 in the table of seeds."""
    block = PAGE.split("\nanswers  ")[1].split("\n```")[0].splitlines()[1:]
    table = PAGE.split("| answers | | seed 0 |")[1].split("\n\n")[0].splitlines()[2:]
    for line, row, ((task, way), part) in zip(block, table, demo.RECORDED.items(), strict=True):
        right, n = map(int, re.findall(r"(\d+) of (\d+)", line)[0])
        low, high = demo.wilson(right, n)
        assert line.endswith(f"{low:.0%} to {high:.0%}".ljust(15) + f"{part:.1%}")
        assert f"{way}  " in line
        assert row.startswith(f"| {demo.TASKS[task]} | {way} | {right} | ")
        assert row.endswith(f" | {part:.1%} |")


@pytest.mark.parametrize("file", [SHORT, LONG], ids=lambda file: str(file.parent.name))
def test_every_cell_is_on_the_same_documents_and_on_the_bundled_weights(file: Path) -> None:
    found = measured(file)
    assert len({(each["n"], each["first_seed"], each["length"]) for each in found}) == 1
    assert {each["fingerprint"] for each in found} == {weights.fingerprint(maskkv.load().model)}
