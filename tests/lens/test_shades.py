"""The scale of shades: each can be told from the next and read, in both themes, and the legend's counts are right."""

import re
from importlib import resources
from itertools import pairwise

import pytest

from tests.server.test_colours import contrast

STATIC = resources.files("maskkv.lens") / "static"
STYLE = (STATIC / "lens.css").read_text(encoding="utf-8")
LEVELS = range(1, 9)


def colours(name, theme):
    found = dict(re.findall(r"--(\w+-\d): light-dark\((.*?)\);", STYLE))
    return [
        [int(found[f"{name}-{level}"].split(", ")[theme][start : start + 2], 16) for start in (1, 3, 5)]
        for level in LEVELS
    ]


def lightness(channels):
    """Return L of OKLab (Ottosson, 2020), from 0 to 1: equal steps look equally far apart."""
    red, green, blue = (
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in channels)
    )
    cones = (
        0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue,
        0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue,
        0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue,
    )
    return sum(
        weight * cone ** (1 / 3)
        for weight, cone in zip((0.2104542553, 0.7936177850, -0.0040720468), cones, strict=True)
    )


def test_lightness_is_that_of_the_paper():
    assert lightness([255, 255, 255]) == pytest.approx(1, abs=1e-4)
    assert lightness([255, 0, 0]) == pytest.approx(0.628, abs=1e-3)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_on_every_shade(theme):
    for level, ground, text in zip(LEVELS, colours("shade", theme), colours("on", theme), strict=True):
        assert contrast(ground, text) >= 4.5, level


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_each_shade_is_further_from_the_paper_than_the_last(theme):
    found = [lightness(each) for each in colours("shade", theme)]
    steps = [(after - before) * (1 if theme else -1) for before, after in pairwise(found)]
    assert min(steps) > 0.04
    paper = lightness([[255, 255, 255], [0x1D, 0x20, 0x26]][theme])
    assert abs(found[0] - paper) > 0.04


def test_every_level_has_a_rule():
    for level in LEVELS:
        assert f".shade-{level} {{ background: var(--shade-{level}); color: var(--on-{level}); }}" in STYLE
