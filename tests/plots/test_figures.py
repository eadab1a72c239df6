"""Every figure has a row and a caption in the documentation, and there are no others."""

import re
from pathlib import Path

import pytest

from maskkv.errors import InputError
from maskkv.plots import FIGURES, draw

PAGE = (Path(__file__).parents[2] / "docs" / "reproducing.md").read_text(encoding="utf-8")


def test_every_figure_has_a_command_and_a_caption():
    assert set(re.findall(r"`maskkv plot ([\w-]+)", PAGE)) == set(FIGURES)
    assert set(re.findall(r"^- \*\*([\w-]+)\*\*:", PAGE, re.MULTILINE)) == set(FIGURES)


def test_an_unknown_figure_is_refused():
    with pytest.raises(InputError, match="unknown figure 'pie': expected one of attention, "):
        draw("pie", [])
