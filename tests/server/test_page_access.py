"""The page for all: names, landmarks, contrast in both themes, a visible focus, and any width (WCAG 2.2, AA)."""

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

CONTRAST = """
const numbers = (text) => {
  const [red, green, blue, alpha = 1] = text.match(/[\\d.]+(e-?\\d+)?/g).map(Number);
  const scale = text.startsWith('color(') ? 255 : 1;
  return [red * scale, green * scale, blue * scale, alpha];
};
const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
const lightness = (colour) => {
  const [red, green, blue] = colour.map((each) => each / 255)
    .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const ground = (element) => {
  const behind = [];
  for (let each = element; each; each = each.parentElement) {
    behind.push(numbers(getComputedStyle(each).backgroundColor));
  }
  return behind.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
};
const found = [];
const check = (element, colour, text) => {
  const under = ground(element);
  const [dark, light] = [lightness(over(numbers(colour), under)), lightness(under)].sort((one, other) => one - other);
  const ratio = (light + 0.05) / (dark + 0.05);
  found.push([ratio, `${element.tagName}#${element.id}.${element.className} ${text.trim().slice(0, 80)}`]);
};
const shown = (element) => element.checkVisibility() && !element.closest(':disabled, .unseen');
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const [text, element] = [walker.currentNode.data, walker.currentNode.parentElement];
  if (text.trim() && shown(element)) check(element, getComputedStyle(element).color, text);
}
for (const field of document.querySelectorAll('input, textarea, select')) {
  if (!shown(field)) continue;
  check(field, getComputedStyle(field).color, field.value);
  if (field.placeholder) check(field, getComputedStyle(field, '::placeholder').color, field.placeholder);
}
return found;
"""

STRUCTURE = """
const wrong = [];
const ids = [...document.querySelectorAll('[id]')].map((each) => each.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push(`two of ${id}`);
for (const name of ['aria-labelledby', 'aria-describedby', 'for']) {
  for (const each of document.querySelectorAll(`[${name}]`)) {
    for (const id of each.getAttribute(name).split(' ')) if (!ids.includes(id)) wrong.push(`${name} ${id} is nowhere`);
  }
}
for (const [selector, count] of [['main', 1], ['body > header', 1], ['h1', 1]]) {
  if (document.querySelectorAll(selector).length !== count) wrong.push(`not ${count} of ${selector}`);
}
let level = 0;
for (const each of document.querySelectorAll('h1, h2, h3, h4')) {
  if (Number(each.tagName[1]) > level + 1) wrong.push(`${each.textContent} skips a level`);
  level = Number(each.tagName[1]);
}
if (!document.documentElement.lang || !document.title) wrong.push('no language or title');
for (const each of document.body.querySelectorAll('*')) {
  if (each.tabIndex > 0) wrong.push(`${each.id} has a place of its own in the order`);
  const style = getComputedStyle(each);
  const scrolls = /auto|scroll/.test(style.overflowY + style.overflowX) && each.scrollHeight > each.clientHeight + 1;
  if (scrolls && each.tabIndex < 0 && !each.querySelector('button, a, input')) wrong.push(`no key scrolls ${each.id}`);
}
for (const each of document.querySelectorAll('button, select, input, summary, textarea')) {
  const box = each.getBoundingClientRect();
  if (each.checkVisibility() && box.height < 16) wrong.push(`${each.id} is ${box.height} high`);
}
return wrong;
"""

NEED_NAMES = {
    *("button", "textbox", "combobox", "slider", "spinbutton", "searchbox", "listbox", "checkbox", "link"),
    *("DisclosureTriangle", "region", "group", "image", "img", "heading"),
}


def unnamed(page):
    """Return the roles of what has no name, as the browser tells it to a screen reader."""
    nodes = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    heard = [node for node in nodes if not node["ignored"] and node["role"]["value"] in NEED_NAMES]
    assert len(heard) > 15
    anonymous = [node for node in heard if not node.get("name", {}).get("value", "").strip()]
    # A <details> is a group; its summary says what it is.
    return [node for node in anonymous if node["role"]["value"] != "group"]


def open_all(page):
    page.run("for (const each of document.querySelectorAll('details')) each.open = true")


def test_everything_has_a_name_and_a_place(page):
    page.browser.execute_cdp_cmd("Accessibility.enable", {})
    assert (page.run(STRUCTURE), unnamed(page)) == ([], [])
    page.ask()
    open_all(page)
    page.set("step", "2")
    assert (page.run(STRUCTURE), unnamed(page)) == ([], [])
    names = page.run(
        "return [...document.querySelectorAll('#ask input, #ask select, #ask textarea')].map((each) =>"
        " [each.id, each.labels.length, document.getElementById(each.getAttribute('aria-describedby'))?.id])"
    )
    assert all(labels == 1 for _, labels, _ in names)
    assert [name for name, _, hint in names if hint is None] == ["example", "file"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_word_can_be_read(page, theme):
    page.run("document.documentElement.dataset.theme = arguments[0]", theme)
    open_all(page)
    first = page.run(CONTRAST)
    page["take"].click()
    page.set("budget", "1")
    page.set("policy", "random")
    page["go"].click()
    page.done()
    page.set("step", "2")
    open_all(page)
    wrong = page.run(CONTRAST)
    page.ask(document="a zebra")
    refused = page.run(CONTRAST)
    for found in (first, wrong, refused):
        assert len(found) > 60
        assert [each for each in found if each[0] < 4.5] == []
    assert any("verdict" in what for _, what in wrong)
    assert any("problem" in what and "zebra" in what for _, what in refused)


def test_the_focus_is_seen_wherever_it_is(page):
    page.ask(policy="full")
    page["theme"].send_keys("")
    seen = set()
    for _ in range(26):
        ActionChains(page.browser).send_keys(Keys.TAB).perform()
        name, style, width = page.run(
            "const each = document.activeElement; const style = getComputedStyle(each);"
            "return [each.id || each.tagName, style.outlineStyle, parseFloat(style.outlineWidth)]"
        )
        if name == "BODY":
            break
        assert (style, width) == ("solid", 2), name
        seen.add(name)
    assert {"document", "question", "go", "policy", "length", "SUMMARY", "copy", "play", "speed", "step"} <= seen


def test_it_fits_any_width(page):
    page.ask()
    open_all(page)
    for width in (400, 700, 961, 1200, 1600):
        page.width(width)
        assert page.run("return document.documentElement.scrollWidth") <= width
        columns = page.run(
            "return document.getElementById('answering').offsetTop < document.getElementById('ask').offsetTop + 50"
        )
        assert columns == (width > 960)
        over = page.run(
            "return [...document.querySelectorAll('section')].filter((each) => each.scrollWidth > each.clientWidth + 1)"
            ".map((each) => each.textContent.slice(0, 40))"
        )
        assert over == []
