"""The lens in the page while it is being made: what is kept first, then one answer after the other."""

import threading

from selenium.webdriver.common.by import By

from maskkv import lens
from tests.server.browsing import MADE

SHOW = """
  const [seen, names, done] = arguments;
  const { showLens } = await import('/static/lens/lens.js');
  window.report = Object.fromEntries(Object.entries(seen).filter(([name]) => !names.includes(name)));
  showLens(document.getElementById('lens'), window.report);
  done();
"""


def run(page, script, *given):
    return page.browser.execute_async_script(f"(async () => {{ {script} }}).apply(null, arguments)", *given)


def busy(page):
    script = "return [...document.querySelectorAll('.answers tbody tr')].map((row) => row.ariaBusy)"
    return page.browser.execute_script(script)


def test_a_report_without_answers_is_shown_and_takes_them_later(page, live):
    body = {"messages": [{"role": "user", "content": MADE.content}], "policy": "maskkv", "budget": 8, "max_tokens": 8}
    seen = live.http.post("/api/lens", json=body).json()
    run(page, SHOW, seen, ["evicted", "reads", "full", "none", "film", "differing"])
    assert busy(page) == ["true"] * 3
    assert "still being made" in page.all(".answers + *, section .about")[-1].text
    kept = len(page.all("#lens .document .kept"))
    assert kept > 8
    page.set("lens-budget", "0")
    narrowed = len(page.all("#lens .document .kept"))
    assert 0 < narrowed < kept
    more = """
      const [more, done] = arguments;
      const { showLens } = await import('/static/lens/lens.js');
      window.report = { ...window.report, ...more };
      showLens(document.getElementById('lens'), window.report);
      done();"""
    run(page, more, {"evicted": seen["evicted"], "film": None})
    assert busy(page) == ["true", "true", "false"]
    run(page, more, {"full": seen["full"], "none": seen["none"]})
    assert busy(page) == ["false"] * 3
    assert "still being made" not in page.all("#lens .about")[-1].text
    assert page["lens-budget"].get_attribute("value") == "0"
    assert len(page.all("#lens .document .kept")) == narrowed


def test_the_shaded_document_shows_before_the_full_cache_has_answered(page, monkeypatch):
    found, look = threading.Event(), lens.look

    def held(*given):
        pieces = look(*given)
        for piece in pieces:
            yield piece
            while getattr(piece, "phase", "") == "answering under full" and not found.is_set():
                yield piece

    monkeypatch.setattr("maskkv.lens.look", held)
    try:
        page.fill()
        page["go"].click()
        page.wait(lambda: page.text("looking").startswith("Answering under full"))
        assert page.all("#lens .document .kept")
        assert busy(page) == ["true", "true", "false"]
    finally:
        found.set()
    page.wait(lambda: busy(page) == ["false"] * 3)
    page.wait(lambda: page.text("looking") == "")
    assert page.browser.find_element(By.CSS_SELECTOR, ".answers .evicted .answer").text
