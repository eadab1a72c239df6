"""What is said of prompts longer than those a model was trained for."""

from dataclasses import replace

from tests.reference import LLADA

from maskkv.models.stretch import notice, stretch
from maskkv.ops.rope import ntk_scale

CONFIG = replace(LLADA, trained_length=1000, rope_theta=10000.0, head_dim=128)


def test_what_fits_is_not_stretched_and_not_spoken_of():
    assert stretch(CONFIG, 1000) == 1.0
    assert notice(CONFIG, 1000) is None


def test_one_token_more_is():
    assert stretch(CONFIG, 1001) == ntk_scale(128, 10000.0, 1000, 1001)
    assert notice(CONFIG, 5000) == (
        "5,000 tokens of prompt and response are more than the 1,000 that the model was trained for: positions are "
        f"stretched (RoPE's theta × {stretch(CONFIG, 5000):g}), and answers may be worse than its best"
    )


def test_a_users_own_factor_is_named_and_one_that_stretches_nothing():
    assert "positions are stretched (RoPE's theta × 2.5), " in notice(CONFIG, 5000, 2.5)
    assert "the last positions are new to it, " in notice(CONFIG, 5000, 1.0)
