"""The facade: what a user of the library is promised."""

import math
from dataclasses import fields, replace
from inspect import signature

import numpy as np
import pytest
import torch

import maskkv
from maskkv import api, mixing, policies
from maskkv import calibrate as calibration
from maskkv.budget import DEFAULT_BUDGET
from maskkv.calibrate import calibrate
from maskkv.checkpoints import profiles, weights
from maskkv.cli.flags import PolicyFlags
from maskkv.decoding import sequence
from maskkv.errors import CheckpointError, InputError, ProfileError
from maskkv.eviction.profile import LayerProfile
from maskkv.generation import Generation
from maskkv.loading import Loading
from maskkv.mini import sample, words
from maskkv.models.stretch import stretch
from maskkv.result import finish
from maskkv.server.settings import ServerSettings
from maskkv.text.tokenizer import Text
from tests.cli.tiny import save_tiny, tiny_model
from tests.reference import DREAM, SlowModel, random_model, random_prompt

SAMPLE = sample("multi-key", 90, 11)
IDS = [words.VOCABULARY.index(word) for word in SAMPLE.prompt.split()]
SHORT = Generation(gen_length=16, block_length=8, prompt_interval=6, response_interval=3, stop_at_eos=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def llm(folder):
    return maskkv.load(folder, policy="maskkv", budget=6)


def same(one, other):
    """Compare all but what the clock and the operating system say."""
    blank = {"peak_memory_bytes": 0, "latency_s": 0.0, "tokens_per_s": 0.0}
    return replace(one, **blank) == replace(other, **blank)


def test_result_adds_up(llm):
    result = llm.generate_ids(IDS, SHORT)
    assert (result.prompt_length, result.steps, len(result.tokens)) == (len(IDS), 16, 16)
    assert (result.policy, result.budget) == ("maskkv", 6)
    assert result.latency_s > 0
    assert result.peak_memory_bytes > 10**7
    config = llm.model.config
    heads = [positions for layer in result.kept for positions in layer]
    assert len(result.kept) == config.num_layers
    assert len(heads) == config.num_layers * config.num_kv_heads
    assert sum(map(len, heads)) == 6 * len(heads)
    assert all(positions == sorted(set(positions)) for positions in heads)
    assert all(0 <= position < len(IDS) for positions in heads for position in positions)


def test_evicted_pairs_come_back_if_asked(llm, folder):
    """By the policy's spelling, for one call, or for all calls of a model: with the same answer."""
    dropped = llm.generate_ids(IDS, SHORT)
    assert (dropped.evicted, dropped.host_bytes, dropped.recalled) == ("drop", 0, 0)
    back = llm.generate_ids(IDS, SHORT, evicted="host")
    config = llm.model.config
    every = 2 * config.num_layers * config.num_kv_heads * len(IDS) * config.head_dim * llm.model.dtype.itemsize
    assert (back.policy, back.evicted, back.host_bytes) == ("maskkv(evicted=host)", "host", every)
    assert back.recalled > 0
    assert back.kept != dropped.kept
    assert back.cache_bytes == dropped.cache_bytes
    assert same(back, llm.generate_ids(IDS, SHORT, policy="maskkv(evicted=host)"))
    assert same(back, llm.generate_ids(IDS, SHORT, policy="maskkv(evicted=host)", evicted="host"))
    always = maskkv.load(folder, budget=6, evicted="host")
    assert same(back, always.generate_ids(IDS, SHORT))
    assert same(dropped, always.generate_ids(IDS, SHORT, evicted="drop"))
    assert always.generate_ids(IDS, SHORT, policy="full", budget=None).evicted == "drop", "full evicts nothing"


def test_a_place_for_evicted_pairs_that_is_none_is_refused(llm, folder):
    for call in (
        lambda: llm.generate_ids(IDS, SHORT, evicted="disk"),
        lambda: maskkv.load(folder, evicted="disk"),
        lambda: api.LanguageModel(llm.model, None, evicted="disk"),
    ):
        with pytest.raises(InputError, match="evicted 'disk': expected drop, host or device"):
            call()
    with pytest.raises(InputError, match="policy 'full' evicts nothing: evicted=host needs a policy that does"):
        llm.generate_ids(IDS, SHORT, policy="full", evicted="host")


def test_confidences_are_those_of_the_tokens_when_they_were_decided(llm):
    decided = {}
    result = finish(
        llm.stream_ids(IDS, SHORT),
        lambda step: decided.update(zip(step.positions, step.confidences, strict=True)),
    )
    assert result.confidences == [decided[place] for place in range(16)]
    assert all(0 < each <= 1 for each in result.confidences)


def test_the_end_token_and_what_follows_have_no_confidence(llm, monkeypatch):
    """Say that the sixth token ends the answer."""
    whole = llm.generate_ids(IDS, SHORT)
    end = whole.tokens[5]
    monkeypatch.setattr(llm.model, "config", replace(llm.model.config, eos_ids=(end,)))
    said = whole.tokens.index(end)
    assert llm.generate_ids(IDS, SHORT).confidences == whole.confidences[:said]


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({"policy": "none"}, 16),
        ({}, 4),
        ({"prompt_interval": 5}, 4),
        ({"prompt_interval": 16}, 1),
        ({"one_pass": True}, 1),
        ({"min_confidence": 1.0}, 16),
    ],
    ids=str,
)
def test_passes_over_the_prompt_are_counted(llm, changes, passes):
    settings = {"gen_length": 16, "block_length": 8, "prompt_interval": 4, "stop_at_eos": False}
    if "one_pass" in changes or "min_confidence" in changes:
        settings.pop("prompt_interval")
    assert llm.generate_ids(IDS, **settings | changes).prompt_passes == passes


def test_cache_bytes_are_pairs_and_response_features(llm):
    result = llm.generate_ids(IDS, SHORT)
    config = llm.model.config
    pair = 2 * config.head_dim * 4
    features = config.num_layers * 2 * 16 * config.hidden_size * 4
    heads = config.num_layers * config.num_kv_heads
    assert result.cache_bytes == heads * (6 + 16) * pair + features
    assert result.full_cache_bytes == heads * (len(IDS) + 16) * pair + features


def test_without_eviction_the_cache_has_its_full_size(llm):
    result = llm.generate_ids(IDS, SHORT, policy="full", budget=None)
    assert result.cache_bytes == result.full_cache_bytes
    assert result.kept == [[list(range(len(IDS)))] * 2] * 3


def test_without_a_cache_nothing_is_kept(llm):
    result = llm.generate_ids(IDS, SHORT, policy="none", budget=None)
    assert (result.cache_bytes, result.kept) == (0, [])
    assert result.full_cache_bytes > 0


def test_generate_puts_the_prompt_through_the_chat_template(llm):
    answer = llm.generate(SAMPLE.content, SHORT)
    assert same(answer, llm.generate_ids(IDS, SHORT))
    assert same(answer, llm.chat([{"role": "user", "content": SAMPLE.content}], SHORT))
    assert same(answer, llm.generate(SAMPLE.prompt, SHORT, raw=True))
    assert not same(answer, llm.generate(SAMPLE.content, SHORT, raw=True))


def test_text_ends_at_the_first_end_token(llm):
    model, eos = tiny_model(0), llm.model.config.eos_ids[0]
    committed = {}
    for step in llm.stream_ids(IDS, SHORT):
        if 0 in committed and step.tokens[0] not in committed.values():
            break
        committed[step.positions[0]] = step.tokens[0]
    # Exchange two rows of the head: all goes as before until this step, whose token is the end of the sequence now.
    rows = torch.tensor([step.tokens[0], eos])
    model.head.weight[rows] = model.head.weight[rows.flip(0)]
    result = api.LanguageModel(model, llm.text, budget=6).generate_ids(IDS, SHORT)
    assert result.tokens[step.positions[0]] == eos
    said = result.tokens[: result.tokens.index(eos)]
    assert 0 < len(said) < 16
    assert result.text == " ".join(words.VOCABULARY[token] for token in said)
    assert result.tokens_per_s == pytest.approx(len(said) / result.latency_s)


def test_steps_of_the_stream_make_up_the_result(llm):
    steps = []
    result = finish(llm.stream(SAMPLE.content, SHORT), steps.append)
    response = dict(pair for step in steps for pair in zip(step.positions, step.tokens, strict=True))
    assert [response[position] for position in range(16)] == result.tokens
    assert [step.index for step in steps] == list(range(result.steps))
    assert [step.finished for step in steps] == [False] * 15 + [True]
    assert same(result, llm.generate(SAMPLE.content, SHORT))


@pytest.mark.parametrize("budget", [None, 3, 1000])
def test_policy_and_budget_of_a_call_replace_those_of_the_model(llm, folder, budget):
    other = maskkv.load(folder, policy=mixing.mix(policies.named("maskkv"), head_budget="uniform"), budget=budget)
    expected = other.generate_ids(IDS, SHORT)
    assert same(expected, llm.generate_ids(IDS, SHORT, policy=other.policy, budget=budget))
    assert expected.budget == budget
    assert not same(expected, llm.generate_ids(IDS, SHORT))


def test_settings_of_a_call_replace_those_of_its_generation(llm):
    assert llm.generate_ids(IDS, SHORT, gen_length=8, steps=4).steps == 4
    assert same(llm.generate_ids(IDS, gen_length=8), llm.generate_ids(IDS, Generation(gen_length=8)))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda llm: llm.generate_ids(IDS, gen_lenght=8), "unknown setting 'gen_lenght': expected one of gen_length, "),
        (lambda llm: llm.generate_ids(IDS, policy="maskvk"), "unknown policy 'maskvk': expected one of "),
        (lambda llm: llm.generate_ids(IDS, budget=0), "budget 0: expected at least 1"),
        (lambda llm: llm.generate_ids([]), "the prompt is empty"),
        (lambda llm: llm.generate(" \n"), "empty"),
        (lambda llm: llm.generate_ids([10**6]), "token id 1000000 is outside the vocabulary"),
        (lambda llm: llm.logits([-1]), "token id -1 is outside the vocabulary"),
        (lambda llm: llm.generate("a platypus holds 1 2 ."), "'platypus'"),
    ],
)
def test_bad_input_is_refused_before_a_step_is_taken(llm, call, says):
    with pytest.raises(InputError, match=says):
        call(llm)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda llm: llm.generate_ids(None), "the prompt is None: expected a list of token ids"),
        (lambda llm: llm.generate_ids("anna"), "the prompt is 'anna': expected a list of token ids; a text goes to"),
        (lambda llm: llm.generate_ids(b"anna"), "the prompt is b'anna': expected a list of token ids"),
        (lambda llm: llm.generate_ids(5), "the prompt is 5: expected a list"),
        (lambda llm: llm.generate_ids({1, 2}), "the prompt is {1, 2}: expected a list"),
        (lambda llm: llm.generate_ids([1, 2.5]), "the prompt has 2.5 at position 1: expected a token id"),
        (lambda llm: llm.generate_ids([True]), "the prompt has True at position 0: expected a token id"),
        (lambda llm: llm.generate_ids(["1"]), "the prompt has '1' at position 0: expected a token id"),
        (lambda llm: llm.generate_ids([[1, 2]]), r"the prompt has \[1, 2\] at position 0: expected a token id"),
        (lambda llm: llm.generate_ids(np.ones((2, 2), dtype=int)), r"the prompt has \[1, 1\] at position 0"),
        (lambda llm: llm.generate_ids(np.array([0.5])), "the prompt has 0.5 at position 0"),
        (lambda llm: llm.generate_ids(torch.tensor(3)), "the prompt is 3: expected a list"),
        (lambda llm: llm.generate_ids([10**5000]), "token id a number of thousands of digits is outside"),
        (lambda llm: llm.logits("anna"), "the prompt is 'anna': expected a list of token ids"),
        (lambda llm: llm.logits([1], rope_scale=0.5), "rope_scale 0.5: expected a factor of at least 1"),
        (lambda llm: llm.generate(None), "the prompt is None: expected text; token ids go to `generate_ids`"),
        (lambda llm: llm.generate([1, 2]), r"the prompt is \[1, 2\]: expected text"),
        (lambda llm: llm.generate(b"anna", raw=True), "the prompt is b'anna': expected text"),
        (lambda llm: llm.stream(5), "the prompt is 5: expected text"),
        (lambda llm: llm.chat(None), "the conversation is None: expected a list of messages"),
        (lambda llm: llm.chat("anna"), "the conversation is 'anna': expected a list of messages"),
        (lambda llm: llm.chat(["anna"]), "a message needs a role and a content"),
        (lambda llm: llm.generate_ids(IDS, budget=True), "budget True: expected a whole number of pairs"),
        (lambda llm: llm.generate_ids(IDS, budget=float("nan")), "budget nan: expected a whole number of pairs"),
        (lambda llm: llm.generate_ids(IDS, budget=2.5), "budget 2.5: expected a whole number of pairs"),
        (lambda llm: llm.generate_ids(IDS, budget="many"), "budget 'many': expected pairs, as in 256, or a part"),
        (lambda llm: llm.generate_ids(IDS, policy="none", budget=0), "budget 0: expected at least 1 pair"),
        (lambda llm: llm.generate_ids(IDS, policy=5), "policy 5: expected a maskkv.Policy, or one of "),
        (lambda llm: llm.generate_ids(IDS, {"gen_length": 8}), r"generation {'gen_length': 8}: expected a maskkv\.Gen"),
        (
            lambda llm: llm.generate_ids(IDS, temperature=10**400),
            "temperature must be a number of at least 0, not 1",
        ),
        (lambda llm: llm.generate_ids(IDS, gen_length=10**400), "gen_length must be a whole number from 1 to 92233"),
        (
            lambda llm: llm.generate_ids(IDS, seed=10**5000),
            "seed must be a whole number from 0 to .* thousands of",
        ),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_arguments_of_other_types_are_refused_in_one_line(llm, call, says):
    with pytest.raises(InputError, match=says) as refused:
        call(llm)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"budget": -1}, "budget -1: expected at least 1 pair"),
        (
            {"device": 5},
            r"device (5|'5') is (not there: 0 CUDA devices found; try cpu|unknown; supported: auto, cpu, )",
        ),
        ({"device": 2.5}, "device '2.5' is unknown"),
        ({"dtype": 3}, "dtype 3 is unknown"),
        ({"policy": 5}, "policy 5: expected a maskkv.Policy"),
        ({"kv_dtype": 3}, "kv_dtype 3: expected one of auto, int8, fp8"),
        ({"rope_scale": "x"}, "rope_scale 'x': expected a factor of at least 1"),
        ({"rope_scale": 10**400}, "rope_scale 1000"),
        ({"rope_scale": True}, "rope_scale True: expected a factor"),
        ({"profile": 5}, "profile 5: expected a LayerProfile or its file"),
        ({"model": 5}, "model 5: expected a folder or a hub id"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("untyped")
def test_arguments_of_load_are_refused_in_one_line(folder, monkeypatch, arguments, says):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match=says) as refused:
        maskkv.load(**{"model": folder} | arguments)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["~nobody-of-this-name/model", "m" * 5000])
def test_names_that_no_folder_can_have_are_refused(name):
    with pytest.raises(CheckpointError, match=r"there is no home folder|is not a folder, nor a hub id"):
        maskkv.load(name)


@pytest.mark.parametrize("kind", [tuple, np.array, torch.tensor, list], ids=lambda kind: kind.__name__)
@pytest.mark.usefixtures("untyped")
def test_ids_may_come_in_any_sequence(llm, kind):
    assert same(llm.generate_ids(kind(IDS), SHORT), llm.generate_ids(IDS, SHORT))
    assert torch.equal(llm.logits(kind(IDS)), llm.logits(IDS))


def test_memory_is_looked_at_before_the_canvas_is_made(llm, monkeypatch):
    monkeypatch.setattr(sequence, "Canvas", None)  # Making one fails.
    with pytest.raises(InputError, match=r"a response of 1,000,000,000,000 needs about .* free: a smaller gen"):
        llm.generate_ids(IDS, gen_length=10**12)
    monkeypatch.setattr(calibration, "Canvas", None)
    with pytest.raises(InputError, match="with a response of 1,000,000,000,000 needs about"):
        calibrate(llm.model, "tiny", [IDS], gen_length=10**12)


def test_a_part_of_the_prompt_is_a_budget_and_the_result_says_the_pairs(llm, folder):
    part = llm.generate_ids(IDS, SHORT, budget="7%")
    assert part.budget == math.ceil(0.07 * len(IDS)) == 7
    assert same(part, llm.generate_ids(IDS, SHORT, budget=7))
    loaded = maskkv.load(folder, budget="7%")
    assert same(part, loaded.generate_ids(IDS, SHORT))
    assert loaded.generate_ids(IDS[:20], SHORT).budget == 2


def test_one_budget_is_the_default_in_python_on_the_command_line_and_in_the_server(folder):
    for function in (maskkv.load, api.load_model, api.LanguageModel, maskkv.from_transformers):
        assert signature(function).parameters["budget"].default == DEFAULT_BUDGET
    assert PolicyFlags().budget_for(policies.named("maskkv")) == ServerSettings().budget == DEFAULT_BUDGET
    llm, ids = maskkv.load(folder), [*IDS, *IDS, *IDS][:260]
    heads = llm.model.config.num_layers * llm.model.config.num_kv_heads

    def kept(**asked: object) -> tuple[int | None, int]:
        result = llm.generate_ids(ids, SHORT, **asked)
        return result.budget, sum(len(positions) for layer in result.kept for positions in layer)

    assert kept() == (256, 256 * heads)
    assert kept(policy="snapkv") == (256, 256 * heads)
    assert kept(policy="full") == kept(budget=None) == (None, 260 * heads), "these evict nothing"


def test_a_result_says_itself_in_a_line(llm):
    result = llm.generate_ids(IDS, SHORT)
    said = repr(replace(result, text="a" * 61))
    assert said.startswith(f"Result('{'a' * 59}…', policy='maskkv', budget=6, prompt_length={len(IDS)}, steps=16, ")
    assert f"cache_bytes={result.cache_bytes} of {result.full_cache_bytes}" in said
    assert len(said) < 250
    assert repr(replace(result, text="short")).startswith("Result('short', ")


@pytest.mark.parametrize("policy", ["none", "full"])
def test_a_policy_that_evicts_nothing_has_no_budget(llm, policy):
    assert llm.generate_ids(IDS, SHORT, policy=policy, budget=3).budget is None


def test_a_folder_without_a_tokenizer_answers_ids(llm, tmp_path):
    folder = save_tiny(tmp_path / "ids")
    (folder / "tokenizer.json").unlink()
    ids_only = maskkv.load(folder, budget=6)
    answer = ids_only.generate_ids(IDS, SHORT)
    assert same(replace(answer, text=""), replace(llm.generate_ids(IDS, SHORT), text=""))
    assert answer.text == ""
    assert torch.equal(ids_only.logits(IDS), llm.logits(IDS))
    assert calibrate(ids_only.model, "tiny", [IDS]) == calibrate(llm.model, "tiny", [IDS])
    for call in (lambda: ids_only.generate("anna"), lambda: ids_only.chat([{"role": "user", "content": "anna"}])):
        with pytest.raises(CheckpointError, match=r"this model has no tokenizer: neither tokenizer\.json nor"):
            call()


def test_a_broken_tokenizer_is_still_refused_when_it_is_loaded(tmp_path):
    folder = save_tiny(tmp_path / "broken")
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json cannot be read as JSON"):
        maskkv.load(folder)


@pytest.mark.slow
def test_logits_are_stretched_only_if_asked(folder):
    model = random_model(DREAM)
    length = 3 * DREAM.trained_length
    ids = random_prompt(DREAM, length)
    llm = api.LanguageModel(model, None)
    scale = stretch(DREAM, length)
    assert scale > 1
    plain, stretched = llm.logits(ids), llm.logits(ids, rope_scale=scale)
    assert not torch.allclose(plain, stretched, atol=1e-3)
    assert torch.equal(plain, llm.logits(ids, rope_scale=1.0))
    # None is what `generate` does: as the length needs, or as the model was loaded.
    assert torch.equal(stretched, llm.logits(ids, rope_scale=None))
    loaded = api.LanguageModel(model, None, loading=Loading(rope_scale=scale))
    assert torch.equal(loaded.logits(ids[:9], rope_scale=None), llm.logits(ids[:9], rope_scale=scale))
    assert torch.equal(loaded.logits(ids[:9]), llm.logits(ids[:9]))


def test_logits_are_those_of_the_plain_model(llm):
    ids = [*IDS[:12], llm.model.config.mask_id]
    slow = SlowModel(llm.model)
    expected = torch.stack([slow.logits(row) for row in slow.run(ids)[0]])
    torch.testing.assert_close(llm.logits(ids).double(), expected, atol=1e-4, rtol=1e-4)


def test_logits_of_a_shifted_model_are_not_moved(folder):
    model = random_model(DREAM)
    ids = random_prompt(DREAM, 9)
    slow = SlowModel(model)
    expected = torch.stack([slow.logits(row) for row in slow.run(ids)[0]])
    llm = api.LanguageModel(model, Text.load(folder))
    torch.testing.assert_close(llm.logits(ids).double(), expected, atol=1e-4, rtol=1e-4)


def test_a_profile_is_taken_for_the_prompts_own_importance(folder, tmp_path):
    model = tiny_model(0)
    profile = replace(calibrate(model, "tiny", [IDS]), importance=(0.0, 0.0, 1.0))
    (tmp_path / "profile.json").write_text(profile.to_json(), encoding="utf-8")
    from_file = maskkv.load(folder, budget=6, profile=tmp_path / "profile.json")
    counts = [sum(map(len, layer)) for layer in from_file.generate_ids(IDS, SHORT).kept]
    # 36 pairs: 4.8 to each layer, 21.6 more shared by the two boundary layers, by their summed importance.
    assert counts == [16, 5, 15]
    given = maskkv.load(folder, budget=6, profile=profile)
    assert same(given.generate_ids(IDS, SHORT), from_file.generate_ids(IDS, SHORT))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fingerprint": "0" * 16}, "was measured on another model"),
        ({"importance": (1.0, 1.0), "spread": (0.0, 0.0)}, "has 2 layers and the model 3"),
    ],
)
def test_a_profile_of_another_model_is_refused(folder, tmp_path, change, says):
    profile = replace(calibrate(tiny_model(0), "tiny", [IDS]), **change)
    (tmp_path / "profile.json").write_text(profile.to_json(), encoding="utf-8")
    for given in (profile, tmp_path / "profile.json", str(tmp_path / "profile.json")):
        with pytest.raises(ProfileError, match=says):
            maskkv.load(folder, profile=given)


def test_a_profile_that_is_not_there_is_refused(folder, tmp_path):
    with pytest.raises(ProfileError, match=r"cannot read the layer profile .*none\.json"):
        maskkv.load(folder, profile=tmp_path / "none.json")


def test_the_shipped_profile_of_this_very_model_is_taken(folder, tmp_path, monkeypatch):
    own = calibrate(tiny_model(0), "tiny", [IDS])
    shipped = tmp_path / "profiles"
    shipped.mkdir()
    (shipped / "another.json").write_text(replace(own, fingerprint="0" * 16).to_json(), encoding="utf-8")
    monkeypatch.setattr(profiles.resources, "files", lambda package: tmp_path)
    assert maskkv.load(folder).profile is None
    (shipped / "own.json").write_text(own.to_json(), encoding="utf-8")
    assert maskkv.load(folder).profile == own


def test_every_shipped_profile_is_readable():
    for file in (profiles.resources.files("maskkv") / "profiles").iterdir():
        assert LayerProfile.from_json(file.read_text(encoding="utf-8")).n > 0


def test_result_has_the_promised_fields():
    promised = (
        "text tokens prompt_length steps policy budget cache_bytes full_cache_bytes "
        "peak_memory_bytes latency_s tokens_per_s kept kv_dtype prompt_passes confidences "
        "evicted host_bytes recalled reused"
    )
    assert [field.name for field in fields(maskkv.Result)] == promised.split()


def test_fingerprint_survives_saving(folder):
    assert weights.fingerprint(tiny_model(0)) == weights.fingerprint(weights.load(folder))
