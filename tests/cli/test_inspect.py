"""`maskkv inspect`: what is printed, what is written, and what is refused."""

import io
import json
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

import maskkv
from maskkv.cli import shaded
from maskkv.cli.shaded import MARKS, Prompt
from maskkv.lens import Film, Frame
from maskkv.mini import sample
from maskkv.printable import printable
from maskkv.text.tokenizer import Token

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
    assert "pairs kept of " in ran.out
    assert " (part of the masks' attention that goes to the prompt)\n" in ran.out
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


def test_a_policy_that_recalls_says_what_came_back_when_and_for_whom(run, tiny, doc):
    asked = ("inspect", doc, "--question", SAMPLE.question, "--model", tiny, "--policy", "maskkv(evicted=host)", *SHORT)
    seen = json.loads(run(*asked, "--json").out)
    frames = seen["film"]["frames"]
    assert seen["film"]["first"] != seen["kept"]
    assert sum(len(frame["came"]) for frame in frames) > 0
    for layer, head in ((None, None), (2, 1)):
        narrowed = [] if layer is None else ["--layer", layer, "--head", head]
        ran = run(*asked, *narrowed)
        assert (ran.status, ran.err) == (0, "")
        table = ran.out.partition("the row of the response that asked\n")[2].partition("\n\n")[0]
        assert re.match(r"step .*\n1 .* the prompt is read, and the policy votes *\n", table)
        rows = re.findall(r"^(\d+) +(\S+(?: \S+)*)  +(\d+)(.*)", table, re.MULTILINE)
        came = [[pair for pair in frame["came"] if layer is None or pair[:2] == [layer, head]] for frame in frames]
        assert [(int(step), int(pairs)) for step, _, pairs, _ in rows] == [
            (number, len(pairs)) for number, pairs in enumerate(came[1:], 2)
        ]
        assert [decided for _, decided, _, _ in rows] == [" ".join(frame["pieces"]) for frame in frames[1:]]
    assert re.search(r"“[\w.?:]+” ×\d+ ←", table)


def test_dropped_pairs_do_not_come_back(run, tiny, doc):
    asked = ("inspect", doc, "--model", tiny, *SHORT)
    assert "came back" not in run(*asked).out
    assert json.loads(run(*asked, "--json").out)["film"] is None


def test_a_row_is_named_by_what_it_was_and_what_it_became():
    tokens = [Token(0, text, special=False) for text in ("a", " b", " c", "\x1b[2J")]
    votes = Frame("prompt", [1], [7], [" red"], [], [], [])
    partial = Frame("partial", [0], [8], ["x"], [(0, 0, 1), (0, 1, 1), (0, 1, 2), (1, 0, 1)], [], [1, 0, -1, 0])
    steering = Frame("response", [], [], [], [(0, 0, 3), (1, 0, 1)], [], [2, 0])
    film = Film(3, [[[0], [0]], [[0], [0]]], [votes, partial, steering])
    seen = SimpleNamespace(tokens=tokens)
    told = [list(column.cells) for column in shaded._recalls(seen, film, None, None).columns]
    assert told[0] == ["1", "2", "3"]
    assert told[1] == ["red", "x", ""]
    assert told[2] == ["", "4", "2"]
    assert told[3] == [
        "the prompt is read, and the policy votes",
        "“b” ×3 ← 0 mask (later “x”), “c” ×1 ← the prompt's last row",
        "“b” ×1 ← 0 “x”, “\ufffd[2J” ×1 ← 2 mask",
    ]
    narrowed = [list(column.cells) for column in shaded._recalls(seen, film, 0, None).columns]
    assert narrowed[2] == ["", "3", "1"]
    # Two rows asked once each: the first one is told.
    assert narrowed[3][1] == "“b” ×2 ← 1 “red”, “c” ×1 ← the prompt's last row"


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
