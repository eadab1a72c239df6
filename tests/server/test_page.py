"""The page in a browser: one question from the first screen to the lens."""

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from maskkv.mini import sample, score
from maskkv.server.page_api import FIRST
from tests.server.browsing import MADE


def test_one_click_shows_a_film_that_ends_in_the_right_answer(page, llm):
    made = sample(FIRST["task"], FIRST["length"], FIRST["seed"])
    assert (page.value("document"), page.value("question")) == (made.document, made.question)
    assert page.all(".lead")[0].text.startswith("Ask a diffusion language model about a document")
    assert "It knows 516 words" in page.text("limits")
    assert "reads prompts of up to 32,768 tokens and writes up to 4,096" in page.text("limits")
    assert page.run("return arguments[0].compareDocumentPosition(arguments[1])", page["limits"], page["document"]) & 4
    page["go"].click()
    page.done()
    assert score(made, page.text("answer"))
    assert page.text("verdict").startswith("✓ Right")
    assert page.text("state").startswith(f"Complete after {len(page.states())} steps")
    assert page.all("#lens section")
    assert page.text("looking") == page.text("problem") == page.text("progress") == ""


def test_the_answer_condenses_and_can_be_scrubbed(page, llm):
    page.ask()
    answer = llm.generate(f"{MADE.document}\n\n{MADE.question}", gen_length=8, policy="maskkv", budget=8).text
    assert page.text("answer") == answer
    assert page["spoken"].get_attribute("textContent").startswith(f"Answer: {answer}.")
    assert page.states() == ["committed"] * 8
    page.set("step", "0")
    assert page.states().count("committed") == 1
    assert page.states().count("provisional") == 7
    assert page.text("status").startswith("Step 1 of 8: the prompt was read, 7 masks left; cache ")
    page.set("speed", "8")
    page["play"].click()
    assert page.text("play") == "Pause"
    page.wait(lambda: page.text("play") == "Play")
    assert page.states() == ["committed"] * 8


def test_the_film_has_its_speed(page):
    page.ask()
    page.run(
        "window.paces = []; const real = window.setInterval;"
        "window.setInterval = (work, pace) => { window.paces.push(pace); return real(work, pace); }"
    )
    page.set("step", "0")
    page["play"].click()
    page.set("speed", "0.25")  # it goes on at the other speed
    page["play"].click()
    assert page.text("play") == "Play"
    assert page.run("return window.paces") == [280, 1120]


def test_the_lens_narrows_by_budget_layer_and_head(page):
    page.ask()
    kept = len(page.all("#lens .document .kept"))
    page.set("lens-budget", "0")
    fewer = len(page.all("#lens .document .kept"))
    assert 0 < fewer < kept
    assert page.text("lens-budget-said").startswith("1 of ")
    Select(page["lens-layer"]).select_by_value("2")
    Select(page["lens-head"]).select_by_value("1")
    assert len(page.all("#lens .document .kept")) <= 18
    assert page.all(".map [aria-pressed=true]")[0].get_attribute("aria-label").startswith("layer 2, KV head 1: ")
    assert len(page.all("#lens .answers tbody tr")) == 3


def test_a_policy_that_keeps_everything_has_no_lens(page):
    Select(page["policy"]).select_by_value("full")
    assert not page["budget"].is_enabled()
    assert page.text("policy-hint").startswith("dLLM-Cache")
    page.ask()
    assert page.text("answer")
    assert page.all("#lens section") == []
    assert page.text("looking") == "Policy full evicts nothing, so there is no view of what is kept."
    assert not page["download"].is_enabled()


def test_documents_are_text_and_unknown_words_are_named(page):
    page.ask(document="anna holds <img src=x onerror=document.title=1> zebra .")
    assert "the model does not know: '<', 'img'" in page.text("problem").replace("The", "the")
    assert page.browser.title == "maskkv"
    page.ask(document=MADE.document)
    assert page.text("problem") == ""
    page.ask(document=" ")
    assert page.text("problem").lower().startswith("there is no document")


def test_settings_reach_the_request_and_empty_ones_are_left_to_the_server(page):
    page["settings"].find_element("tag name", "summary").click()
    page.listen()
    page.ask(**{"set-steps": 4})
    given = {"policy", "budget", "max_tokens", "messages", "steps", "evicted"}
    asked, looked = page.sent()
    assert set(asked) == given | {"stream", "diffusing"}
    assert (asked["steps"], asked["evicted"], looked["steps"]) == (4, "drop", 4)
    assert page.text("state").startswith("Complete after 4 steps")
    assert page.text("status").startswith("Step 4 of 4: ")
    wanted = {"block_length": 4, "temperature": 0.5, "threshold": 0.9, "seed": 3}
    wanted |= {"prompt_interval": 7, "response_interval": 2, "transfer_ratio": 0.5, "evicted": "host"}
    page.listen()
    page.ask(budget="20%", **{"set-steps": "", **{f"set-{name}": value for name, value in wanted.items()}})
    assert {name: page.sent()[0].get(name) for name in wanted} == wanted
    assert page.sent()[0]["budget"] == "20%"
    assert "steps" not in page.sent()[0]
    assert page.text("problem") == ""
    assert page.all("#lens-step")  # pairs came back, so the lens has a film of its own
    assert page.all("#settings summary")[0].text == "More settings (8 changed)"
    page["reset"].click()
    assert page.value("set-threshold") == ""
    assert page.value("set-evicted") == "drop"
    page["set-steps"].send_keys("1e")
    page.ask()
    assert page.text("problem").lower() == "steps: expected a number"


def test_the_keyboard_is_enough(page):
    page.fill()
    page["question"].send_keys(Keys.CONTROL, Keys.ENTER)
    page.wait(lambda: page.all("#lens section") and page["go"].is_enabled())
    page["step"].send_keys(Keys.HOME)
    assert page.text("status").startswith("Step 1 of 8")
    reached = set()
    page["theme"].send_keys("")
    for _ in range(30):
        ActionChains(page.browser).send_keys(Keys.TAB).perform()
        reached.add(page.browser.switch_to.active_element.get_attribute("id"))
    wanted = {"document", "example", "take", "file", "question", "go", "policy", "budget", "length"}
    assert wanted | {"copy", "download", "play", "speed", "step", "lens-budget"} <= reached
