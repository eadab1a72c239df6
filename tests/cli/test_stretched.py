"""Every command that answers says once when prompts are longer than the model was trained for."""

import json
import shutil
from pathlib import Path

import pytest

from maskkv.mini import sample
from tests.cli.test_chat import Stdin

TEXT = sample("multi-key", 60, 3).content
SAYS = "tokens of prompt and response are more than the 48 that the model was trained for: "


@pytest.fixture(scope="module")
def short(tiny, tmp_path_factory):
    """Say of the tiny model that it was trained for 48 tokens."""
    folder = Path(shutil.copytree(tiny, tmp_path_factory.mktemp("short") / "model"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"max_sequence_length": 48}), encoding="utf-8")
    return folder


@pytest.fixture
def doc(tmp_path):
    path = tmp_path / "doc.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def commands(doc, out):
    answering = ("--gen-length", 8, "--budget", 4)
    return {
        "generate": ("generate", "--file", doc, *answering),
        "chat": ("chat", *answering),
        "inspect": ("inspect", doc, *answering),
        "eval": ("eval", "mini", "--task", "multi-key,two-hop", "--length", 60, "-n", 2, "--budget", 4, "--out", out),
        "calibrate": ("calibrate", "-n", 2, "--length", 60, "--gen-length", 8),
        "demo": ("demo", "--questions", 2, "--length", 60),
    }


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.slow if each == "demo" else ()) for each in commands("", "")]
)
def test_it_is_said_once_and_of_long_prompts_only(run, tiny, short, doc, tmp_path, monkeypatch, name):
    command = commands(doc, tmp_path / "out")[name]
    for model, times in ((short, 1), (tiny, 0)):
        monkeypatch.setattr("sys.stdin", Stdin(TEXT, TEXT))
        ran = run(*command, "--model", model)
        assert ran.status == 0
        assert ran.err.count(SAYS) == times
        assert SAYS not in ran.out


def test_bench_says_so_on_standard_error(run, short):
    args = ("bench", "--model", short, "--policy", "full", "--repeats", 1, "--gen-length", 8)
    ran = run(*args, "--prompt-length", 41, "--prompt-length", 20)
    assert (ran.status, ran.err.count(f"49 {SAYS}")) == (0, 1)
    ran = run(*args, "--prompt-length", 40)
    assert (ran.status, SAYS in ran.err) == (0, False)


def test_plan_has_it_in_its_table(run, short):
    def positions(length):
        found = json.loads(run("plan", "--model", short, "--prompt-length", length, "--gen-length", 8, "--json").out)
        ran = run("plan", "--model", short, "--prompt-length", length, "--gen-length", 8)
        return [line for line in ran.out.splitlines() if line.startswith("positions, trained for 48 ")], found

    assert positions(40)[0] == []
    ((row,), found) = positions(41)
    assert (row.rstrip().endswith("the last are new to the model"), found["rope_scale"]) == (True, 1.0)
    ((row,), found) = positions(4000)
    assert row.rstrip().endswith(f"stretched, RoPE's theta × {found['rope_scale']:g}")
    assert (found["trained_length"], found["rope_scale"] > 1) == (48, True)
