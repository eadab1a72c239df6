"""One model for all tests of the server, and one server for those that need no other settings."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import pytest

import maskkv
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
