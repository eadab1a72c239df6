"""Answers are those of one call each, whatever runs beside them."""

from dataclasses import replace

import pytest

from maskkv.eval.answering import Unit, answer, fitted
from maskkv.eval.benchmark import Example
from maskkv.generation import Generation
from maskkv.mini import sample
from tests.eval.examples import LENGTH, study, task


@pytest.fixture(scope="module")
def unit():
    return Unit(task(), (5, 6), tuple(study().variants))


def test_variants_together_answer_as_one_call_each(llm, unit):
    together = answer(llm, unit, study().schedule, isolated=False)
    assert [each.number for each in together] == [5, 6]
    for each in together:
        document = sample("multi-key", LENGTH, each.number)
        for variant, own in zip(unit.variants, each.answers, strict=True):
            alone = llm.generate(
                document.content,
                gen_length=document.gen_length,
                block_length=4,
                policy=variant.policy,
                budget=variant.budget,
            )
            same = ("text", "steps", "cache_bytes", "prompt_passes")
            assert [getattr(own, name) for name in same] == [getattr(alone, name) for name in same]
            assert (own.policy, own.policy_name, own.budget) == variant.names
            assert (own.latency_s, own.peak_memory_bytes) == (None, None)


def test_isolated_answers_are_the_same_and_timed(llm, unit):
    together = answer(llm, unit, study().schedule, isolated=False)
    isolated = answer(llm, unit, study().schedule, isolated=True)
    timed = [own for each in isolated for own in each.answers]
    assert all(own.latency_s > 0 and own.peak_memory_bytes > 0 for own in timed)
    untimed = [replace(own, latency_s=None, peak_memory_bytes=None) for own in timed]
    assert untimed == [own for each in together for own in each.answers]


def test_a_model_that_answers_right_scores_one(llm, unit, monkeypatch):
    right = {
        tuple(llm.prompt_ids(each.content)): each.answer for each in (sample("multi-key", LENGTH, n) for n in (5, 6))
    }

    def response(sequence):
        prompt = tuple(sequence.canvas.tokens[: sequence.canvas.prompt_length].tolist())
        return [*llm.text.encode(right[prompt]), llm.model.config.eos_ids[0], *llm.text.encode("anna")]

    monkeypatch.setattr("maskkv.decoding.sequence.RunningSequence.response", response)
    answers = [own for each in answer(llm, unit, study().schedule, isolated=False) for own in each.answers]
    assert {own.score for own in answers} == {1.0}
    assert {own.tokens for own in answers} == {6}  # "anna holds 1 2 3 .", and nothing behind the end


@pytest.mark.parametrize(("asked", "given"), [(8, 8), (9, 16), (1, 8)])
def test_an_answers_length_is_rounded_up_to_whole_blocks(asked, given):
    example = Example([1], asked, lambda text: 0.0)
    assert fitted(Generation(block_length=8), example).gen_length == given
