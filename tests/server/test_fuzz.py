"""Bodies that nobody thought of get an answer or an error of OpenAI's form, and never break the server."""

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode

from maskkv.mini import sample
from tests.server.live import PATIENCE_S, serving_apart, until

HEALTH = [
    HealthCheck.function_scoped_fixture,
    HealthCheck.too_slow,
    HealthCheck.filter_too_much,
    HealthCheck.data_too_large,
]
QUIETLY = {"deadline": None, "suppress_health_check": HEALTH, "derandomize": True, "database": None}


@pytest.fixture(scope="module")
def live():
    with serving_apart() as started:
        yield started


def keeps_to_its_document(live, examples):
    document = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    assert {each.path for each in operations} >= {"/v1/chat/completions", "/v1/completions", "/v1/models", "/health"}
    for operation in operations:

        @settings(max_examples=examples, **QUIETLY)
        @given(
            case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
            | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        )
        def conforms(case):
            # Lengths that do not fit together, or words that the model does not know, are nothing a schema can say.
            case.call_and_validate(excluded_checks=[schemathesis.checks.positive_data_acceptance], timeout=PATIENCE_S)

        conforms()


def test_the_server_keeps_to_its_own_openapi_document(live):
    keeps_to_its_document(live, 15)


@pytest.mark.slow
def test_the_server_keeps_to_its_own_openapi_document_for_longer(live):
    keeps_to_its_document(live, 300)


WORDS = st.sampled_from(
    [sample("single-key", 60, 1).content, sample("multi-key", 60, 2).content, "", "the", "\x00", "zebra"]
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
SMALL = st.integers(1, 24)
TINY = st.floats(0, 1) | st.sampled_from([0.0, 5e-324, 1e-300, 1e-30, 1e-8, 1 - 2**-53, 1.0])
USABLE = {
    "max_tokens": SMALL, "block_length": SMALL, "steps": SMALL, "budget": SMALL | st.sampled_from([None, 2**31 - 1]),
    "policy": st.sampled_from(["maskkv", "full", "none", "snapkv", "pyramidkv", "adakv", "h2o", "random", "knorm"]),
    "temperature": TINY | st.sampled_from([2.0]), "top_p": TINY, "top_k": st.sampled_from([-1, 0, 1, 5, 2**31 - 1]),
    "seed": st.sampled_from([0, 1, 2**63 - 1, -1, -(2**63)]),
    "stop": st.sampled_from(["a", ["a", " ", "\x00"], "x" * 256]),
    "alg": st.sampled_from(["maskgit_plus", "topk_margin", "entropy", "origin"]), "eps": TINY,
    "alg_temp": TINY | st.sampled_from([100.0]), "cfg_scale": TINY | st.sampled_from([100.0]),
    "remasking": st.sampled_from(["low_confidence", "random"]), "shares": st.sampled_from(["largest_first", "rounded"]),
    "threshold": TINY, "min_confidence": TINY,
    "factor": TINY | st.sampled_from([1e308]), "value_drift": TINY | st.sampled_from([1e308]),
    "one_pass": st.booleans(),
    "prompt_interval": SMALL, "response_interval": SMALL | st.just(2**31 - 1), "transfer_ratio": TINY,
    "stop_at_eos": st.booleans(), "logits_eos_inf": st.booleans(), "confidence_eos_eot_inf": st.booleans(),
    "stream": st.booleans(), "diffusing": st.booleans(), "stream_options": st.just({"include_usage": True}),
}  # fmt: skip
BODIES = st.builds(
    lambda content, chosen, names: {
        "messages": [{"role": "user", "content": content}],
        **{name: value for name, value in chosen.items() if name in names},
    },
    WORDS, st.fixed_dictionaries(USABLE), st.sets(st.sampled_from(sorted(USABLE)), max_size=6),
)  # fmt: skip


def answered(live, content):
    response = live.http.post("/v1/chat/completions", content=content, headers={"content-type": "application/json"})
    assert response.status_code < 500, response.text
    assert "Traceback" not in response.text
    assert "server_error" not in response.text
    if response.status_code != 200:
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    return response


@settings(max_examples=40, **QUIETLY)
@given(body=BODIES)
def test_settings_in_any_combination_are_answered_or_refused(live, body):
    answered(live, json.dumps({"max_tokens": 8, "budget": 16, **body}).encode())


@settings(max_examples=40, **QUIETLY)
@given(
    body=BODIES,
    odd=st.dictionaries(st.sampled_from([*USABLE, "messages", "model", "n", "tools"]), ANY, min_size=1, max_size=3),
)
def test_values_of_any_type_are_answered_or_refused(live, body, odd):
    answered(live, json.dumps({"max_tokens": 8, **body, **odd}).encode())


@settings(max_examples=40, **QUIETLY)
@given(content=st.binary(max_size=64) | ANY.map(lambda each: json.dumps(each).encode()))
def test_any_bytes_are_refused(live, content):
    assert answered(live, content).status_code == 400


def test_nothing_is_left_behind(live):
    until(lambda: live.metric("maskkv_running") == live.metric("maskkv_waiting") == 0)
    until(lambda: live.metric("maskkv_cache_bytes") == 0)
