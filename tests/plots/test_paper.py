"""The paper's scores are carried over as it states them."""

import pytest

from maskkv.plots.paper import curves, retained

TASKS = [
    "qasper", "multifieldqa_en", "hotpotqa", "2wikimqa", "musique", "gov_report", "qmsum", "multi_news", "trec",
    "triviaqa", "samsum", "passage_retrieval_en", "lcc", "repobench-p",
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "policy", "budget", "average"),
    [
        ("GSAI-ML/LLaDA-8B-Instruct", "none", None, 39.14),
        ("GSAI-ML/LLaDA-8B-Instruct", "full", None, 38.61),
        ("GSAI-ML/LLaDA-8B-Instruct", "maskkv", 256, 36.42),
        ("GSAI-ML/LLaDA-8B-Instruct", "snapkv", 16, 18.23),
        ("Dream-org/Dream-v0-Instruct-7B", "maskkv", 512, 31.34),
        ("Dream-org/Dream-v0-Instruct-7B", "adakv", 64, 27.20),
    ],
)
def test_the_averages_that_the_paper_states_come_out(model, policy, budget, average):
    assert curves(model, TASKS)[policy][budget] == pytest.approx(average, abs=0.011)


def test_every_evicting_policy_has_six_budgets():
    stated = curves("LLaDA-8B-Instruct", ["trec"])
    assert {policy: len(curve) for policy, curve in stated.items()} == {
        "none": 1, "full": 1, "maskkv": 6, "snapkv": 6, "pyramidkv": 6, "squeezeattention": 6, "adakv": 6,
    }  # fmt: skip
    assert stated["maskkv"][16] == 28.50


def test_the_paper_says_nothing_of_other_models_and_tasks():
    assert curves("mini", ["qasper"]) == {}
    assert curves("LLaDA-8B-Instruct", ["qasper", "multi-key"]) == {}
    assert curves("LLaDA-8B-Base", ["qasper"]) == {}


def test_the_papers_retention_at_budget_256():
    kept = retained(curves("LLaDA-8B-Instruct", TASKS), "full")
    assert kept["maskkv"][256] == pytest.approx(94.3, abs=0.05)  # as its abstract says
    assert kept["full"][None] == 100.0
    assert retained({}, "full") == {}
