"""Every end that a request can have says what happened, and what there was of an answer stays."""

import re

import pytest
from selenium.webdriver.common.keys import Keys

from maskkv.mini import sample
from maskkv.server.page_api import FIRST
from tests.server.browsing import MADE, Line, Page
from tests.server.live import Gate, until


def held(page, gate, steps):
    """Ask, and wait until so many steps are shown and the model is held before the next."""
    page.fill()
    page["go"].click()
    gate.pass_steps(steps)
    page.wait(lambda: page.text("progress").startswith(f"Step {steps}: "))


def of_the_answer(page):
    return {each.get_attribute("class"): each.text for each in page.all("#answer span")}


def test_stop_keeps_what_is_decided_and_the_next_answer_takes_its_place(browser, start, llm):
    with start() as live:
        gate = Gate(live.runner)
        page = Page(browser, live.url)
        page.ready()
        page.fill()
        page["go"].click()
        page.wait(lambda: re.fullmatch(r"The model reads the prompt of 1\d\d tokens …", page.text("state")))
        assert of_the_answer(page) == {"masked": "· · · · · · · ·"}
        page.set("step", "0")  # there is no step to show yet
        assert "SEVERE" not in [entry["level"] for entry in browser.get_log("browser")]
        page.wait(lambda: page.text("progress").endswith(" s"))  # whoever waits sees it
        gate.pass_steps(3)
        page.wait(lambda: page.text("progress") == "Step 3: 3 of 8 positions decided.")
        assert page.text("status").startswith("Step 3 of 3 so far: ")
        page["stop"].click()
        page.done()
        assert page.text("state") == "Stopped by you after step 3: 3 of 8 positions are decided."
        assert page.text("progress") == page.text("problem") == page.text("looking") == ""
        whole = llm.generate(f"{MADE.document}\n\n{MADE.question}", gen_length=8, policy="maskkv", budget=8).text
        partial = of_the_answer(page)
        assert set(partial) == {"committed", "provisional"}
        assert set(partial["committed"].split()) <= {*whole.split(), "∎"}
        assert page.text("status").startswith("Step 3 of 3: ")
        assert page["copy"].is_displayed()
        gate.open()
        page.ask()
        assert page.text("answer") == whole
        assert page.text("state").startswith("Complete after 8 steps")


def test_a_line_that_breaks_is_told_and_so_is_one_that_is_gone(browser, start):
    with start() as live:
        gate = Gate(live.runner)
        line = Line(live.http.base_url.port)
        page = Page(browser, line.url)
        page.ready()
        held(page, gate, 2)
        kept = page.text("answer")
        line.cut()
        page.done()
        gate.open()
        assert page.text("state") == "Broken off after step 2: 2 of 8 positions are decided."
        assert page.text("problem").lower() == "the connection to the server was lost: is it still running?"
        page["go"].click()
        page.wait(lambda: "cannot be reached" in page.text("problem"))
        assert page.text("state") == "Not sent; no answer had begun. What is shown is the earlier answer."
        assert page.text("answer-heading") == "Earlier answer"
        assert page.text("answer") == kept
    browser.get_log("browser")


def test_a_server_that_ends_in_an_answer_says_why(browser, start):
    with start() as live:
        gate = Gate(live.runner)
        page = Page(browser, live.url)
        page.ready()
        held(page, gate, 2)
        live.runner.end()
        gate.open()
        page.done()
        assert page.text("state").startswith("Ended by the server after step ")
        assert page.text("problem").lower() == "the server is shutting down"


def test_a_refusal_after_an_answer_leaves_the_answer_and_says_so(page):
    page.ask()
    said = page.text("answer")
    page.ask(document="a zebra")
    assert "zebra" in page.text("problem")
    assert page.text("state") == "Refused; no answer had begun. What is shown is the earlier answer."
    assert (page.text("answer-heading"), page.text("answer")) == ("Earlier answer", said)
    assert page.all("#lens section")
    page.ask()
    assert (page.text("answer-heading"), page.text("problem")) == ("Answer", "")


def test_a_wrong_key_then_the_right_one(browser, start):
    with start(api_key="secret") as guarded:
        page = Page(browser, guarded.url)
        page.wait(lambda: page["key"].is_displayed())
        assert page.text("problem") == "This server needs an API key."
        page["key"].send_keys("wrong", Keys.TAB)
        page.wait(lambda: page.text("problem") == "The server does not accept this API key.")
        page["key"].clear()
        page["key"].send_keys("secret", Keys.TAB)
        page.ready()
        assert page.text("problem") == ""
        page["go"].click()
        page.done()
        assert page.text("verdict").startswith("✓ Right")
        assert page.all("#lens section")
        page["theme"].click()
        page.browser.refresh()
        assert "secret" not in page.run("return JSON.stringify({...localStorage, ...sessionStorage})")
        page.wait(lambda: page["key"].is_displayed())
        assert page.value("key") == ""
    browser.get_log("browser")


def test_an_answer_that_ends_early_leaves_no_masks_to_wait_for(page):
    page.ask(length=32)
    assert set(page.states()) > {"committed"}
    left = len([state for state in page.states() if state != "committed"])
    assert page.text("state").endswith(
        f"an end token is decided, so the {left} positions left behind it need no decision."
    )
    assert f"{left} masks behind the end are not needed" in page.text("status")
    page.set("step", "0")
    assert "31 masks left" in page.text("status")


def test_an_answer_that_is_cut_says_so(page):
    page.ask(length=2, **{"set-block_length": 2})
    assert page.text("state").endswith("all tokens asked for are decided and none ends the answer, so it may be cut.")


def test_a_wrong_answer_is_called_wrong_and_changed_words_expect_nothing(page, llm):
    made = sample(FIRST["task"], FIRST["length"], FIRST["seed"])
    said = llm.generate(f"{made.document}\n\n{made.question}", gen_length=8, policy="random", budget=1).text
    assert said != made.answer
    page.set("budget", "1")
    page.set("policy", "random")
    page["go"].click()
    page.done()
    assert page.text("verdict").startswith(f"✗ Wrong: the example expects “{made.answer}”.")
    page.set("question", f"{made.question} ")
    page["go"].click()
    page.done()
    assert page.text("verdict") == page.text("expects") == ""


def test_a_look_that_fails_leaves_the_answer_complete(browser, start, monkeypatch):
    def fail(*_):
        raise RuntimeError

    monkeypatch.setattr("maskkv.lens.look", fail)
    with start() as live:
        page = Page(browser, live.url)
        page.ready()
        page.ask()
        assert page.text("state").startswith("Complete after 8 steps")
        assert page.text("looking").startswith("The answer is complete, but not all of what was kept is shown: ")
        assert not page["download"].is_enabled()
    browser.get_log("browser")


@pytest.mark.parametrize("words", ["garbage", "data: {nonsense\n\n"])
def test_what_no_server_of_ours_sends_is_told(page, words):
    page.run(
        "const real = window.fetch; const words = arguments[0]; window.fetch = (path, options) =>"
        " (path === '/v1/chat/completions' ? Promise.resolve(new Response(words)) : real(path, options))",
        words,
    )
    page.ask()
    assert page.text("problem")
    assert page.text("state") == "Broken off; no answer had begun."


def test_a_page_that_is_left_frees_its_place(browser, start):
    with start() as live:
        gate = Gate(live.runner)
        page = Page(browser, live.url)
        page.ready()
        held(page, gate, 1)
        browser.get("about:blank")
        until(lambda: next(iter(live.runner._running.values())).job.cancelled)
        gate.open()
