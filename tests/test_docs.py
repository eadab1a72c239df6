"""The documents point at what exists."""

import doctest
import importlib
import re
import shlex
import tomllib
from functools import reduce
from pathlib import Path

import pytest
import typer

from maskkv.cli import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md"))
REFERENCE = re.compile(r"`(maskkv[\w.]*):([\w.]+)`")
SHELL = re.compile(r"^```(?:sh|bash|console)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAMS = ("maskkv ", "make ", "pip ", "python ", "hf ", "curl ", "docker ", "$ ", "#")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def paper_references():
    return sorted(set(REFERENCE.findall((ROOT / "docs" / "paper.md").read_text())))


@pytest.mark.parametrize(("module", "name"), paper_references())
def test_every_row_of_the_paper_map_exists(module, name):
    assert reduce(getattr, name.split("."), importlib.import_module(module)) is not None


def test_the_paper_map_is_not_empty():
    assert len(paper_references()) >= 20


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_to_files(document):
    for target in LINK.findall(document.read_text()):
        assert (document.parent / target).exists(), target


SECTION = re.compile(r"\]\(([^)#:]*)#([^)]+)\)")


def headings(document):
    """Return the anchors of a document's headings, as a reader's link names them."""
    titles = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_to_sections(document):
    for target, anchor in SECTION.findall(document.read_text()):
        assert anchor in headings(document.parent / target if target else document), f"{target}#{anchor}"


def examples():
    """Yield the command lines of all documents that start with `maskkv`, as lists of words."""
    for document in DOCUMENTS:
        # What a command prints may start with `maskkv` as well: such a block does not start with a command.
        blocks = [block for block in SHELL.findall(document.read_text()) if block.startswith(PROGRAMS)]
        for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True) if "maskkv " in line else []
            if words[:1] == ["maskkv"]:
                end = next((place for place, word in enumerate(words) if word[:1] in "|><&;"), len(words))
                yield pytest.param(words[1:end], id=f"{document.name}: {' '.join(words[:end])}")


@pytest.mark.parametrize("words", list(examples()))
def test_commands_in_documents_parse(words):
    commands = typer.main.get_command(app).commands
    commands[words[0]].make_context(words[0], words[1:])


@pytest.mark.parametrize("module", ["maskkv.eviction.allocation", "maskkv.labels", "maskkv.statistics"])
def test_examples_in_docstrings(module):
    results = doctest.testmod(importlib.import_module(module))
    assert results.attempted > 0
    assert results.failed == 0


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return ARCHITECTURE.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_order_of_modules_is_the_one_that_is_checked():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    floors = next(each["layers"] for each in settings["contracts"] if each["name"] == "Layers")
    checked = [set(floor.split(" | ")) for floor in floors if floor != "__main__"]
    rows = [row.split("|")[2] for row in section("Order").splitlines() if row.startswith("| ") and "`" in row]
    assert [set(re.findall(r"`(\w+)`", floor)) for row in rows for floor in row.split(", then ")] == checked
    for name in set().union(*checked):
        place = ROOT / "src/maskkv" / name
        assert place.is_dir() or place.with_suffix(".py").is_file(), f"{name} is in the order, and does not exist"


def test_a_request_s_life_names_every_module_of_the_server_once():
    named = re.findall(r"`(\w+)`", section("A request's life"))
    modules = {path.stem for path in (ROOT / "src/maskkv/server").glob("*.py")} - {"__init__"}
    assert modules - set(named) == set()
    assert {name: named.count(name) for name in modules} == dict.fromkeys(modules, 1)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:\w+/)+\w+\.py)`", ARCHITECTURE))))
def test_files_that_the_architecture_names_exist(path):
    assert (ROOT / "src/maskkv" / path).is_file()
