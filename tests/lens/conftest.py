"""A browser for all tests of the lens, and how it opens a page."""

import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from maskkv import lens

DRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="package")
def browser():
    if DRIVER is None:
        pytest.skip("there is no chromedriver")
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, tmp_path):
    def open_page(seen):
        path = tmp_path / "lens.html"
        path.write_text(lens.html(seen, "x"), encoding="utf-8")
        browser.get(path.as_uri())
        return browser

    yield open_page
    assert browser.get_log("browser") == [], "no script may fail or be refused"
