"""What is written on a shade can be read: contrast of 4.5 to 1 (WCAG 2.2, 1.4.3) in both themes, on the deepest one."""

import re
from importlib import resources

import pytest

STYLE = "".join(
    (resources.files(package) / "static" / name).read_text(encoding="utf-8")
    for package, name in (("maskkv.lens", "lens.css"), ("maskkv.server", "page.css"))
)
VARIABLES = dict(re.findall(r"--(\w+(?:-\w+)*): light-dark\((.*?)\);", STYLE))
RULES = dict(re.findall(r"^([^@\n{}]+?) \{(.*?)\}", STYLE, re.MULTILINE | re.DOTALL))
SHADED = {selector: rule for selector, rule in RULES.items() if "background: color-mix(" in rule}
WRITTEN = {".cell.provisional": ".cell", ".cell.committed": ".cell"}
"""Where the colour of the text stands."""


def colour(name, theme):
    value = VARIABLES[name].split(", ")[theme]
    return [int(value[start : start + 2], 16) for start in (1, 3, 5)]


def luminance(channels):
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in channels)]
    return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_formula_gives_what_the_standard_says():
    assert contrast([0, 0, 0], [255, 255, 255]) == pytest.approx(21)
    assert contrast([0x76] * 3, [255] * 3) == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_on_every_shade(theme):
    assert set(SHADED) == {".cell.provisional", ".cell.committed"}
    for selector, rule in SHADED.items():
        shade, portion = re.search(r"color-mix\(in srgb, var\(--([\w-]+)\) calc\((.*)\), transparent\)", rule).groups()
        most = sum(int(percent) for percent in re.findall(r"(\d+)%", portion)) / 100
        written = RULES.get(WRITTEN.get(selector, ""), "color: var(--ink)")
        text = colour(re.search(r"(?<![-\w])color: var\(--(\w+)\)", written)[1], theme)
        for ground in ("paper", "sheet"):
            mixed = [
                most * deep + (1 - most) * plain
                for deep, plain in zip(colour(shade, theme), colour(ground, theme), strict=True)
            ]
            assert contrast(text, mixed) >= 4.5, (selector, ground)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_where_there_is_no_shade(theme):
    for text in ("ink", "soft", "accent"):
        for ground in ("paper", "sheet"):
            assert contrast(colour(text, theme), colour(ground, theme)) >= 4.5, (text, ground)
