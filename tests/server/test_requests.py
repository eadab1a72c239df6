"""What the fields of a request may be: those of `Generation` in its ranges, and their old names for one release."""

import json
import logging
from dataclasses import fields

import pytest

from maskkv.generation import Generation
from maskkv.server.requests import ChatRequest, CompletionRequest
from tests.server.live import SHORT, until

MOST = 2**31 - 1
COUNT = {"type": "integer", "minimum": 1, "maximum": MOST}
FRACTION = {"type": "number", "minimum": 0, "maximum": 1}
STRENGTH = {"type": "number", "minimum": 0, "maximum": 100}
SCHEMAS = {
    "steps": COUNT, "block_length": COUNT, "prompt_interval": COUNT, "response_interval": COUNT,
    "transfer_ratio": FRACTION, "min_confidence": FRACTION, "threshold": FRACTION,
    "factor": {"type": "number", "exclusiveMinimum": 0}, "value_drift": {"type": "number", "exclusiveMinimum": 0},
    "cfg_scale": STRENGTH, "alg_temp": STRENGTH, "eps": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "remasking": {"type": "string", "enum": ["low_confidence", "random", "sequential"]},
    "alg": {"type": "string", "enum": ["maskgit_plus", "topk_margin", "entropy", "origin"]},
    **{name: {"type": "boolean"} for name in ("one_pass", "stop_at_eos", "logits_eos_inf", "confidence_eos_eot_inf")},
    # OpenAI's, or vLLM's, and wider than ours: what they mean is translated.
    "temperature": {"type": "number", "minimum": 0, "maximum": 2}, "top_p": FRACTION,
    "top_k": {"type": "integer", "minimum": -1, "maximum": MOST},
    "seed": {"type": "integer", "minimum": -(2**63), "exclusiveMaximum": 2**63},
}  # fmt: skip


@pytest.mark.parametrize("kind", [ChatRequest, CompletionRequest])
def test_every_field_of_a_generation_is_one_of_a_request_in_its_range_and_may_be_null(kind):
    described = kind.model_json_schema()["properties"]
    assert {name: described[name]["anyOf"] for name in SCHEMAS} == {
        name: [schema, {"type": "null"}] for name, schema in SCHEMAS.items()
    }
    assert {field.name for field in fields(Generation)} - set(described) == {"gen_length"}


def told(caplog, event):
    return [each.fields for each in caplog.records if each.msg == event]


@pytest.mark.parametrize(("old", "new", "value"), [("doubt", "min_confidence", 0.9), ("drift", "value_drift", 0.001)])
def test_an_old_name_means_the_new_one_and_is_logged(live, llm, caplog, old, new, value):
    caplog.set_level(logging.INFO, "maskkv.server")
    expected = llm.generate(SHORT.content, gen_length=16, **{new: value})
    answer = live.chat(**{old: value})
    assert answer.json()["choices"][0]["message"]["content"] == expected.text
    assert answer.json()["maskkv"]["steps"] == expected.steps
    looked = {"messages": [{"role": "user", "content": SHORT.content}], "budget": 8, "max_tokens": 8, old: value}
    seen = live.http.post("/api/lens", json=looked)
    assert seen.status_code == 200
    assert live.chat(**{new: value}).json()["choices"] == answer.json()["choices"]
    until(lambda: len(told(caplog, "request")) == 3)  # said when the client has its answer already
    answered = [each for each in told(caplog, "request") if "job" in each]  # the look is none
    tokens = len(llm.said(expected.tokens))
    assert [(each["steps"], each["completion_tokens"]) for each in answered] == [(expected.steps, tokens)] * 2
    assert told(caplog, "renamed field") == [
        {"id": each.headers["x-request-id"], "method": "POST", "old": old, "new": new} for each in (answer, seen)
    ]


@pytest.mark.parametrize(("old", "new"), [("doubt", "min_confidence"), ("drift", "value_drift")])
def test_a_field_under_both_names_is_refused(live, old, new):
    refused = live.chat(**{old: 0.5, new: 0.5})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_value")
    assert refused.json()["error"]["message"] == f"the body: {old} and {new} are the same field: give {new}"


def test_an_old_name_has_the_range_of_the_new_one_and_no_other_field_has_two(live):
    error = live.chat(doubt=1.5).json()["error"]
    assert (error["param"], error["message"]) == (
        "min_confidence", "min_confidence: input should be less than or equal to 1",
    )  # fmt: skip
    assert live.chat(edge=1).json()["error"]["code"] == "unknown_parameter"
    document = json.dumps(live.http.get("/openapi.json").json())
    assert '"doubt"' not in document
    assert '"drift"' not in document
