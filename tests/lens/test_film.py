"""The film tells step by step what the engine really held, and names rows that really ran."""

import pytest

import maskkv
from maskkv import api, lens, policies
from maskkv.cache import PackedCache
from maskkv.decoding.engine import Engine
from maskkv.errors import InputError
from maskkv.generation import Generation
from maskkv.lens.film import record
from maskkv.mini import sample
from maskkv.mixing import mix
from tests.cache.test_recall import HOST
from tests.cache.test_restatement import FAMILIES, MASKKV, schedule
from tests.cli.tiny import save_tiny
from tests.reference import CONFIGS, random_model, random_prompt

BUDGET = 4
PARTIAL = schedule(6, 4, 0.4)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return maskkv.load(save_tiny(tmp_path_factory.mktemp("tiny")))


def filmed(tiny, family, policy, generation):
    """Return a film, and what the engine said of the same answer step by step: the step, and what was kept."""
    config = CONFIGS[family]
    model, prompt = random_model(config, seed=3), random_prompt(config, 20, seed=4)
    film = record(api.LanguageModel(model, tiny.text), prompt, generation, policy, BUDGET)
    engine = Engine(model)
    number = engine.add(prompt, generation, policy, BUDGET)
    told = []
    while not engine[number].finished:
        (step,) = engine.step()
        told.append((step, engine[number].kept()))
    return film, told


@FAMILIES
@pytest.mark.parametrize(
    ("policy", "generation"),
    [
        (HOST, PARTIAL),
        (HOST, schedule(50, 3, 0.25)),
        (HOST, schedule(50, 3, 0.5, cfg_scale=1.5)),
        (mix(HOST, recall_interval=2, recall_voters="mask", recall_tally="sum"), PARTIAL),
        (mix(HOST, revote=False), schedule(4, 2, 0.25)),
        (MASKKV, PARTIAL),
    ],
)
def test_replaying_the_film_gives_what_was_kept(tiny, family, policy, generation):
    film, told = filmed(tiny, family, policy, generation)
    assert len(film.frames) == len(told)
    assert film.first == told[0][1]
    for index, (frame, (step, kept)) in enumerate(zip(film.frames, told, strict=True)):
        assert film.kept(index) == kept
        assert (frame.refresh, frame.positions, frame.tokens) == (
            step.refresh.value,
            list(step.positions),
            list(step.tokens),
        )
        assert frame.pieces == [tiny.text.piece(token) for token in step.tokens]
        assert frame.came == sorted(frame.came)
        assert frame.went == sorted(frame.went)


@FAMILIES
def test_whoever_asked_was_recomputed(tiny, family, monkeypatch):
    """Past the first layer of a partial step only some rows are: no other can have asked."""
    config = CONFIGS[family]
    fresh, stale = [], PackedCache.stale

    def watched(self, layer, values):
        rows = stale(self, layer, values)
        if layer == 0:
            fresh.append([])
        fresh[-1].append(range(len(values)) if rows is None else rows.tolist())
        return rows

    monkeypatch.setattr(PackedCache, "stale", watched)
    model = random_model(config, seed=3)
    prompt = random_prompt(config, 20, seed=4)
    film = record(api.LanguageModel(model, tiny.text), prompt, PARTIAL, HOST, BUDGET)
    live = [frame for frame in film.frames if frame.refresh != "prompt"]
    asked, left_out = set(), 0
    for frame, layers in zip(live, fresh, strict=True):
        assert len(frame.asked_by) == len(frame.came) == len(frame.went)
        for (layer, _, _), row in zip(frame.came, frame.asked_by, strict=True):
            assert row + config.logit_shift in layers[layer]
            asked.add(row)
            left_out += len(layers[layer]) < 12 + config.logit_shift
    assert left_out, "some must have been asked for in a partial pass"
    assert asked <= set(range(-config.logit_shift, 12))
    assert len(asked) > 1


@FAMILIES
def test_who_asked_is_the_row_that_weighs_the_pair_most(tiny, family, monkeypatch):
    """With a single row recomputed past the first layer, it is that one that asked for everything there."""
    rows, stale = [], PackedCache.stale

    def watched(self, layer, values):
        found = stale(self, layer, values)
        rows.append((layer, found))
        return found

    monkeypatch.setattr(PackedCache, "stale", watched)
    config = CONFIGS[family]
    one = schedule(50, 50, 1.01 / (12 + config.logit_shift))
    film = record(api.LanguageModel(random_model(config, seed=3), tiny.text), random_prompt(config, 20), one, HOST, 4)
    only = iter([(layer, found.tolist()) for layer, found in rows if found is not None])
    seen = 0
    for frame in film.frames[1:]:
        alone = dict(next(only) for _ in range(config.num_layers - 1))
        for (layer, _, _), row in zip(frame.came, frame.asked_by, strict=True):
            if layer:
                assert [row + config.logit_shift] == alone[layer]
                seen += 1
    assert seen


@FAMILIES
def test_where_masks_vote_only_masks_have_asked(tiny, family):
    film, _ = filmed(tiny, family, mix(HOST, recall_voters="mask"), PARTIAL)
    decided, asked = set(), 0
    for frame in film.frames:
        assert decided.isdisjoint(frame.asked_by)
        asked += len(frame.asked_by)
        decided |= set(frame.positions)
    assert asked


@FAMILIES
def test_what_is_dropped_stays_away_between_votes(tiny, family):
    film, _ = filmed(tiny, family, MASKKV, PARTIAL)
    changed = [frame for frame in film.frames if frame.came or frame.went]
    assert [frame.refresh for frame in changed] == ["prompt"]  # step 6 of 12
    assert not any(frame.asked_by for frame in film.frames)


def test_a_policy_that_evicts_nothing_has_no_film(tiny):
    with pytest.raises(InputError, match="policy 'full' evicts nothing"):
        record(tiny, [5, 6, 7], PARTIAL, policies.named("full"), None)


def test_the_lens_films_what_recalls_and_shows_the_same_answer(tiny):
    tokens = tiny.prompt_tokens(sample("multi-key", 60, 4).content)
    seen = {
        budget: lens.inspect(tiny, tokens, Generation(gen_length=8), HOST, budget) for budget in (5, len(tokens), None)
    }
    film = seen[5].film
    assert film.first == seen[5].sweep.kept(5)
    assert film.kept(len(film.frames) - 1) == seen[5].kept
    said = dict(pair for frame in film.frames for pair in zip(frame.positions, frame.pieces, strict=True))
    assert [said[position] for position in range(len(seen[5].evicted.said))] == seen[5].evicted.said
    # Where everything is kept, nothing can come back.
    assert seen[len(tokens)].film is seen[None].film is None
    assert lens.inspect(tiny, tokens, Generation(gen_length=8), MASKKV, 5).film is None
