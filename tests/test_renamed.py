"""Old names: records of before are read under today's, and old flags still work."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import maskkv
from maskkv import mini, mixing, policies, records
from maskkv.cli import main, terminal
from maskkv.errors import InputError
from maskkv.eval.lm_eval import arguments, requests
from maskkv.eviction.view import ModelView
from maskkv.generation import Generation
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
def test_old_flags_work_with_a_notice(
    old: str, new: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["generate", mini.sample("single-key", 64, 0).prompt, "--gen-length", "8", "--budget", "4", "--json"]

    monkeypatch.setattr(terminal, "PATIENCE", 1e6)

    def answer(flag: str) -> tuple[str, str]:
        assert main([*asked, flag, "1"]) == 0
        out, err = capsys.readouterr()
        return out, err

    (before, notice), (now, quiet) = answer(old), answer(new)
    assert f"{old} is called {new} now" in notice
    assert notice.replace(f"{old} is called {new} now; the old name goes with 0.2.0\n", "") == quiet
    assert json.loads(before)["text"] == json.loads(now)["text"]
    assert main([*asked, old, "1", new, "1"]) == 2
    assert f"give {new}" in capsys.readouterr().err
    assert main(["generate", "--help-all"]) == 0
    assert f"{old} " not in capsys.readouterr().out


@dataclass(frozen=True)
class Ends:
    """A layer budget of somebody else, whose parameters have names that were ours."""

    edge: int = 1
    drift: float = 2.0
    needs_importance = False

    def __call__(self, view: ModelView) -> list[float]:
        return [1.0] * view.num_layers


ENDS = replace(policies.named("knorm"), name="ends", layer_budget=Ends())


def test_names_in_others_policies_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else their answers are not found again, and are asked anew at every run."""
    record = {"policy": repr(ENDS), "policy_name": "ends(edge=2, drift=3.0)", "settings": {"drift": 1, "doubt": 2}}
    (tmp_path / "mini.jsonl").write_text(json.dumps(record) + "\n")
    assert list(records.read(tmp_path / "mini.jsonl")) == [record]
    assert where(load(tmp_path), ["policy_name=ends(edge=2, drift=3.0)", "settings.drift=1"]) == [record]
    monkeypatch.setattr(mixing, "_imported", lambda spelling: ENDS)
    assert mixing.resolve("own:ENDS(edge=2, drift=3)").layer_budget == Ends(2, 3.0)


def test_one_name_is_enough() -> None:
    with pytest.raises(InputError, match="edge and boundary_layers are the same: give boundary_layers"):
        mixing.resolve("maskkv(edge=2, boundary_layers=2)")


def test_lm_eval_takes_the_old_names_too() -> None:
    made = arguments.load({"doubt": "0.5", "policy": "full"}).schedule
    assert made.min_confidence == 0.5
    assert requests.read({"drift": 0.5, "until": []}, Generation()).generation.value_drift == 0.5


def test_python_is_told_the_new_name() -> None:
    with pytest.raises(InputError, match="unknown setting 'doubt': doubt is called min_confidence now"):
        maskkv.load().generate("mona", doubt=0.5)
