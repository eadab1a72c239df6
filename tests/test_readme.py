"""The README as a newcomer uses it: every command and line of Python, in order, in one folder."""

import re
import shlex
from pathlib import Path

import pytest

from maskkv import records
from maskkv.cli import main

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
LONGEST = 7 * 1024


def test_it_is_short() -> None:
    assert len(TEXT.encode()) <= LONGEST


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


def session() -> list[tuple[list[str], list[str]]]:
    """Return the commands of the block that shows what they print, each with these lines."""
    (block,) = (each for each in re.findall(r"```\n(.*?)```", TEXT, re.DOTALL) if each.startswith("$ "))
    found: list[tuple[list[str], list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((shlex.split(line[2:]), []))
        else:
            found[-1][1].append(line)
    return found


def test_the_first_commands_print_what_is_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    for words, shown in session():
        assert words[0] == "maskkv"
        target = Path(words[words.index(">") + 1]) if ">" in words else None
        assert main(words[1 : words.index(">") if target else None]) == 0
        printed = capsys.readouterr()
        if target:
            target.write_text(printed.out, encoding="utf-8")
        for line in shown:
            assert line in (printed.out + printed.err).splitlines()


def test_the_python_prints_what_its_last_line_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    if not Path("document.txt").exists():
        pytest.skip("the commands before it made no document")
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(code, str(README), "exec"), {})
    assert f"# {capsys.readouterr().out.strip()}" == code.strip().splitlines()[-1]


def test_the_first_example_is_right_for_every_document_of_the_records() -> None:
    """No lucky seed: the task and the budget that it shows answer all of the records' documents."""
    (sampled, _), (generated, _) = session()
    assert sampled[1:5] == ["sample", "single-key", "--length", "1024"]
    budget = int(generated[generated.index("--budget") + 1])
    (record,) = (
        each
        for each in records.read(README.parent / "results" / "retention" / "mini.jsonl")
        if (each["task"], each["policy_name"], each["budget"]) == ("single-key", "maskkv", budget)
    )
    assert (record["score"], record["n"], record["gen_length"]) == (1.0, 200, 8)


def test_the_numbers_are_those_of_the_page_of_results() -> None:
    results = (README.parent / "docs" / "results.md").read_text(encoding="utf-8")
    for said in ("34.7 ×", "22.0 ×", "31 ×", "17.9 GB", "35.0 GB"):
        assert said in " ".join(TEXT.split())
        assert said in results
    recalled = next(line for line in results.splitlines() if line.startswith("| maskkv(evicted=host) | – |"))
    assert recalled.split(" | ")[4] == "98.0"
    assert "98 % of the full cache's score with 16 pairs" in " ".join(TEXT.split())
