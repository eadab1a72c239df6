"""The documents point at what exists."""

import doctest
import importlib
import re
from functools import reduce
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REFERENCE = re.compile(r"`(maskkv[\w.]*):([\w.]+)`")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def paper_references():
    return sorted(set(REFERENCE.findall((ROOT / "docs" / "paper.md").read_text())))


@pytest.mark.parametrize(("module", "name"), paper_references())
def test_every_row_of_the_paper_map_exists(module, name):
    assert reduce(getattr, name.split("."), importlib.import_module(module)) is not None


def test_the_paper_map_is_not_empty():
    assert len(paper_references()) >= 20


@pytest.mark.parametrize("document", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=str)
def test_links_lead_to_files(document):
    for target in LINK.findall(document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("module", ["maskkv.eviction.budgets", "maskkv.eval.retention"])
def test_examples_in_docstrings(module):
    results = doctest.testmod(importlib.import_module(module))
    assert results.attempted > 0
    assert results.failed == 0
