"""`maskkv policies`, and a policy of the user's own in other commands."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from maskkv import mixing, policies

ROOT = Path(__file__).parents[2]


def test_lists_every_policy_in_a_line(run):
    ran = run("policies")
    assert [line.split()[0] for line in ran.out.splitlines()] == policies.names()
    assert "\nmaskkv            The mask tokens vote, boundary layers and prompt-reading heads get more.\n" in ran.out
    assert "\nnone              No cache at all: every step recomputes the prompt and the response." in ran.out
    assert "arXiv" not in ran.out
    assert ran.err == "`maskkv policies NAME` shows the formula of one\n"


def test_one_is_shown_with_its_formula(run):
    for name in policies.names():
        shown = " ".join(run("policies", name).out.split())
        policy = policies.named(name)
        assert shown.startswith(f"policy {name} about ")
        for what in ("scorer", "layer_budget", "head_budget"):
            said = f" {what.replace('_', ' ')} {getattr(policy, what)}"
            assert (said in shown) == policy.can_evict
    assert "MaskKV (arXiv 2510.09309)" in " ".join(run("policies", "maskkv").out.split())


def test_words_say_the_parameters():
    mixed = mixing.mix(
        policies.named("maskkv"), layer_base=0.25, boundary_layers=2, head_base=0.3, kernel=5, tally="max"
    )
    assert str(mixed.scorer) == "max A_ij, i in mask, max-pooled over 5"
    assert str(mixed.layer_budget) == "0.25 evenly, 0.75 to first and last 2 layers and to the middle by their Σ I_l"
    assert str(mixed.head_budget) == "0.3 evenly, 0.7 by P_h"


def test_json_has_the_record_too(run):
    printed = {entry["name"]: entry for entry in json.loads(run("policies", "--json").out)}
    assert list(printed) == policies.names()
    assert printed["maskkv"]["record"] == repr(policies.named("maskkv"))
    assert printed["maskkv"]["about"].startswith("MaskKV (arXiv 2510.09309)")
    assert printed["full"]["scorer"] is None
    assert printed["full"]["parameters"] == ""
    assert [name for name, entry in printed.items() if not entry["cached"]] == ["none"]


def test_the_table_of_policies_is_the_command_s(run):
    table = run("policies", "--markdown").out.strip()
    assert f"\n\n{table}\n\n" in (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8")
    assert {len(line.split(" | ")) for line in table.splitlines()} == {5}


def test_a_policy_says_how_evicted_pairs_come_back(run):
    shown = " ".join(run("policies", "maskkv(evicted=host, index=int4, recall_interval=2)").out.split())
    assert "recall every 2 steps, max A_ij, i in fresh rows, over int4 keys" in shown
    assert "index=int4" in shown
    (entry,) = json.loads(run("policies", "maskkv", "--json").out)
    assert entry["recall"] is None


def test_every_part_says_itself_in_words():
    for name in policies.names():
        policy = policies.named(name)
        for part in (policy.scorer, policy.layer_budget, policy.head_budget):
            assert part is None or str(part) != repr(part)


def test_one_policy_with_every_parameter_and_its_value(run):
    shown = " ".join(run("policies", "pyramidkv").out.split())
    parameters = "window=32, kernel=7, pooling=max, protect_window=False, slope=20.0, protected=0, revote=True"
    assert f"parameters {parameters}" in shown
    assert "snapkv" not in shown
    assert "parameters" not in run("policies").out
    assert "parameters" not in run("policies", "full").out
    [changed] = json.loads(run("policies", "streamingllm(sinks=8)", "--json").out)
    assert changed["name"] == "streamingllm(sinks=8)"
    assert changed["about"].startswith("StreamingLLM (arXiv 2309.17453)")
    assert changed["parameters"] == "sinks=8, revote=True, evicted=drop"


def test_ones_own_policy_is_shown(run, own):
    shown = " ".join(run("policies", "my_policies:POLICY(end=3)").out.split())
    assert "policy late-votes(end=3.0) about Mask votes that count more towards the end" in shown
    assert "parameters end=3.0, layer_base=0.4" in shown


def test_an_unknown_policy_is_refused(refused):
    assert refused("policies", "nosuch").startswith("unknown policy 'nosuch': expected one of adakv, ")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Stand in a folder with the documents' example."""
    document = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", document, re.DOTALL)[1]
    (tmp_path / "my_policies.py").write_text(example, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("my_policies", None)


def test_generate_takes_ones_own_policy(run, tiny, own):
    flags = ("--model", tiny, "--gen-length", 8, "--budget", 2, "--json")
    ran = run("generate", "anna holds 1 2 3 4 .", "--policy", "my_policies:POLICY", *flags)
    printed = json.loads(ran.out)
    assert (ran.status, printed["policy"]) == (0, "late-votes")
    assert sum(len(head) for layer in printed["kept"] for head in layer) == 2 * 2 * 3
    ran = run("generate", "anna holds 1 .", "--policy", "my_policies:POLICY", "--head-budget", "uniform", *flags)
    assert json.loads(ran.out)["policy"] == "late-votes(head_budget=uniform)"


def test_the_installed_program_finds_it_too(tiny, own):
    """A console script has its own folder on the path, not the current one."""
    program = "import sys; sys.path.pop(0); from maskkv.cli import main; sys.exit(main())"
    flags = ("--policy", "my_policies:POLICY", "--model", tiny, "--gen-length", "8", "--budget", "2")
    command = [sys.executable, "-c", program, "generate", "anna holds 1 .", *flags]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0
    assert "late-votes: kept " in ran.stderr


def test_a_policy_that_cannot_be_imported_is_refused_before_a_model_is_loaded(refused, monkeypatch, own):
    monkeypatch.setattr("maskkv.api.load_model", None)
    said = refused("generate", "anna", "--policy", "my_polices:POLICY")
    assert said.startswith("policy 'my_polices:POLICY': cannot import my_polices from the current directory or the ")
