"""The page of a policy that recalls: the film in its data, and the slider over the steps in a browser."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import maskkv
from maskkv import lens, policies
from maskkv.generation import Generation
from maskkv.mini import sample
from maskkv.mixing import mix
from tests.cli.tiny import save_tiny
from tests.lens.test_page import Elements

HOST = mix(policies.named("maskkv"), evicted="host")
HEADS = 2


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    llm = maskkv.load(save_tiny(tmp_path_factory.mktemp("tiny")))
    tokens = llm.prompt_tokens(sample("multi-key", 60, 4).content)
    # The prompt is read again, and the policy votes, in the sixth step of eight.
    return lens.inspect(llm, tokens, Generation(gen_length=8, prompt_interval=5, stop_at_eos=False), HOST, 5)


def unpacked(packed):
    """Read the film as the page does, by the words of `_packed_film`."""
    numbers = iter(np.frombuffer(base64.b64decode(packed["changes"]), f"<u{packed['size']}").tolist())

    def several(count):
        return [next(numbers) for _ in range(count)]

    first = [[several(next(numbers)) for _ in range(HEADS)] for _ in range(3)]
    frames = []
    for frame in packed["frames"]:
        came, went, asked_by = [], [], []
        for _ in range(next(numbers)):
            segment, coming, going = several(3)
            came += [(*divmod(segment, HEADS), position) for position in several(coming)]
            if frame["refresh"] != "prompt":
                asked_by += [row - 1 for row in several(coming)]
            went += [(*divmod(segment, HEADS), position) for position in several(going)]
        frames.append((came, went, asked_by))
    assert next(numbers, None) is None
    return first, frames


@pytest.mark.parametrize("size", [2, 4])
def test_the_page_carries_the_whole_film(seen, size):
    film = seen.film
    assert [frame.refresh for frame in film.frames].index("prompt", 1) == 5
    assert film.frames[5].came, "the second vote is to change something"
    if size == 4:
        far = replace(
            film.frames[1], came=[*film.frames[1].came, (2, 1, 1 << 16)], asked_by=[*film.frames[1].asked_by, -1]
        )
        film = replace(film, frames=[film.frames[0], far, *film.frames[2:]])
    page = lens.html(replace(seen, film=film), "x")
    data = json.loads(Elements(page).content["application/json"])["film"]
    assert data["size"] == size
    first, frames = unpacked(data)
    assert first == film.first
    assert frames == [(frame.came, frame.went, frame.asked_by) for frame in film.frames]
    assert data["frames"] == [
        {"refresh": frame.refresh, "positions": frame.positions, "pieces": frame.pieces} for frame in film.frames
    ]
    assert data["gen_length"] == 8


def test_its_one_script_imports_nothing(seen):
    script = Elements(lens.html(seen, "x")).content["module"]
    assert "import {" not in script
    assert " from " not in "".join(line for line in script.splitlines() if line.startswith(("import", "export")))


def marked(browser, name):
    script = (
        "return [...document.querySelectorAll('.document span')].map((span) => span.classList.contains(arguments[0]))"
    )
    return {index for index, here in enumerate(browser.execute_script(script, name)) if here}


def test_the_keys_go_through_the_steps(seen, opened):
    browser = opened(seen)
    step, said = (browser.find_element(By.ID, name) for name in ("lens-step", "lens-step-said"))
    live = set(range(seen.evictable, len(seen.tokens)))
    for number, frame in enumerate(seen.film.frames):
        voted = frame.refresh == "prompt"
        kept = {position for layer in seen.film.kept(number) for own in layer for position in own}
        assert said.text.startswith(f"Step {number + 1} of {len(seen.film.frames)}: ")
        assert ("the policy voted" if voted else f"{len(frame.came)} pairs came back") in said.text
        assert marked(browser, "kept") == kept | live
        assert marked(browser, "back") == (set() if voted else {position for _, _, position in frame.came})
        step.send_keys(Keys.ARROW_RIGHT)


def test_a_token_tells_for_which_row_it_came_back(seen, opened):
    browser = opened(seen)
    number = next(index for index, frame in enumerate(seen.film.frames) if frame.asked_by)
    frame = seen.film.frames[number]
    browser.find_elements(By.CSS_SELECTOR, ".strip button")[number].click()
    browser.find_element(By.CSS_SELECTOR, ".document").send_keys(Keys.ARROW_DOWN)
    told = browser.find_element(By.ID, "lens-token").text
    position = min(each for _, _, each in frame.came)
    assert told.startswith(f"Token {position}, ")
    rows = {row for pair, row in zip(frame.came, frame.asked_by, strict=True) if pair[2] == position}
    for pair, row in zip(frame.came, frame.asked_by, strict=True):
        if pair[2] == position:
            assert f"layer {pair[0]} KV head {pair[1]}" in told
            assert f"row {row}, " in told
    cells = browser.find_elements(By.CSS_SELECTOR, ".response span")
    assert {row for row, cell in enumerate(cells) if "current" in cell.get_attribute("class")} == rows


def test_another_budget_shows_its_first_vote(seen, opened):
    browser = opened(seen)
    browser.find_elements(By.CSS_SELECTOR, ".strip button")[2].click()
    browser.find_element(By.ID, "lens-budget").send_keys(Keys.HOME)
    assert browser.find_element(By.ID, "lens-step-said").text.startswith("Step 1 of ")
    assert marked(browser, "back") == set()
    assert marked(browser, "kept") == {place for layer in seen.sweep.kept(1) for own in layer for place in own}
    browser.find_elements(By.CSS_SELECTOR, ".strip button")[1].click()
    assert browser.find_element(By.ID, "lens-budget-said").text.startswith("5 of ")


def test_a_policy_that_drops_has_no_steps_to_show(seen, opened):
    browser = opened(replace(seen, film=None))
    assert browser.find_elements(By.CSS_SELECTOR, "#lens-step, .film, .response") == []
    assert len(browser.find_elements(By.CSS_SELECTOR, "#lens-map option")) == 2
