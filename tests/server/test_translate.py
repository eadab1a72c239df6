"""What a request comes to: lengths, budgets and seeds, without a server around it."""

import pytest
from pydantic import ValidationError

from maskkv import policies
from maskkv.server.errors import ApiError
from maskkv.server.requests import CompletionRequest
from maskkv.server.settings import ServerSettings
from maskkv.server.translate import translate, workload

SETTINGS = ServerSettings(budget=32)


def ordered(llm, **fields):
    return translate(CompletionRequest.model_validate({"prompt": [5, 6, 7], **fields}), llm, SETTINGS)


def test_the_server_s_budget_is_for_policies_that_evict_and_for_requests_that_name_none(llm):
    assert ordered(llm).budget == 32
    assert ordered(llm, budget=None).budget is None
    assert ordered(llm, budget=8).budget == 8
    assert ordered(llm, policy="full").budget is None
    assert ordered(llm, policy="none").budget is None


def test_a_part_of_the_prompt_is_rounded_up(llm):
    length = len(ordered(llm).prompt)
    assert length == 3
    assert ordered(llm, budget="50%").budget == 2
    request = CompletionRequest.model_validate({"prompt": [5, 6, 7]})
    assert translate(request, llm, ServerSettings(budget="34%")).budget == 2


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        (0, "0: expected at least 1 pair per KV head and layer"),
        (True, "True: expected a whole number of pairs, or a part of the prompt as '5%'"),
        ("0%", "'0%': expected pairs, as in 256, or a part of the prompt, as in 5%, above 0% and at most 100%"),
    ],
)
def test_a_budget_that_is_none_is_refused(budget, says):
    with pytest.raises(ValidationError) as refusal:
        CompletionRequest.model_validate({"prompt": [5], "budget": budget})
    assert refusal.value.errors()[0]["msg"] == says


def test_an_answer_beside_it_under_another_policy_has_no_budget(llm):
    asked = ordered(llm, budget=8)
    assert workload(asked, "auto").budget == 8
    beside = workload(asked, "auto", policies.named("full"))
    assert (beside.budget, beside.policy.name, beside.prompt_length) == (None, "full", 3)


def test_the_limit_stays_what_was_asked_and_the_length_becomes_whole_blocks(llm):
    asked = ordered(llm, max_tokens=9)
    assert (asked.limit, asked.generation.gen_length) == (9, 16)


def test_a_seed_that_is_left_out_is_drawn(llm):
    assert ordered(llm, seed=3).generation.seed == 3
    assert len({ordered(llm).generation.seed for _ in range(5)}) > 1


def test_a_nucleus_is_dreams_sampler_which_takes_the_surest_unless_the_request_says_otherwise(llm):
    nucleus = ordered(llm, top_p=0.5).generation
    assert (nucleus.alg, nucleus.top_p) == ("maskgit_plus", 0.5)
    assert ordered(llm, top_p=0.5, alg="entropy").generation.alg == "entropy"
    whole = ordered(llm, top_p=1.0).generation
    assert (whole.alg, whole.top_p) == (None, None)


def evicting(llm, default, **fields):
    request = CompletionRequest.model_validate({"prompt": [5, 6, 7], **fields})
    policy = translate(request, llm, ServerSettings(evicted=default)).policy
    return policy.name, policy.evicted


def test_what_becomes_of_evicted_pairs_is_the_request_s_choice_or_else_the_server_s(llm):
    host = ("maskkv(evicted=host)", "host")
    assert evicting(llm, "drop") == evicting(llm, "drop", evicted=None) == ("maskkv", "drop")
    assert (
        evicting(llm, "drop", evicted="host") == evicting(llm, "host") == evicting(llm, "host", evicted="host") == host
    )
    assert evicting(llm, "host", evicted="drop") == ("maskkv", "drop")
    assert evicting(llm, "host", policy="snapkv")[0] == "snapkv(evicted=host)"


@pytest.mark.parametrize("policy", ["full", "none"])
def test_pairs_wait_only_where_some_are_evicted(llm, policy):
    """The server's default is not meant for these; a client that asks is told."""
    assert evicting(llm, "host", policy=policy) == (policy, "drop")
    assert evicting(llm, "drop", policy=policy, evicted="drop") == (policy, "drop")
    with pytest.raises(ApiError) as refusal:
        evicting(llm, "drop", policy=policy, evicted="host")
    assert str(refusal.value) == f"policy {policy} evicts nothing: no pair of it can wait in host memory"
    assert (refusal.value.status, refusal.value.param) == (400, "evicted")


def test_evicted_is_one_of_three(llm):
    with pytest.raises(ValidationError) as refusal:
        CompletionRequest.model_validate({"prompt": [5], "evicted": "disk"})
    assert refusal.value.errors()[0]["msg"] == "Input should be 'drop', 'host' or 'device'"
