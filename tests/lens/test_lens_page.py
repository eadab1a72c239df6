"""The page as somebody uses it: shades, legend, ways to move in a long prompt, and the answers, in a browser."""

import random
from dataclasses import replace
from itertools import chain, pairwise

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import maskkv
from maskkv import lens, policies
from maskkv.generation import Generation
from maskkv.mini import sample
from maskkv.text.tokenizer import Token
from tests.cli.tiny import save_tiny

LAYERS, HEADS, LONG = 6, 3, 8192


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    llm = maskkv.load(save_tiny(tmp_path_factory.mktemp("tiny")))
    tokens = llm.prompt_tokens(sample("multi-key", 60, 4).content)
    return lens.inspect(llm, tokens, Generation(gen_length=8), policies.named("maskkv"), 5)


@pytest.fixture(scope="module")
def long(seen):
    """Return a prompt of 8,192 tokens: token 0 is kept by 1 of 18 segments, token 1 by 5, tokens 2 and 3 by all."""
    draw = random.Random(1)
    words = [Token(0, " " + draw.choice(["river", "stone", "lamp", "a", "harbour"])) for _ in range(LONG)]
    words[0], words[4000], words[8000] = Token(0, "First"), Token(0, " Needle"), Token(0, " needle")
    order = []
    for segment in range(LAYERS * HEADS):
        first = [2, 3, *([1] if segment < 5 else []), *([0] if segment == 0 else [])]
        rest = draw.sample(range(4, LONG), 64 - len(first))
        order.append([*first, *rest])
    by_layer = [order[HEADS * layer : HEADS * (layer + 1)] for layer in range(LAYERS)]
    counts = [[[budget] * HEADS for _ in range(LAYERS)] for budget in (2, 4, 64)]
    sweep = lens.BudgetSweep([2, 4, 64], counts, by_layer, [[0.5] * HEADS for _ in range(LAYERS)], None)
    return replace(seen, tokens=words, evictable=LONG, budget=64, sweep=sweep, reads=None)


def style(browser, index, name):
    script = "return getComputedStyle(document.querySelectorAll('.document span')[arguments[0]])[arguments[1]]"
    return browser.execute_script(script, index, name)


def names(browser, index):
    return browser.execute_script("return document.querySelectorAll('.document span')[arguments[0]].className", index)


def current(browser):
    script = "return [...document.querySelectorAll('.document span')].findIndex((s) => s.matches('.current'))"
    return browser.execute_script(script)


def visible(browser, index):
    script = """
      const box = document.querySelector('.document').getBoundingClientRect();
      const token = document.querySelectorAll('.document span')[arguments[0]].getBoundingClientRect();
      return token.top >= box.top - 1 && token.bottom <= box.bottom + 1;"""
    return browser.execute_script(script, index)


def test_one_five_and_eighteen_of_eighteen_have_shades_of_their_own_and_the_legend_names_them(long, opened):
    browser = opened(long)
    colours = [style(browser, index, "background-color") for index in (0, 1, 2)]
    assert len(set(colours)) == 3
    ticks = browser.find_elements(By.CSS_SELECTOR, "#lens-legend .tick")
    assert [each.text for each in ticks] == ["0", "1", "2", "3", "4–5", "6–7", "8–11", "12–17", "18"]
    script = "return [...arguments[0]].map((tick) => getComputedStyle(tick).backgroundColor)"
    by_text = dict(zip([each.text for each in ticks], browser.execute_script(script, ticks), strict=True))
    assert [by_text[text] for text in ("1", "4–5", "18")] == colours
    browser.find_element(By.ID, "lens-layer").send_keys("layer 0")
    assert [each.text for each in browser.find_elements(By.CSS_SELECTOR, "#lens-legend .tick")] == ["0", "1", "2", "3"]
    assert browser.find_element(By.ID, "lens-legend").text.endswith("of 3 (layer, KV head) segments")


def test_every_budget_shades_what_its_segments_hold(seen, opened):
    browser = opened(seen)
    slider = browser.find_element(By.ID, "lens-budget")
    slider.send_keys(Keys.HOME)
    for budget in seen.sweep.budgets:
        held = [own for layer in seen.sweep.kept(budget) for own in layer]
        shown = browser.execute_script(
            "return [...document.querySelectorAll('.document span')]"
            ".map((span) => Number(span.className.match(/shade-(\\d)/)[1]))"
        )
        counts = [sum(index in own for own in held) for index in range(len(seen.tokens))]
        # Of 6 segments: 1; 2 (7 ln 2 / ln 6 = 2.7); 3 (4.3); 4 (5.4); 5 (6.3); all.
        assert shown == [[0, 1, 3, 5, 6, 7, 8][count] for count in counts]
        slider.send_keys(Keys.ARROW_RIGHT)


def test_keys_walk_through_a_long_prompt(long, opened):
    browser = opened(long)
    text = browser.find_element(By.CSS_SELECTOR, ".document")
    text.send_keys(Keys.END)
    assert current(browser) == LONG - 1
    assert visible(browser, LONG - 1)
    text.send_keys(Keys.HOME)
    assert current(browser) == 0
    text.send_keys(Keys.ARROW_RIGHT)
    assert current(browser) == 1
    pages = [1]
    for _ in range(3):
        text.send_keys(Keys.PAGE_DOWN)
        pages.append(current(browser))
        assert visible(browser, pages[-1])
    steps = [after - before for before, after in pairwise(pages)]
    assert min(steps) > 50
    assert max(steps) < 2 * min(steps)
    for back in pages[-2::-1]:
        text.send_keys(Keys.PAGE_UP)
        assert abs(current(browser) - back) < min(steps) / 2
    assert browser.find_element(By.ID, "lens-token").text.startswith("Token ")


def test_next_most_kept_goes_from_the_most_kept_down(long, opened):
    browser = opened(long)
    slider = browser.find_element(By.ID, "lens-budget")
    slider.send_keys(Keys.HOME, Keys.ARROW_RIGHT)
    button = browser.find_element(By.ID, "lens-most")
    told = []
    for _ in range(4):
        button.click()
        told.append(browser.find_element(By.ID, "lens-token").text)
        assert visible(browser, current(browser))
    assert told[0] == "Token 2, “" + long.tokens[2].text.strip() + "”: kept by 18 of 18."
    assert told[1].startswith("Token 3, ")
    assert told[2].startswith("Token 1, ")
    assert told[2].endswith("kept by 5 of 18.")
    counts = [int(each.rpartition("kept by ")[2].split()[0]) for each in told]
    assert counts == sorted(counts, reverse=True)


def test_search_marks_and_goes_on(long, opened):
    browser = opened(long)
    field, said = (browser.find_element(By.ID, name) for name in ("lens-find", "lens-found"))
    field.send_keys("needle")
    assert (said.text, current(browser)) == ("1 of 2", 4000)
    assert visible(browser, 4000)
    assert "found" in names(browser, 8000)
    field.send_keys(Keys.ENTER)
    assert (said.text, current(browser)) == ("2 of 2", 8000)
    field.send_keys(Keys.SHIFT, Keys.ENTER)
    assert (said.text, current(browser)) == ("1 of 2", 4000)
    field.send_keys(" (.*")
    assert said.text == "not in the prompt"
    assert browser.find_elements(By.CSS_SELECTOR, ".document .found") == []
    field.clear()
    field.send_keys(f"{long.tokens[5].text.strip()} {long.tokens[6].text.strip()}")
    assert all("found" in names(browser, index) for index in (5, 6))


def test_the_map_shows_where_the_kept_ones_are_and_leads_there(long, opened):
    browser = opened(long)
    bins = browser.find_elements(By.CSS_SELECTOR, ".minimap i")
    assert bins[0].get_attribute("class") == "shade-8"
    assert {each.get_attribute("class") for each in bins} <= {f"shade-{level}" for level in range(9)}
    script = """
      const map = document.querySelector('.minimap');
      const { left, top, height } = map.getBoundingClientRect();
      const at = { clientX: left + 2, clientY: top + height / 2, buttons: 1, bubbles: true };
      map.dispatchEvent(new PointerEvent('pointerdown', at));"""
    browser.execute_script(script)
    assert visible(browser, LONG // 2)
    pane = browser.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => "
        "done(parseFloat(document.querySelector('.pane').style.top))))"
    )
    assert 40 < pane < 51


def test_a_slider_over_a_long_prompt_writes_only_what_changes(long, opened):
    """No time is asserted: what makes it slow are styles of thousands of tokens of which few change."""
    browser = opened(long)
    assert browser.execute_script("return document.querySelectorAll('.document [style]').length") == 0
    assert set(
        browser.execute_script(
            "return [...document.querySelectorAll('.document span, .map button')]"
            ".map((each) => getComputedStyle(each).transitionDuration)"
        )
    ) == {"0s"}
    script = """
      window.changed = 0;
      new MutationObserver((all) => { window.changed += all.length; })
        .observe(document.querySelector('.document'), { subtree: true, attributes: true, childList: true });"""
    browser.execute_script(script)
    browser.find_element(By.ID, "lens-budget").send_keys(Keys.ARROW_LEFT)
    changed = browser.execute_script("return window.changed")
    before = {position for own in chain.from_iterable(long.sweep.order) for position in own}
    assert 0 < changed <= len(before)


def test_print_shows_the_whole_prompt_with_its_shades(long, opened):
    browser = opened(long)
    browser.execute_script("document.documentElement.dataset.theme = 'dark'")
    shaded = style(browser, 2, "background-color")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        whole = "const box = document.querySelector('.document'); return box.scrollHeight <= box.clientHeight + 1"
        assert browser.execute_script(whole)
        printed = style(browser, 2, "background-color")
        assert printed not in (shaded, "rgba(0, 0, 0, 0)"), "paper is white"
        assert style(browser, 2, "print-color-adjust") == "exact"
        assert not browser.find_element(By.CSS_SELECTOR, ".minimap").is_displayed()
        assert not browser.find_element(By.ID, "lens-budget").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def rows(browser):
    found = browser.find_elements(By.CSS_SELECTOR, ".answers tbody tr")
    return [[cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")] for row in found]


def test_the_card_compares_bytes_and_pairs_before_time(seen, opened):
    browser = opened(seen)
    head = [each.text for each in browser.find_elements(By.CSS_SELECTOR, ".answers thead th")]
    assert head == ["policy", "cache", "prompt pairs", "answer", "time, one run"]
    none, full, evicted = rows(browser)
    assert [none[0], full[0], evicted[0]] == ["none", "full", "maskkv, budget 5"]
    assert none[1:3] == ["no cache", "none kept"]
    assert full[2] == f"{seen.evictable * 3 * 2:,}"
    pairs = sum(len(own) for layer in seen.kept for own in layer)
    assert evicted[2].split("\n") == [str(pairs), f"{float(f'{100 * pairs / seen.full.pairs:.3g}'):g} % of full"]
    assert evicted[1].endswith(" % of full")
    for row, run in zip((none, full, evicted), (seen.none, seen.full, seen.evicted), strict=True):
        assert row[3].split() == run.text.split()
        assert row[4] == f"{run.latency_s:.2f} s"
    marks = browser.find_elements(By.CSS_SELECTOR, ".answers tbody tr:last-child mark")
    said = [(seen.evicted.said + [None] * 8)[place] for place in seen.differing]
    assert [each.text for each in marks] == [text.strip() for text in said if text is not None]


def test_a_token_of_the_answer_shows_what_its_row_reads_by_layer_and_head(seen, opened):
    browser = opened(seen)
    buttons = browser.find_elements(By.CSS_SELECTOR, ".said button")
    assert [each.text for each in buttons] == [text.strip() for text in seen.evicted.said]
    buttons[1].click()
    for layer, head in ((None, None), (1, 0)):
        if layer is not None:
            browser.find_elements(By.CSS_SELECTOR, ".map button")[layer * 2 + head].click()
        every = [(each, own) for each in range(3) for own in range(2)]
        chosen = [seen.reads[1][each][own] for each, own in every if (layer, head) in ((None, None), (each, own))]
        weights = [0.0] * len(seen.tokens)
        for read in chosen:
            for position, weight in zip(read.positions, read.weights, strict=True):
                weights[position] += weight / len(chosen)
        assert marked(browser) == {position for position, weight in enumerate(weights) if weight > 0}
        heaviest = max(range(len(weights)), key=lambda position: (weights[position], -position))
        assert "shade-8" in names(browser, heaviest)
        said = browser.find_element(By.ID, "lens-reads").text
        prompt = 100 * sum(read.prompt for read in chosen) / len(chosen)
        assert f"reads {float(f'{prompt:.2g}'):g} % from kept pairs" in said
        part = float(f"{100 * weights[heaviest]:.2g}")
        assert f"most from “{seen.tokens[heaviest].text.strip()}” ({heaviest}) {part:g} %" in said
        assert browser.find_element(By.ID, "lens-legend").text.startswith("Read by this token’s row")
    browser.find_element(By.ID, "lens-most").click()
    assert current(browser) == heaviest
    browser.find_element(By.ID, "lens-budget").send_keys(Keys.HOME)
    assert browser.find_elements(By.CSS_SELECTOR, ".said [aria-pressed=true]") == []
    assert browser.find_element(By.ID, "lens-legend").text.startswith("Kept by")


def marked(browser):
    script = "return [...document.querySelectorAll('.document span')].map((each) => each.matches('.kept'))"
    return {index for index, here in enumerate(browser.execute_script(script)) if here}
