"""What answers come to, on numbers that a reader checks."""

import json
import math
from dataclasses import replace

import pytest

from maskkv import policies, records
from maskkv.errors import InputError
from maskkv.eval import conditions
from maskkv.eval.answering import ScoredAnswer, Variant
from maskkv.eval.cells import cell, merged
from maskkv.eval.conditions import Conditions, Held
from maskkv.eval.store import Store
from tests.eval.examples import task


def opened(folder):
    return Store(conditions.read, folder, "mini")


def record(policy, scores, budget=None, **others):
    return {
        "benchmark": "mini",
        "task": "single-key",
        "settings": {"length": 64},
        "policy": f"Policy({policy})",
        "policy_name": policy,
        "budget": budget,
        "scores": scores,
        "n": len(scores),
        **others,
    }


def test_retention_is_against_the_references_on_the_same_examples():
    full = record("full", [1.0, 1.0, 0.0, 0.0])
    evicted = record("maskkv", [1.0, 0.0, 0.0, 0.0], 4)
    found = merged([], [full, evicted, record("maskkv", [1.0, 1.0], 4)])
    assert found[1]["retention"]["full"]["ratio"] == 0.5
    assert found[1]["retention"]["none"] is None
    assert found[0]["retention"]["full"] == {"ratio": 1.0, "standard_error": 0.0}
    assert found[2]["retention"]["full"] is None  # on two documents only


VARIANT = Variant(policies.named("full"), None)
CONDITIONS = Conditions({"model": "m"}, {"seed": 3}, shared_prompt_pass=False, environment={})
ANSWERS = (
    ScoredAnswer(*VARIANT.names, "a", 1.0, 6, 8, 100, 200, latency_s=1.0, peak_memory_bytes=70, prompt_passes=2),
    ScoredAnswer(*VARIANT.names, "b", 0.0, 2, 4, 300, 400, latency_s=3.0, peak_memory_bytes=50, prompt_passes=1),
)


def measured(*answers):
    """Return the cell of two examples with these answers, each on a machine of its own."""
    known = {
        (CONDITIONS.identity(task()), 5 + index, *VARIANT.key): Held(
            10 + 20 * index, 16 - 8 * index, {"device": f"cuda:{index}", "torch": "2"}, each
        )
        for index, each in enumerate(answers)
    }
    return cell(CONDITIONS, task(numbers=range(5, 7)), VARIANT, known)


def test_a_cell_is_what_its_answers_come_to():
    found = measured(*ANSWERS)
    assert (found["n"], found["first_seed"], found["seed"], found["gen_length"]) == (2, 5, 3, 16)
    assert (found["score"], found["scores"], found["standard_error"]) == (0.5, [1.0, 0.0], pytest.approx(0.125**0.5))
    means = ("prompt_length", "steps", "prompt_passes", "tokens", "cache_bytes", "full_cache_bytes", "latency_s")
    assert [found[f"mean_{name}"] for name in means] == [20, 6, 1.5, 4, 200, 300, 2]
    assert (found["tokens_per_s"], found["peak_memory_bytes"]) == (2.0, 70)  # 8 tokens in 4 seconds
    assert (found["device"], found["torch"]) == (["cuda:0", "cuda:1"], "2")


def test_a_cell_that_lacks_an_answer_is_none():
    assert measured(ANSWERS[0]) is None


def test_what_only_some_answers_know_no_cell_says():
    found = measured(ANSWERS[0], replace(ANSWERS[1], latency_s=None, peak_memory_bytes=None, prompt_passes=None))
    unknown = ("mean_latency_s", "tokens_per_s", "peak_memory_bytes", "mean_prompt_passes")
    assert [found[name] for name in unknown] == [None] * 4


@pytest.mark.parametrize(
    "other",
    [
        {"schedule": {"steps": 4}}, {"length": 128}, {"settings": {"length": 128}}, {"first_seed": 7}, {"task": "b"},
        {"dtype": "bfloat16"}, {"rope_scale": 2.0}, {"profile": "p"}, {"fingerprint": "g"}, {"benchmark": "niah"},
    ],
)  # fmt: skip
def test_what_was_measured_otherwise_is_no_reference(other):
    found = merged([], [record("full", [1.0, 1.0]), record("maskkv", [1.0, 0.0], 4, **other)])
    assert found[1]["retention"]["full"] is None


@pytest.mark.parametrize(
    "other", [{"budget": 8}, {"policy": "Policy(other)"}, {"kv_dtype": "int8"}, {"shared_prompt_pass": True}]
)
def test_another_variant_is_another_cell(other):
    assert len(merged([record("maskkv", [1.0], 4)], [record("maskkv", [1.0], 4) | other])) == 2


def test_references_keep_their_pairs_exactly():
    exact, rounded = record("full", [1.0, 1.0]), record("full", [1.0, 0.0], kv_dtype="int8")
    found = merged([], [exact, rounded, record("maskkv", [1.0, 0.0], 4, kv_dtype="int8")])
    assert [each["retention"]["full"]["ratio"] for each in found] == [1.0, 0.5, 0.5]
    assert len(merged(found, [{**exact, "kv_dtype": "auto"}])) == 3, "older records do not name what they had"


def test_a_reference_without_scores_per_document_has_no_ratio():
    # As of a metric of lm-eval over the whole set, or one that was no number for some document.
    found = merged([], [record("full", [], n=2), record("maskkv", [1.0, 0.0], 4), record("snapkv", [], 4, n=2)])
    assert [each["retention"]["full"] for each in found] == [None, None, None]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scores", None),
        ("scores", "1.0"),
        ("scores", [1.0, "0"]),
        ("scores", [True]),
        ("scores", [math.nan]),
        ("scores", [math.inf, -math.inf]),
        ("scores", [10**400]),
        ("scores", [[1.0]]),
        ("policy_name", None),
        ("policy_name", ["full"]),
    ],
)
def test_records_of_something_else_are_refused_and_stay(tmp_path, name, value):
    file = tmp_path / "mini.jsonl"
    content = json.dumps(record("full", [1.0]) | {name: value})
    file.write_text(content)
    with pytest.raises(InputError, match=r"mini\.jsonl holds a line that is no record of scores: move it away"):
        opened(tmp_path)
    file.unlink()
    with opened(tmp_path) as store:
        file.write_text(content)  # meanwhile
        with pytest.raises(InputError, match="move it away"):
            store.keep([record("full", [1.0])])
    assert file.read_text() == content


def test_records_are_kept_beside_those_of_others(tmp_path):
    with opened(tmp_path) as store:
        store.keep([record("full", [1.0, 1.0])])
    with opened(tmp_path) as store:
        (own,) = store.keep([record("maskkv", [1.0, 0.0], 4)])
    assert own["retention"]["full"]["ratio"] == 0.5
    assert [each["policy_name"] for each in records.read(tmp_path / "mini.jsonl")] == ["full", "maskkv"]


def test_a_reference_that_comes_later_completes_earlier_records():
    evicted = merged([], [record("maskkv", [1.0, 0.0], 4)])
    assert merged(evicted, [record("none", [1.0, 1.0])])[0]["retention"]["none"]["ratio"] == 0.5


def test_a_reference_of_zero_retains_nothing_that_could_be_told():
    found = merged([], [record("full", [0.0, 0.0]), record("maskkv", [1.0, 0.0], 4)])
    assert found[1]["retention"]["full"] is None


def test_a_new_record_takes_the_place_of_the_same_cells_old_one():
    old = merged([], [record("full", [1.0]), record("none", [1.0])])
    new = merged(old, [record("full", [0.0])])
    assert [each["scores"] for each in new] == [[0.0], [1.0]]
