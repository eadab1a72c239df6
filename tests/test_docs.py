"""The documents point at what exists."""

import doctest
import importlib
import re
import shlex
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
