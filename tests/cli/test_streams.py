"""What the program was started with: streams that are closed or full, names that are no text."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from maskkv.cli import streams, terminal
from maskkv.errors import InputError
from maskkv.records import append, read
from tests.cli.test_main import PROGRAM

ESCAPE, BYTE = "\x1b[31m\x9b", os.fsdecode(b"caf\xe9")


def shell(redirection, *args):
    """Start the program with a redirection of the shell, the way that closes a stream."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM, *args], capture_output=True, timeout=300
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    ("redirection", "args", "says"),
    [
        (">/dev/full", ["sample", "single-key", "--length", "100"], "cannot write to standard output: No space left"),
        (">/dev/full", ["sample", "--list"], "cannot write to standard output: No space left"),
        (">/dev/full", ["--version"], "cannot write to standard output: No space left"),
        (">/dev/full", ["plan", "--help"], "cannot read or write: No space left"),
        (">&-", ["sample", "single-key", "--length", "100", "--json"], "cannot write to standard output: it is closed"),
        (">&-", ["plot", "--list"], "cannot write to standard output: it is closed"),
        (">&-", [], "cannot read or write: it is closed"),
        ("<&-", ["generate", "-"], "cannot read standard input: "),
        ("<&-", ["inspect", "-"], "cannot read standard input: "),
    ],
)  # fmt: skip
def test_a_stream_that_fails_is_reported_in_one_line(redirection, args, says):
    status, out, err = shell(redirection, *args)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"maskkv: error: {says}")


def test_chat_without_standard_input_is_refused_in_one_line(tiny):
    status, out, err = shell("<&-", "chat", "--model", tiny)
    assert (status, out, err) == (2, "", "maskkv: error: cannot read standard input: it is closed\n")


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_notes_that_nobody_can_read_change_nothing(redirection):
    args = ["sample", "single-key", "--length", "100"]
    told, untold = shell("", *args), shell(redirection, *args)
    assert untold == (0, told[1], "")
    assert shell(redirection, "sample", "nothing") == (2, "", "")


def test_a_closed_stream_is_not_taken_by_the_next_file(tmp_path):
    """Otherwise what a library prints would go into that file."""
    code = (
        "import os, sys\nfrom maskkv.cli import streams\nstreams.prepare()\n"
        f"file = open({str(tmp_path / 'file')!r}, 'w')\nassert file.fileno() > 2\n"
        "assert [each.fileno() for each in (sys.stdin, sys.stdout, sys.stderr)] == [0, 1, 2]\n"
    )
    closed = f'exec {sys.executable} -c "$0" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", closed, code], timeout=300).returncode == 0


def test_a_failure_that_comes_late_still_counts():
    """What a command printed without a flush would be lost when the program ends, which nobody would be told."""
    code = "import sys\nfrom maskkv import cli\ncli._run = lambda args: print('x') or 0\nsys.exit(cli.main(['x']))"
    late = ["sh", "-c", f'exec {sys.executable} -c "$0" >/dev/full', code]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(late, stderr=subprocess.PIPE, text=True, timeout=300, env=buffered)
    assert (done.returncode, done.stderr) == (
        2,
        "maskkv: error: cannot write to standard output: No space left on device\n",
    )


def test_a_reader_that_left_is_not_taken_for_a_failure():
    with pytest.raises(BrokenPipeError), streams.written():
        raise BrokenPipeError(32, "Broken pipe")
    with pytest.raises(InputError, match="it is closed"), streams.written():
        raise OSError(9, "Bad file descriptor")


@pytest.mark.parametrize(
    "args",
    [
        ("generate", "--file", ESCAPE),
        ("generate", "anna", "--model", ESCAPE),
        ("generate", "anna", "--profile", ESCAPE),
        ("generate", "anna", "--policy", ESCAPE),
        ("generate", "anna", "--budget", ESCAPE),
        ("generate", "anna", f"--{ESCAPE}"),
        (ESCAPE,),
        ("chat", "--file", ESCAPE, "--model", "{tiny}"),
        ("inspect", ESCAPE),
        ("calibrate", "--file", ESCAPE),
        ("calibrate", "--out", f"{ESCAPE}/out"),
        ("eval", ESCAPE),
        ("bench", "--model", ESCAPE),
        ("bench", "--json-out", f"{ESCAPE}/x", "--model", ESCAPE),
        ("plan", "--model", ESCAPE),
        ("plot", ESCAPE),
        ("plot", "scores", "--from", ESCAPE),
        ("sample", ESCAPE),
        ("serve", "--policy", ESCAPE),
        ("serve", "--api-key-file", ESCAPE),
    ],
    ids=lambda args: " ".join(args[:2]).replace(ESCAPE, "ESC"),
)
@pytest.mark.parametrize("name", [ESCAPE, BYTE], ids=["escapes", "bytes"])
def test_what_was_typed_steers_no_terminal(run, tiny, tmp_path, monkeypatch, args, name):
    monkeypatch.chdir(tmp_path)  # a file of records makes the folders that it is in
    ran = run(*(arg.replace(ESCAPE, name).replace("{tiny}", tiny) for arg in args))
    assert ran.status == 2
    assert ran.err.startswith("maskkv: error: ")
    assert ran.err.count("\n") == 1
    assert not set(ran.out + ran.err) & {"\x1b", "\x9b", "\udce9"}


def test_a_traceback_steers_no_terminal_either(run):
    ran = run("generate", "--file", ESCAPE, "--debug")
    assert "Traceback" in ran.err
    assert "\x1b" not in ran.err


def test_a_table_steers_no_terminal(capsys):
    shown = terminal.table("name", title=ESCAPE)
    shown.add_row(f"{ESCAPE}[bold]x[/bold]")
    terminal.show(shown)
    terminal.show(f"a {ESCAPE} b")
    said = capsys.readouterr().out
    assert said.split("\n")[-2] == "a \ufffd[31m\ufffd b"
    assert "\ufffd[31m\ufffd[bold]x[/bold]" in said
    assert not set(said) & {"\x1b", "\x9b"}


def test_a_result_goes_to_a_file_as_it_is_and_to_a_terminal_without_escapes(capsys, monkeypatch):
    terminal.put(ESCAPE)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    terminal.put(ESCAPE)
    assert capsys.readouterr().out == f"{ESCAPE}\n\ufffd[31m\ufffd\n"


def test_json_is_ascii_and_reads_back(capsys):
    value = {"name": f"{ESCAPE}{BYTE}é"}
    terminal.put_json(value)
    said = capsys.readouterr().out
    assert said.isascii()
    assert said.isprintable() is False  # but for the line's end
    assert said[:-1].isprintable()
    assert json.loads(said) == value


def test_files_whose_names_are_no_text_are_read_and_written(run, tiny, tmp_path, monkeypatch):
    """A name goes through messages, records, a profile and the title of a page."""
    monkeypatch.chdir(tmp_path)
    Path(f"{BYTE}.txt").write_text("anna holds 1 2 3 4 .", encoding="utf-8")
    few = ("--model", tiny, "--gen-length", 8)
    assert run("generate", "--file", f"{BYTE}.txt", *few, "--json").status == 0
    ran = run("calibrate", "--file", f"{BYTE}.txt", *few, "--out", f"{BYTE}.json")
    assert (ran.status, ran.err.splitlines()[-1]) == (0, "wrote caf\ufffd.json")
    assert run("generate", "--file", f"{BYTE}.txt", *few, "--profile", f"{BYTE}.json").status == 0
    ran = run("inspect", f"{BYTE}.txt", *few, "--budget", 5, "--html", f"{BYTE}.html")
    assert (ran.status, ran.err) == (0, "wrote caf\ufffd.html\n")
    assert "<title>caf\ufffd.txt under maskkv" in Path(f"{BYTE}.html").read_text(encoding="utf-8")
    task = ("--task", "single-key", "-n", 1, "--length", 100)
    assert run("eval", "mini", *task, *few[:2], "--out", BYTE).status == 0
    assert run("plot", "budget", "--from", BYTE, "--out", f"{BYTE}.png").status == 0
    assert {name.suffix for name in Path().iterdir()} == {"", ".html", ".json", ".png", ".txt"}


def test_records_hold_names_that_are_no_text(tmp_path):
    append(tmp_path / "records.jsonl", {"model": BYTE, "text": "é"})
    assert list(read(tmp_path / "records.jsonl")) == [{"model": BYTE, "text": "é"}]


def test_a_model_whose_folder_has_no_text_for_a_name_is_refused_for_that(refused, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny, BYTE)
    for command in (("generate", "anna"), ("plan",), ("bench",)):
        assert refused(*command, "--model", BYTE).startswith("the name caf\ufffd is not UTF-8")


def test_names_under_homes_that_are_not_there(refused, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for command in (("generate", "anna"), ("plan",), ("bench",), ("calibrate",), ("eval", "mini")):
        assert "there is no home folder for ~nobody-here/x" in refused(*command, "--model", "~nobody-here/x")


def test_full_output_files_are_reported_in_one_line(run, tiny, tmp_path):
    (tmp_path / "doc.txt").write_text("anna holds 1 2 3 4 .", encoding="utf-8")
    few = ("--model", tiny, "--gen-length", 8)
    for args in (
        ("calibrate", *few, "-n", 1, "--length", 60, "--out", "/dev/full"),
        ("inspect", tmp_path / "doc.txt", *few, "--budget", 3, "--html", "/dev/full"),
        (
            "bench",
            "--shape",
            "tiny",
            "--prompt-length",
            16,
            "--gen-length",
            8,
            "--repeats",
            1,
            "--json-out",
            "/dev/full",
        ),
    ):
        ran = run(*args)
        assert ran.status == 2
        assert ran.err.splitlines()[-1].startswith("maskkv: error: cannot ")
        assert "Traceback" not in ran.err


def test_a_model_without_a_tokenizer_is_refused_only_where_text_is_needed(run, refused, tiny, tmp_path):
    folder = tmp_path / "ids"
    shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns("tokenizer.json"))
    says = (
        "this model has no tokenizer: neither tokenizer.json nor vocab.json with merges.txt; it answers token ids only"
    )
    for command in (("generate", "anna"), ("chat",), ("calibrate",), ("demo",), ("eval", "mini", "--out", tmp_path)):
        assert refused(*command, "--model", folder) == says
    ran = run("doctor", "--model", folder, "--json")
    assert ran.status == 0
    assert any(finding["found"].endswith("token ids only") for finding in json.loads(ran.out))
    few = ("--prompt-length", 16, "--gen-length", 8, "--repeats", 1, "--budget", 4)
    assert run("bench", "--model", folder, *few).status == 0


def test_an_error_is_a_line_and_no_page(refused):
    said = refused("generate", "--file", "9" * 20_000)
    assert said.startswith("cannot read 999")
    assert len(said) < 2100
    assert said.endswith("9: File name too long")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("eval", "mini", "-n", 10**20), "-n"),
        (("eval", "mini", "--length", 2**25), "--length"),
        (("sample", "single-key", "--length", 2**25), "--length"),
        (
            ("sample", "single-key", "--seed", 10**20),
            "--seed 100000000000000000000: expected a number up to 92233720368",
        ),
        (("calibrate", "-n", 10**7), "-n must be at most 1,000,000, not 10,000,000"),
        (("calibrate", "--length", 2**25), "--length must be at most 16,777,216"),
        (("bench", "--prompt-length", 16, "--batch-size", "9" * 400), "--batch-size 99999"),
        (("plan", "--gen-length", "9" * 400), "--gen-length 99999"),
        (("inspect", "doc.txt", "--layer", -(10**400)), "--layer -10000"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_numbers_without_end_are_refused_at_once(refused, monkeypatch, args, says):
    monkeypatch.setattr("maskkv.api.load_model", None)
    assert says in refused(*args)
