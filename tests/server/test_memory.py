"""What a request is expected to take is at least what is counted, and not much more."""

import pytest
import torch

from maskkv import policies
from maskkv.bench.memory import LiveBytes
from maskkv.bench.shapes import random_model, shape
from maskkv.engine import Engine
from maskkv.generation import Generation
from maskkv.server.memory import available, need
from maskkv.server.orders import Order

MODEL = random_model(shape("mini"), 0)


def order(prompt_length, policy, budget, **generation):
    prompt = tuple(torch.randint(600, (prompt_length,), generator=torch.Generator().manual_seed(1)).tolist())
    settings = Generation(stop_at_eos=False, **generation)
    return Order(prompt, settings, policies.named(policy), budget, settings.gen_length, ())


@pytest.mark.parametrize(
    ("prompt_length", "policy", "budget", "generation"),
    [
        (3000, "maskkv", 32, {"gen_length": 32}),
        (3000, "full", None, {"gen_length": 32}),
        (3000, "none", None, {"gen_length": 32}),
        (1200, "snapkv", 64, {"gen_length": 64, "cfg_scale": 1.0}),
        (200, "maskkv", 32, {"gen_length": 256, "block_length": 256, "temperature": 1.0}),
        (200, "maskkv", 32, {"gen_length": 256, "block_length": 256, "alg": "entropy"}),
    ],
)
def test_the_estimate_covers_what_is_counted(prompt_length, policy, budget, generation):
    asked = order(prompt_length, policy, budget, **generation)
    estimate = need(asked, MODEL)
    with LiveBytes() as live:
        engine = Engine(MODEL)
        number = engine.add(asked.prompt, asked.generation, asked.policy, asked.budget)
        engine.step()
        assert engine[number].cache_bytes == estimate.held
        assert live.now >= estimate.held
    assert live.peak <= estimate.alone <= 2.5 * live.peak


def test_free_memory_is_that_of_the_machine_or_less():
    assert 0 < available(torch.device("cpu")) < 2**50
