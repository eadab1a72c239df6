"""`maskkv inspect`: what is printed, what is written, and what is refused."""

import io
import json
import re

import pytest
from rich.console import Console

import maskkv
from maskkv.cli.shaded import MARKS, Prompt
from maskkv.mini import sample
from maskkv.printable import printable

SAMPLE = sample("multi-key", 80, 3)
SHORT = ("--gen-length", 8, "--budget", 6)


@pytest.fixture
def doc(tmp_path):
    path = tmp_path / "doc.txt"
    path.write_text(SAMPLE.document + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def expected(tiny):
    llm = maskkv.load(tiny)
    text = f"{SAMPLE.document}\n\n{SAMPLE.question}"
    return {name: llm.generate(text, policy=name, budget=6, gen_length=8) for name in ("maskkv", "full")}


def test_terminal_shows_the_prompt_the_segments_and_both_answers(run, tiny, doc, expected):
    ran = run("inspect", doc, "--question", SAMPLE.question, "--model", tiny, *SHORT)
    assert (ran.status, ran.err) == (0, "")
    assert "kept by none" in ran.out.splitlines()[0]
    words = " ".join(re.findall(r"[a-z0-9?.:]+", ran.out.partition("pairs kept")[0]))
    assert "question : " in words
    table = ran.out.partition("pairs kept")[2].splitlines()[2:5]
    for line, heads in zip(table, expected["maskkv"].kept, strict=True):
        assert re.findall(r"(\d+) \(", line) == [str(len(own)) for own in heads]
    assert "maskkv 6" in ran.out
    assert "full" in ran.out
    assert "differ in " in ran.out or "the same answer" in ran.out


def test_json_has_the_numbers(run, tiny, doc, expected):
    ran = run("inspect", doc, "--question", SAMPLE.question, "--model", tiny, "--json", *SHORT)
    seen = json.loads(ran.out)
    evicted, full = expected["maskkv"], expected["full"]
    assert seen["kept"] == evicted.kept
    index = seen["sweep"]["budgets"].index(6)
    assert seen["sweep"]["counts"][index] == [[len(own) for own in layer] for layer in evicted.kept]
    assert [seen[run]["text"] for run in ("evicted", "full")] == [evicted.text, full.text]
    assert [seen[run]["cache_bytes"] for run in ("evicted", "full")] == [evicted.cache_bytes, full.full_cache_bytes]
    assert "".join(text for _, text, _ in seen["tokens"]).startswith(SAMPLE.document)


def test_html_is_one_file_and_says_so(run, tiny, doc, tmp_path):
    page = tmp_path / "out.html"
    ran = run("inspect", doc, "--model", tiny, "--html", page, *SHORT)
    assert (ran.status, ran.out, ran.err) == (0, "", f"wrote {page}\n")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("nowhere.txt",), "there is no file nowhere.txt"),
        (("doc.txt", "--policy", "full"), "policy 'full' evicts nothing"),
        (("doc.txt", "--html", "nowhere/out.html"), "there is no folder nowhere to write out.html to"),
        (("doc.txt", "--budget", "0"), "budget 0: expected at least 1"),
        ((), "missing argument 'DOC'"),
    ],
)
def test_bad_input_is_refused_before_a_model_is_loaded(refused, monkeypatch, doc, args, says):
    monkeypatch.chdir(doc.parent)
    monkeypatch.setattr("maskkv.api.load_model", None)
    assert says in refused("inspect", *args)


def test_a_layer_or_head_that_is_not_there_is_refused(refused, tiny, doc):
    assert refused("inspect", doc, "--model", tiny, "--layer", 3) == "--layer 3: expected a number from 0 to 2"
    assert refused("inspect", doc, "--model", tiny, "--head", -1) == "--head -1: expected a number from 0 to 1"


def drawn(texts, held, segments, **options):
    console = Console(file=io.StringIO(), width=12, legacy_windows=False, **options)
    console.print(Prompt(texts, held, segments))
    return console.file.getvalue().partition("\n\n")[2]


def test_marks_stand_under_the_letters_of_a_token():
    plain = drawn(["ab", " cde", " 漢字", " x", "\ny"], [0, 4, 1, 0, 0], 4, color_system=None)
    assert plain == f"ab cde 漢字 \n   {MARKS[-1] * 3} {MARKS[5] * 4}\nx\ny\n"


def test_colours_shade_instead_of_marks(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    shaded = drawn(["ab", " cd"], [0, 4], 4, force_terminal=True, color_system="256")
    assert "48;5;220m" in shaded
    assert "@" not in shaded
    bare = drawn(["ab", " cd"], [0, 4], 4, force_terminal=True, color_system="256", no_color=True)
    assert "\x1b" not in bare
    assert bare.splitlines() == ["ab cd", "   @@"]


def test_a_document_cannot_steer_the_terminal():
    assert printable("a\x1b[2Jb\x9bc\x07\r\nd\te\u202ef\x7f") == "a\ufffd[2Jb\ufffdc\ufffd\nd e\ufffdf\ufffd"
