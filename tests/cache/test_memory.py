"""What a prompt refresh costs while it runs, and what it leaves behind."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch
from tests.reference import CONFIGS, random_model, random_prompt

from maskkv import policies
from maskkv.bench.memory import LiveBytes
from maskkv.decoding.engine import Engine
from maskkv.eviction.profile import LayerProfile
from maskkv.generation import Generation
from maskkv.ops import attention

FAMILIES = pytest.mark.parametrize("family", ["llada", "dream"])
PROMPT, RESPONSE, CHUNK = 160, 8, 32


@pytest.fixture(params=["profile", "no profile"])
def profile(request: pytest.FixtureRequest) -> LayerProfile | None:
    importance = (0.5, 0.1, 0.2, 0.6)
    return LayerProfile("tiny", "0", 1, 9, importance, (0.0,) * 4) if request.param == "profile" else None


def engine_for(family: str, profile: LayerProfile | None, **options: float) -> tuple[Engine, int]:
    """Build a model wide enough for its rows to outweigh what the refresh keeps per row in integers."""
    config = replace(CONFIGS[family], hidden_size=128, num_layers=4)
    engine = Engine(random_model(config, chunk_rows=CHUNK), profile)
    generation = Generation(gen_length=RESPONSE, prompt_interval=2, stop_at_eos=False, **options)
    return engine, engine.add(random_prompt(config, PROMPT), generation, policies.named("maskkv"), 5)


def float_tensors() -> list[torch.Tensor]:
    """Return all floating-point tensors that Python objects hold."""
    gc.collect()
    tensors = [each for each in gc.get_objects() if type(each) is torch.Tensor]
    return [each for each in tensors if each.is_floating_point()]


class Newcomers:
    """List the shapes of floating-point tensors that were not there at first: other tests keep models."""

    def __init__(self) -> None:
        self._known = [weakref.ref(each) for each in float_tensors()]

    def shapes(self) -> list[tuple[int, ...]]:
        known = {id(each()) for each in self._known}
        return [tuple(each.shape) for each in float_tensors() if id(each) not in known]


@FAMILIES
def test_a_refresh_peaks_at_two_hidden_copies_and_one_layers_pairs(
    family: str, profile: LayerProfile | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "TILE_ELEMENTS", 4096)
    engine, number = engine_for(family, profile)
    config, rows = engine.model.config, PROMPT + RESPONSE
    hidden = rows * config.hidden_size * 4
    pairs = rows * 2 * config.num_kv_heads * config.head_dim * 4
    rotation = rows * config.head_dim * 4
    chunk = CHUNK * (3 * config.mlp_size + 4 * config.hidden_size + 4 * config.num_heads * config.head_dim) * 4
    for _ in range(2):
        held = engine[number].cache_bytes
        with LiveBytes() as live:
            engine.step()
        kept = max(held, engine[number].cache_bytes)
        # Without a profile, until the first refresh is through: each of the 4 layers holds 0.4 + 0.6 · 4 / 2 times
        # the 5 pairs of a head and some for rounding, with a place.
        most = 4 * (1.6 * 5 * config.num_kv_heads + 2 + 2 * config.num_kv_heads)
        waiting = 0 if profile or held else most * (2 * config.head_dim + 1) * 4
        assert live.peak <= 2 * hidden + pairs + rotation + chunk + kept + waiting
        engine.model.asked.clear()


@FAMILIES
def test_nothing_of_the_prompt_beside_the_kept_pairs_survives_a_step(family: str, profile: LayerProfile | None) -> None:
    newcomers = Newcomers()
    engine, number = engine_for(family, profile, cfg_scale=1.0)
    with LiveBytes() as live:
        for _ in range(2):
            engine.step()
            engine.model.asked.clear()
            assert not [each for each in live.alive() if max(each.shape, default=0) >= PROMPT - 1]
            assert not [shape for shape in newcomers.shapes() if max(shape, default=0) >= PROMPT - 1]
            kept = sum(len(heads) for layer in engine[number].kept() for heads in layer)
            # Beside the pairs and features: where they came from, where the tail lies and each segment for two kinds of
            # passes, which rows drifted last and of which sequence, and the angles of the live rows.
            config, live_rows = engine.model.config, 2 * 9
            segments = 2 * config.num_kv_heads
            integers = 2 * 2 * kept + config.num_layers * (config.num_kv_heads * live_rows + 2 * 4 * segments)
            angles = 9 * config.head_dim
            assert live.now <= engine[number].cache_bytes + 8 * (integers + 2 * live_rows) + 4 * angles + 2 * 64


def test_a_removed_sequence_leaves_nothing() -> None:
    engine, number = engine_for("dream", None)
    with LiveBytes() as live:
        engine.step()
        engine.step()
        engine.model.asked.clear()
        engine.remove(number)
        gc.collect()
        assert live.now == 0, live.alive()
