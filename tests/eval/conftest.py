"""One tiny checkpoint for all tests of evaluations."""

import pytest

import maskkv
from maskkv.loading import Loading
from tests.cli.tiny import save_tiny
from tests.eval.spelling import save_speller


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    return Loading(str(save_tiny(tmp_path_factory.mktemp("tiny"))))


@pytest.fixture(scope="session")
def llm(source):
    return maskkv.load(source.model)


@pytest.fixture(scope="session")
def speller(tmp_path_factory):
    return maskkv.load(save_speller(tmp_path_factory.mktemp("speller")))
