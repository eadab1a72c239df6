"""The sweep says of every budget what the engine really keeps at it."""

import pytest

import maskkv
from maskkv import api, lens, mixing, policies
from maskkv.errors import InputError
from maskkv.eviction.profile import LayerProfile
from maskkv.generation import Generation
from maskkv.lens.budget_sweep import sweep, sweep_budgets
from maskkv.loading import Loading
from maskkv.mini import sample, words
from tests.cli.tiny import save_tiny
from tests.reference import DREAM, random_model, random_prompt

SHORT = Generation(gen_length=8, steps=1)
PROMPT = [words.VOCABULARY.index(word) for word in sample("multi-key", 60, 4).prompt.split()]
EVICTING = [name for name in policies.names() if policies.named(name).can_evict]


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return maskkv.load(save_tiny(tmp_path_factory.mktemp("tiny")))


@pytest.mark.parametrize("name", EVICTING)
def test_each_budget_shows_what_an_answer_at_it_keeps(llm, name):
    policy = policies.named(name)
    swept = sweep(llm, PROMPT, SHORT, policy, 7)
    assert 7 in swept.budgets
    for budget in swept.budgets if name == "maskkv" else (1, 7, 48):
        kept = llm.generate_ids(PROMPT, SHORT, policy=policy, budget=budget).kept
        assert swept.kept(budget) == kept, budget
        counts = swept.counts[swept.budgets.index(budget)]
        assert counts == [[len(own) for own in layer] for layer in kept]
        assert sum(map(sum, counts)) == budget * 3 * 2


def test_live_rows_are_not_swept(llm):
    """Dream's last prompt row stays anyway: no budget lists it, and the last budget is everything else."""
    model = random_model(DREAM)
    dream = api.LanguageModel(model, llm.text)
    prompt = random_prompt(DREAM, 21)
    swept = sweep(dream, prompt, SHORT, policies.named("maskkv"), 3)
    assert swept.budgets[-1] == 20
    for budget in (3, 20):
        assert swept.kept(budget) == dream.generate_ids(prompt, SHORT, policy="maskkv", budget=budget).kept


def test_preference_is_the_share_of_the_masks_attention_that_the_prompt_gets(llm):
    preference = sweep(llm, PROMPT, SHORT, policies.named("maskkv"), 7).preference
    assert [len(layer) for layer in preference] == [2, 2, 2]
    swept = sweep(llm, PROMPT, SHORT, mixing.mix(policies.named("maskkv"), head_base=0.0), 7)
    for layer, counts in zip(preference, swept.counts[swept.budgets.index(7)], strict=True):
        assert counts[0] / sum(counts) == pytest.approx(layer[0] / sum(layer), abs=1 / sum(counts))


def test_importance_is_given_where_it_decides(llm):
    importance = sweep(llm, PROMPT, SHORT, policies.named("maskkv"), 7).importance
    assert len(importance) == 3
    assert sweep(llm, PROMPT, SHORT, policies.named("snapkv"), 7).importance is None


def test_the_models_own_profile_and_stretch_count(llm):
    profile = LayerProfile("tiny", "0" * 16, 1, 60, (0.1, 0.0, 1.0), (0.0,) * 3)
    plain = api.LanguageModel(llm.model, llm.text, profile=profile)
    stretched = api.LanguageModel(llm.model, llm.text, profile=profile, loading=Loading(rope_scale=64.0))
    kept = []
    for own in (plain, stretched):
        swept = sweep(own, PROMPT, SHORT, policies.named("maskkv"), 7)
        assert swept.importance == list(profile.importance)
        assert swept.kept(7) == own.generate_ids(PROMPT, SHORT, policy="maskkv", budget=7).kept
        kept.append(swept.kept(7))
    assert kept[0] != kept[1], "the stretch matters"


@pytest.mark.parametrize(
    ("evictable", "segments", "budget", "expected"),
    [
        (20, 6, None, [1, 2, 3, 4, 6, 8, 12, 16, 20]),
        (20, 6, 7, [1, 2, 3, 4, 6, 7, 8, 12, 16, 20]),
        (20, 6, 100, [1, 2, 3, 4, 6, 8, 12, 16, 20]),
        (1, 6, 1, [1]),
        (10**6, 2**18, 2, [1, 2, 3, 4]),
        (10**6, 2**18, 9, [1, 2, 3, 4, 6, 8, 9]),
    ],
)
def test_swept_budgets(evictable, segments, budget, expected):
    assert sweep_budgets(evictable, segments, budget) == expected


def test_a_policy_that_evicts_nothing_has_nothing_to_show(llm):
    with pytest.raises(InputError, match="policy 'full' evicts nothing"):
        sweep(llm, PROMPT, SHORT, policies.named("full"), None)


def test_memory_is_looked_at_before_the_prompt_is(llm, monkeypatch):
    monkeypatch.setattr("maskkv.lens.inspection.sweep", None)
    tokens = llm.prompt_tokens(sample("multi-key", 60, 4).prompt, raw=True)
    with pytest.raises(InputError, match=r"a response of 1,000,000,000,000 needs about .* free: a smaller gen_length"):
        lens.inspect(llm, tokens, Generation(gen_length=10**12), policies.named("maskkv"), 5)


def test_a_part_of_the_prompt_is_a_budget(llm):
    tokens = llm.prompt_tokens(sample("multi-key", 60, 4).prompt, raw=True)
    seen = lens.inspect(llm, tokens, SHORT, policies.named("maskkv"), "10%")
    assert len(tokens) == 60
    assert (seen.budget, seen.evicted.budget) == (6, 6)  # 6.0, rounded up
    assert 6 in seen.sweep.budgets
    with pytest.raises(InputError, match="budget 'x': expected pairs, as in 256, or a part of the prompt"):
        lens.inspect(llm, tokens, SHORT, policies.named("maskkv"), "x")
