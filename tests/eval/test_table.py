"""Tables of records, on numbers that a reader checks."""

from maskkv.eval.table import cost_table, retention_table, score_table, summary_table, tables


def record(task, policy, budget, scores):
    return {"task": task, "policy_name": policy, "budget": budget, "scores": scores, "length": 1024, "n": len(scores)}


RECORDS = [
    record("single-key", "full", None, [1.0, 1.0, 1.0, 1.0]),
    record("single-key", "maskkv", 4, [1.0, 0.0, 1.0, 0.0]),
    record("two-hop", "full", None, [0.0, 0.0, 0.0, 0.0]),
]


def test_scores_are_percent_with_binomial_error():
    # Half right of four: sqrt(0.5 * 0.5 / 4) = 0.25.
    assert score_table(RECORDS).markdown() == (
        "| task | full | maskkv 4 |\n"
        "| --- | ---: | ---: |\n"
        "| single-key | 100.0 ± 0.0 | 50.0 ± 25.0 |\n"
        "| two-hop | 0.0 ± 0.0 | – |\n"
        "| mean | 50.0 | – |"
    )


def test_retention_is_relative_to_the_reference_and_absent_where_that_is_zero():
    rows = retention_table(RECORDS, "full").rows
    assert rows[0][:2] == ["single-key", "100.0 ± 0.0"]
    assert rows[0][2].startswith("50.0 ± ")
    assert rows[1] == ["two-hop", "–", "–"]


def test_retention_is_relative_to_the_reference_wherever_its_column_is():
    rows = retention_table([*RECORDS[::-1], record("single-key", "none", None, [1.0, 1.0, 0.0, 0.0])], "none").rows
    assert [cell.split(" ")[0] for cell in rows[1]] == ["single-key", "200.0", "100.0", "100.0"]
    assert rows[0] == ["two-hop", "–", "–", "–"]


def test_the_mean_of_a_summary_is_over_the_tasks_relative_to_the_reference():
    records = [*RECORDS, record("two-hop", "maskkv", 4, [1.0, 0.0, 0.0, 0.0])]
    assert summary_table(records).rows == [["full", "50.0", "–"], ["maskkv", "–", "37.5"]]
    assert summary_table(records, "full").rows == [["full", "100.0", "–"], ["maskkv", "–", "75.0"]]


def test_the_title_says_how_much_was_measured():
    assert "1024 tokens" in score_table(RECORDS).title
    assert "n = 4" in score_table(RECORDS).title


def test_what_answers_take_is_shown_where_pairs_came_back():
    taken = {"mean_steps": 8.0, "mean_prompt_passes": 1.0, "mean_cache_bytes": 2000.0}
    full = {**RECORDS[0], **taken, "mean_recalled": 0.0, "mean_host_bytes": 0.0}
    back = [
        {
            **record(task, "maskkv(evicted=host)", 4, [1.0] * 4),
            **taken,
            "mean_recalled": recalled,
            "mean_host_bytes": 64e3,
        }
        for task, recalled in (("single-key", 1000.0), ("two-hop", 3000.0))
    ]
    assert cost_table([full, *back]).rows == [
        ["full", "8.0", "1.0", "0", "2,000", "0"],
        ["maskkv(evicted=host) 4", "8.0", "1.0", "2,000", "2,000", "64,000"],
    ]
    assert tables([full, *back])[-1] == cost_table([full, *back])
    assert all(table.header[0] == "task" for table in tables(RECORDS)), "records of old do not say"
