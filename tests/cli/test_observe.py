"""From a checkpoint to the figures of what it reads, as a newcomer gets there."""

import pytest

from maskkv import records

SMALL = ("--task", "multi-key", "--length", 64)


def test_observations_become_figures(run, tiny, tmp_path):
    observed = run("eval", "observe", "--model", tiny, *SMALL, "-n", 2, "--first-seed", 7, "--out", tmp_path)
    assert (observed.status, observed.out) == (0, "")
    assert observed.err.startswith(f"2 observations are in {tmp_path}/observe.jsonl")
    found = list(records.read(tmp_path / "observe.jsonl"))
    assert [(record["task"], record["number"]) for record in found] == [("multi-key", 7), ("multi-key", 8)]
    for figure in ("attention", "similarity", "heads", "preference"):
        drawn = run("plot", figure, "--from", tmp_path, "--out", tmp_path / f"{figure}.svg")
        assert (drawn.status, drawn.err) == (0, f"wrote {tmp_path}/{figure}.svg\n")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--policy", "full"), "observe watches a model without a cache"),
        (("--voters", "all"), "observe watches a model without a cache"),
        (("--jobs", 2), "observe watches a model without a cache"),
        (("--shard", "1/2"), "observe watches a model without a cache"),
        (("--cfg-scale", 1.0), "observe it at 0"),
        (("--task", "chess"), "unknown task 'chess': observe has single-key, "),
    ],
)
def test_what_cannot_be_observed_is_refused(refused, tiny, tmp_path, args, says):
    assert says in refused("eval", "observe", "--model", tiny, *SMALL, *args, "--out", tmp_path)
    assert list(tmp_path.iterdir()) == []
