"""An answer counts for whatever was measured alike, whatever the model is called and whoever wrote the line."""

import json

import pytest

from maskkv.api import LanguageModel
from maskkv.calibrate import calibrate
from maskkv.eval.answering import Answered, ScoredAnswer
from maskkv.eval.conditions import Conditions, read
from maskkv.generation import Generation
from maskkv.loading import Loading
from tests.eval.examples import task


def conditions(llm, name="mini", schedule=None, isolated=False, **others):
    model = LanguageModel(llm.model, llm.text, **others)
    return Conditions.of(model, name, schedule or Generation(), isolated)


def identity(llm, **changes):
    return conditions(llm, **changes).identity(task())


def test_a_model_is_the_same_under_another_name(llm):
    assert identity(llm, name="owner/name") == identity(llm)


def test_the_length_is_each_examples_own(llm):
    assert identity(llm, schedule=Generation(gen_length=8)) == identity(llm)


def test_what_changes_an_answer_makes_it_another_measurement(llm):
    profile = calibrate(llm.model, "tiny", [list(range(20, 50))])
    different = [
        identity(llm),
        identity(llm, profile=profile),
        identity(llm, loading=Loading(kv_dtype="int8")),
        identity(llm, loading=Loading(rope_scale=2.0)),
        identity(llm, schedule=Generation(min_confidence=0.5)),
        identity(llm, isolated=True),
        conditions(llm).identity(task("two-hop")),
    ]
    assert len(set(different)) == len(different)


@pytest.mark.parametrize(
    ("part", "name"), [("model", "quantize"), ("model", "kv_dtype"), ("schedule", "min_confidence")]
)
def test_a_line_from_before_a_setting_existed_has_its_default(llm, part, name):
    own = conditions(llm)
    answer = ScoredAnswer("p", "full", None, "text", 1.0, tokens=6, steps=8, cache_bytes=1, full_cache_bytes=2)
    line = json.loads(json.dumps(own.line(Answered(task(), 5, 30, 8, (answer,)))))
    del line[part][name]
    ((key, held),) = read(line)
    assert key == (own.identity(task()), 5, "p", None)
    assert held.answer == answer
