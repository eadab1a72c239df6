"""One model for all tests of the server, and one server for those that need no other settings."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import pytest

import maskkv
from tests.server.browsing import DRIVER, Page, browsing
from tests.server.live import Live, serving


@pytest.fixture(scope="session")
def llm() -> maskkv.LanguageModel:
    return maskkv.load(policy="maskkv", budget=32, dtype="bfloat16")  # what tests allow it in bytes is for that


@pytest.fixture(scope="session")
def live(llm: maskkv.LanguageModel) -> Iterator[Live]:
    with serving(llm) as started:
        yield started


@pytest.fixture(scope="session")
def start(llm: maskkv.LanguageModel) -> Callable[..., AbstractContextManager[Live]]:
    return partial(serving, llm)


@pytest.fixture(scope="session")
def browser():
    if DRIVER is None:
        pytest.skip("there is no chromedriver")
    with browsing() as driver:
        yield driver


@pytest.fixture
def page(browser, live):
    """Open the page of the server that all share; nothing but refusals may be in the browser's log at the end."""
    made = Page(browser, live.url)
    made.width(1200)
    made.ready()
    yield made
    told = [entry for entry in browser.get_log("browser") if "favicon" not in entry["message"]]
    assert [entry for entry in told if entry["level"] == "SEVERE" and "status of 4" not in entry["message"]] == []
