"""`maskkv plot`: pictures from records, without torch."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from maskkv import plots
from tests.plots.pictures import cell

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def records(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    lines = [cell("full", None, [1.0, 0.0]), cell("maskkv", 4, [1.0, 0.0]), cell("maskkv", 8, [1.0, 1.0])]
    (folder / "mini.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_name_without_an_ending_makes_both_formats(run, records, tmp_path):
    ran = run("plot", "budget", "--from", records, "--out", tmp_path / "picture")
    assert (ran.status, ran.out) == (0, "")
    assert ran.err == f"wrote {tmp_path}/picture.png\nwrote {tmp_path}/picture.svg\n"
    assert (tmp_path / "picture.png").read_bytes().startswith(PNG)
    assert ET.parse(tmp_path / "picture.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_an_ending_chooses_the_format_and_the_same_records_make_the_same_file(run, records, tmp_path, ending):
    files = [tmp_path / f"{number}.{ending}" for number in (1, 2)]
    for file in files:
        assert run("plot", "budget", "--from", records / "mini.jsonl", "--out", file).status == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


def test_by_default_the_figure_names_the_files(run, records, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("plot", "budget").err == "wrote budget.png\nwrote budget.svg\n"


def test_conditions_and_retention_are_heeded(run, records, tmp_path, monkeypatch):
    seen = []
    draw = plots.draw
    monkeypatch.setattr(plots, "draw", lambda name, some: seen.append(some) or draw(name, some))
    args = ("--from", records, "--out", tmp_path / "a.png", "--where", "budget=null", "--where", "budget=8")
    run("plot", "budget", *args)
    run("plot", "budget", *args, "--retention", "full")
    assert [record["budget"] for record in seen[0]] == [None, 8]
    assert [record["reference_scores"] for record in seen[1]] == [[1.0, 0.0]] * 2


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "there is no FIGURE: expected one of "),
        (("pie",), "unknown figure 'pie': expected one of "),
        (("budget", "--from", "nowhere"), "there is no nowhere: expected a JSONL file"),
        (("budget", "--out", "a.jpeg"), "cannot write a.jpeg: expected a name that ends in .png or .svg"),
        (("budget", "--out", "."), "cannot write .: expected the name of a file"),
        (("budget", "--out", "nowhere/a.png"), "cannot write nowhere/a.png: expected the name of a file in a folder"),
        (("budget", "--where", "task"), "'task' is no condition: expected FIELD=VALUE"),
        (("budget", "--where", "task=chess"), "none of the 3 records in results has task=chess"),
        (("budget", "--retention", "none"), "no record of policy none on the documents of full, task multi-key"),
        (
            ("needle", "--retention", "full"),
            "needle does not show retention: --retention is for budget, quality, base-rates",
        ),
        (("pie", "--retention", "full"), "unknown figure 'pie'"),
        (("budget", "--from", "bench.jsonl"), "no record here is a measured cell of `maskkv eval`"),
        (("budget", "--from", "bad.jsonl"), "bad.jsonl, line 1: not a JSON object"),
    ],
)
def test_what_makes_no_picture_is_refused_in_one_line(refused, records, monkeypatch, args, says):
    monkeypatch.chdir(records.parent)
    (records.parent / "bench.jsonl").write_text('{"benchmark": "policies", "cases": []}\n')
    (records.parent / "bad.jsonl").write_text('bad\n{"a": 1}\n')
    before = sorted(records.parent.rglob("*"))
    assert says in refused("plot", *args)
    assert sorted(records.parent.rglob("*")) == before


def test_the_list_names_every_figure(run):
    ran = run("plot", "--list")
    assert [line.split()[0] for line in ran.out.splitlines()] == ["figure", *plots.FIGURES]


def test_without_matplotlib_it_says_what_to_install(refused, records, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert refused("plot", "budget", "--from", records) == "figures need matplotlib: pip install 'maskkv[plot]'"


def test_no_figure_needs_torch(records, tmp_path):
    code = (
        "import importlib, sys\nfrom maskkv import plots\nfrom maskkv.cli import main\n"
        f"assert main(['plot', 'budget', '--from', {str(records)!r}, '--out', {str(tmp_path / 'a')!r}]) == 0\n"
        "for name in plots.FIGURES:\n    importlib.import_module('maskkv.plots.' + name.replace('-', '_'))\n"
        "print({'torch', 'transformers', 'matplotlib.pyplot'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", [r"$\frac", "$x$", "caf\udce9", "\x1b[31m", "two\nlines"], ids=ascii)
def test_names_that_no_font_can_draw_as_they_are(run, records, tmp_path, name):
    lines = [cell(name, None, [1.0, 0.0]), cell(f"maskkv({name})", 4, [1.0, 0.0]), cell("maskkv", 8, [1.0, 1.0])]
    (records / "mini.jsonl").write_text("".join(json.dumps(line | {"model": name}) + "\n" for line in lines))
    for figure in ("budget", "ablation"):
        assert run("plot", figure, "--from", records, "--out", tmp_path / figure).status == 0
