"""Old names: records of before are read under today's, and old flags still work."""

import json
from pathlib import Path

import pytest

from maskkv import mini, mixing, records
from maskkv.cli import main
from maskkv.plots.source import load, where

OLD = {
    "policy": "Policy(layer_budget=BoundaryAware(layer_base=0.4, edge=2))",
    "policy_name": "maskkv(edge=2)",
    "schedule": {"doubt": 0.8, "drift": None, "steps": None},
    "answers": [{"policy": "BoundaryAware(edge=1)", "text": "edge=1"}],
    "scores": [1.0, 0.0],
}
NEW = {
    "policy": "Policy(layer_budget=BoundaryAware(layer_base=0.4, boundary_layers=2))",
    "policy_name": "maskkv(boundary_layers=2)",
    "schedule": {"min_confidence": 0.8, "value_drift": None, "steps": None},
    "answers": [{"policy": "BoundaryAware(boundary_layers=1)", "text": "edge=1"}],
    "scores": [1.0, 0.0],
}


def test_records_are_read_under_todays_names(tmp_path: Path) -> None:
    file = tmp_path / "mini.jsonl"
    file.write_text(json.dumps(OLD) + "\n" + json.dumps(NEW) + "\n")
    assert list(records.read(file)) == [NEW, NEW]
    assert where(load(file), ["schedule.doubt=0.8", "policy_name=maskkv(edge=2)"]) == [NEW, NEW]


def test_old_spellings_of_policies_still_resolve() -> None:
    assert mixing.resolve("maskkv(edge=2)") == mixing.resolve("maskkv(boundary_layers=2)")


@pytest.mark.parametrize(
    ("old", "new"), [("--doubt", "--min-confidence"), ("--drift", "--value-drift"), ("--edge", "--boundary-layers")]
)
def test_old_flags_work_with_a_notice(old: str, new: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["generate", mini.sample("single-key", 64, 0).prompt, "--gen-length", "8", "--budget", "4", "--json"]

    def answer(flag: str) -> tuple[str, str]:
        assert main([*asked, flag, "1"]) == 0
        out, err = capsys.readouterr()
        return out, err

    (before, notice), (now, quiet) = answer(old), answer(new)
    assert f"{old} is called {new} now" in notice
    assert notice.replace(f"{old} is called {new} now; the old name will go with the next release\n", "") == quiet
    assert json.loads(before)["text"] == json.loads(now)["text"]
    assert main([*asked, old, "1", new, "1"]) == 2
    assert f"give {new}" in capsys.readouterr().err
    assert main(["generate", "--help"]) == 0
    assert f"{old} " not in capsys.readouterr().out
