"""One model for all tests of the cluster; those on Ray make servers of it in processes of their own."""

import pytest

import maskkv


@pytest.fixture(scope="session")
def llm() -> maskkv.LanguageModel:
    return maskkv.load(policy="maskkv", budget=32, dtype="bfloat16")
