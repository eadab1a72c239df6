"""What goes into the page and comes out of it: files, what a reload keeps, copies and reports."""

import json
import re
from pathlib import Path

from maskkv import records
from maskkv.server.page_api import FIRST
from tests.server.browsing import MADE

DROP = """
const [parts, name, kind] = [arguments[0], arguments[1], 'drop'];
const data = new DataTransfer();
for (const part of parts) data.items.add(new File([new Uint8Array(part)], name));
const event = new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true});
document.body.dispatchEvent(event);
return event.defaultPrevented;
"""


def drop(page, *contents, name="notes.txt"):
    return page.run(DROP, [list(content) for content in contents], name)


def test_a_file_may_be_dropped_anywhere_and_what_is_no_text_is_refused(page):
    assert drop(page, MADE.document.encode())
    page.wait(lambda: page.value("document") == MADE.document)
    assert page.text("size").startswith(f"{len(MADE.document.split())} words, ")
    assert page.text("expects") == ""  # the example's answer is not this document's
    drop(page, b"\xff\xfe")
    page.wait(lambda: page.text("problem").lower() == "notes.txt is not utf-8 text: save it as utf-8")
    assert page.value("document") == MADE.document
    drop(page, b"a", b"b")
    page.wait(lambda: page.text("problem").lower().startswith("2 files: "))
    page.run(DROP.replace("new Uint8Array(part)", "'a'.repeat(5e6)"), [[]], "long.txt")
    page.wait(lambda: "takes at most 4,194,304" in page.text("problem"))


def test_a_file_may_be_opened(page, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("the ship sleeps .", encoding="utf-8")
    page["file"].send_keys(str(path))
    page.wait(lambda: page.value("document") == "the ship sleeps .")


def test_another_example_may_be_made(page):
    page.set("example", "two-hop")
    before = page.value("document")
    page["take"].click()
    page.wait(lambda: page.value("document") != before)
    assert (page.value("length"), page.value("question")[:10]) == ("16", "question :")
    assert page.text("expects").startswith("The right answer of this example is known")


def test_document_question_settings_and_theme_survive_a_reload(page):
    page["theme"].click()
    page["theme"].click()
    assert page.text("theme") == "Theme: dark"
    dark = page.run("return getComputedStyle(document.body).backgroundColor")
    chosen = {"document": "the ship sleeps .", "question": "who ?", "budget": "5%", "policy": "h2o", "speed": "2"}
    chosen |= {"length": "24", "set-steps": "3", "set-evicted": "host"}
    for name, value in chosen.items():
        page.set(name, value)
    page.browser.refresh()
    page.ready()
    assert {name: page.value(name) for name in chosen} == chosen
    assert page.text("theme") == "Theme: dark"
    assert page.run("return getComputedStyle(document.body).backgroundColor") == dark
    assert page.text("policy-hint").startswith("H2O")
    page["settings"].find_element("tag name", "summary").click()
    page["forget"].click()
    page.wait(
        lambda: page.run("return document.readyState") == "complete" and page.value("budget") == str(FIRST["budget"])
    )
    page.ready()
    assert page.value("policy") == "maskkv"
    assert page.text("theme") == "Theme: system"


def test_the_expected_answer_of_an_example_survives_with_it(page):
    page.browser.refresh()
    page.ready()
    assert page.text("expects").startswith("The right answer of this example is known")


def test_a_document_that_is_too_long_to_be_remembered_is_said_to_be(page):
    page.set("document", "a " * 100_001)
    page.wait(lambda: page.text("memory-hint") == "A reload forgets it: it has more than 200,000 characters.")
    page.browser.refresh()
    page.wait(lambda: page.text("memory-hint") == "The document was too long to be remembered: open it again.")
    assert page.value("document") == ""
    assert len(page.run("return localStorage.getItem('maskkv.page')")) < 2000


def test_a_memory_that_somebody_else_wrote_does_no_harm(page):
    for wrong in ("{", "null", "[1]", json.dumps({"document": 3, "policy": "nosuch", "theme": "x", "speed": "99"})):
        page.browser.execute_cdp_cmd("Page.navigate", {"url": "about:blank"})
        page.browser.back()
        page.ready()
        page.run(
            "window.addEventListener('pagehide', () => localStorage.setItem('maskkv.page', arguments[0]))".replace(
                "arguments[0]", json.dumps(wrong)
            )
        )
        page.browser.refresh()
        page.ready()
        assert (page.value("policy"), page.value("speed"), page.text("theme")) == ("maskkv", "1", "Theme: system")


def test_the_answer_may_be_copied(page):
    page.ask(policy="full")
    page.run("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page["copy"].click()
    page.wait(lambda: page.text("tools-said") == "Copied.")
    assert page.run("return window.copied") == page.text("answer") != ""
    page.run("navigator.clipboard.writeText = async () => { throw new Error('not allowed'); }")
    page["copy"].click()
    page.wait(lambda: "press Ctrl + C" in page.text("tools-said"))
    assert page.run("return String(getSelection())").strip() == page.text("answer")


def test_the_view_may_be_kept_as_a_file_that_runs_no_code_of_the_document(page, tmp_path):
    allowed = {"behavior": "allow", "downloadPath": str(tmp_path)}
    page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
    page.ask()
    kept = len(page.all("#lens .document .kept"))
    page["download"].click()
    path = tmp_path / "maskkv-mini-kept.html"
    page.wait(path.exists)
    assert page.text("tools-said").startswith("Saved as a file")
    hostile = "</script><script>document.title = 1</script><!-- $& "
    page.run(
        "const [document, text] = arguments; window.kept = false;"
        "const body = {messages: [{role: 'user', content: document}], budget: 8, max_tokens: 8};"
        "const options = {method: 'POST', headers: {'content-type': 'application/json'}, body: JSON.stringify(body)};"
        "import('/static/download.js').then(async (down) => {"
        "  const data = await (await fetch('/api/lens', options)).json(); data.tokens[1] = text;"
        "  await down.report(data, 'hostile.html'); })",
        MADE.content,
        hostile,
    )
    page.wait((tmp_path / "hostile.html").exists)
    page.browser.get(path.as_uri())
    assert page.browser.title == "What maskkv-mini kept of a prompt"
    assert len(page.all("#lens .document .kept")) == kept
    page.browser.get((tmp_path / "hostile.html").as_uri())
    assert page.browser.title == "What maskkv-mini kept of a prompt"
    assert hostile.strip() in page.all("#lens .document")[0].text


def test_the_first_example_is_no_lucky_one():
    """The records have all documents of its kind right on its pairs; they are twice as long."""
    (record,) = (
        each
        for each in records.read(Path(__file__).parents[2] / "results" / "retention" / "mini.jsonl")
        if (each["task"], each["policy_name"], each["budget"]) == (FIRST["task"], "maskkv", FIRST["budget"])
    )
    assert (record["score"], record["n"], FIRST["seed"]) == (1.0, 200, 0)


def test_the_first_example_is_one_of_the_servers(live):
    made = live.http.get("/api/example", params={name: FIRST[name] for name in ("task", "length", "seed")}).json()
    assert re.fullmatch(r"\w+ holds (\w+ )+\.", made["answer"])
