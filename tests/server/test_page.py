"""The page as somebody uses it, in a browser."""

import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from maskkv.mini import sample
from tests.server.live import PATIENCE_S

DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(DRIVER is None, reason="there is no chromedriver")
MADE = sample("single-key", 120, 3)


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


class Page:
    def __init__(self, browser, url):
        self.browser = browser
        browser.get_log("browser")
        browser.get(f"{url}/")
        self.wait(lambda: self.text("model"))

    def __getitem__(self, name):
        return self.browser.find_element(By.ID, name)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, condition):
        return WebDriverWait(self.browser, PATIENCE_S, poll_frequency=0.05).until(lambda _: condition())

    def text(self, name):
        return self[name].text

    def set(self, name, value):
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        self.browser.execute_script(script, self[name], value)

    def width(self, pixels):
        metrics = {"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def ask(self, document=MADE.document, question=MADE.question, budget=8):
        self.set("document", document)
        self.set("question", question)
        self.set("budget", str(budget))
        self.set("length", "8")
        self["go"].click()
        self.wait(lambda: self.all("#lens section") or self.text("problem"))

    def states(self):
        return [cell.get_attribute("class").split()[1] for cell in self.all("#canvas .cell")]


@pytest.fixture
def page(browser, live):
    made = Page(browser, live.url)
    made.width(1200)
    yield made
    told = [entry for entry in browser.get_log("browser") if "favicon" not in entry["message"]]
    assert [entry for entry in told if entry["level"] == "SEVERE" and "status of 4" not in entry["message"]] == []


def test_the_answer_condenses_and_can_be_scrubbed(page, llm):
    page.ask()
    answer = llm.generate(f"{MADE.document}\n\n{MADE.question}", gen_length=8, policy="maskkv", budget=8).text
    assert page.text("answer") == answer
    assert page.states() == ["committed"] * 8
    page.set("step", "0")
    assert page.states().count("committed") == 1
    assert page.states().count("provisional") == 7
    assert page.text("status").startswith("Step 1 of 8: the prompt was read, 7 masks left; cache ")
    page["play"].click()
    assert page.text("play") == "Pause"
    page.wait(lambda: page.text("play") == "Play")
    assert page.states() == ["committed"] * 8


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
    page.set("document", MADE.content)
    page.set("length", "8")
    page["go"].click()
    page.wait(lambda: page.text("answer") and page["go"].is_enabled())
    assert page.all("#lens section") == []


def test_an_example_needs_no_document(page):
    page["take"].click()
    page.wait(lambda: page["document"].get_attribute("value"))
    assert page["question"].get_attribute("value").startswith("question :")
    page["go"].click()
    page.wait(lambda: page.text("expected"))
    assert page.text("expected").startswith("Expected: ")


def test_documents_are_text_and_unknown_words_are_named(page):
    page.ask(document="anna holds <img src=x onerror=document.title=1> zebra .")
    assert "the model does not know: '<', 'img'" in page.text("problem")
    assert page.browser.title == "maskkv"
    page.ask(document=MADE.document)
    assert page.text("problem") == ""
    page.set("document", " ")
    page["go"].click()
    assert page.text("problem").startswith("there is no document")


def test_it_fits_a_telephone_and_a_wide_screen(page):
    page.ask()
    for width in (400, 1600):
        page.width(width)
        assert page.browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_dark_and_light_are_a_button_away(page):
    def paper():
        return page.browser.execute_script("return getComputedStyle(document.body).backgroundColor")

    page["theme"].click()
    light = paper()
    page["theme"].click()
    assert page.text("theme") == "Theme: dark"
    assert paper() != light


def test_the_keyboard_is_enough(page):
    page["document"].send_keys(MADE.content)
    page.set("length", "8")
    page["question"].send_keys(Keys.CONTROL, Keys.ENTER)
    page.wait(lambda: page.all("#lens section") and page["go"].is_enabled())
    page["step"].send_keys(Keys.HOME)
    assert page.text("status").startswith("Step 1 of 8")
    reached = set()
    page["theme"].send_keys("")
    for _ in range(25):
        ActionChains(page.browser).send_keys(Keys.TAB).perform()
        reached.add(page.browser.switch_to.active_element.get_attribute("id"))
    assert {
        "document",
        "take",
        "question",
        "policy",
        "budget",
        "length",
        "go",
        "play",
        "step",
        "lens-budget",
    } <= reached


def test_a_key_is_asked_for_where_one_is_needed(browser, start):
    with start(api_key="secret") as guarded:
        browser.get(f"{guarded.url}/")
        WebDriverWait(browser, PATIENCE_S).until(lambda _: browser.find_element(By.ID, "key").is_displayed())
        browser.find_element(By.ID, "key").send_keys("secret", Keys.TAB)
        WebDriverWait(browser, PATIENCE_S).until(lambda _: browser.find_element(By.ID, "model").text)
