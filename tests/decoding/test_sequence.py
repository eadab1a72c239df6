from dataclasses import replace

import pytest
import torch
from tests.reference import CONFIGS, DREAM, LLADA

from maskkv import policies
from maskkv.cache import Refresh
from maskkv.decoding.branch import Settings
from maskkv.decoding.proposals import Proposals
from maskkv.decoding.sampler import propose
from maskkv.decoding.sequence import RunningSequence
from maskkv.generation import Generation

FAMILIES = pytest.mark.parametrize("family", ["llada", "dream"])
PROMPT = [5, 6, 7, 8, 9]


def sequence(
    family: str = "llada", policy: str = "full", budget: int | None = None, **options: object
) -> RunningSequence:
    generation = Generation(**{"gen_length": 8, "block_length": 4, **options})
    settings = Settings(generation, policies.named(policy), None, 1.0)
    return RunningSequence(PROMPT, settings, CONFIGS[family], torch.device("cpu"))


def decide(running: RunningSequence, positions: list[int], tokens: list[int]) -> None:
    running.canvas.commit(torch.tensor(positions), torch.tensor(tokens))


@FAMILIES
def test_rows_of_the_next_pass(family: str) -> None:
    """Between prompt refreshes the pass starts at the first live row; Dream reads logits a row before the token."""
    logit_shift = CONFIGS[family].logit_shift
    running = sequence(family, prompt_interval=3, response_interval=2)
    seen = []
    for index in range(5):
        running.index = index
        seen.append((running.refresh, running.rows.start, running.logit_rows().tolist()))
    whole = [row - logit_shift for row in (5, 6, 7, 8)]
    assert seen == [
        (Refresh.PROMPT, 0, whole),
        (Refresh.PARTIAL, 5 - logit_shift, [0, 1, 2, 3]),
        (Refresh.RESPONSE, 5 - logit_shift, [0, 1, 2, 3]),
        (Refresh.PROMPT, 0, whole),
        (Refresh.RESPONSE, 5 - logit_shift, [0, 1, 2, 3]),
    ]


@FAMILIES
def test_without_a_cache_every_pass_is_whole(family: str) -> None:
    running = sequence(family, "none")
    running.index = 3
    decide(running, [0, 2], [1, 1])
    assert running.refresh is None
    assert running.rows.start == 0
    assert running.logit_rows().tolist() == [row - CONFIGS[family].logit_shift for row in (6, 8)]


def test_guidance_has_a_second_branch_of_masks() -> None:
    running = sequence("dream", cfg_scale=2.0)
    running.open_branches()
    decide(running, [1], [3])
    mask = DREAM.mask_id
    response = [mask, 3, *[mask] * 6]
    conditional, unconditional = running.branches
    assert conditional.tokens(running.canvas, slice(0, None)).tolist() == PROMPT + response
    assert unconditional.tokens(running.canvas, slice(0, None)).tolist() == [mask] * 5 + response
    assert conditional.tokens(running.canvas, slice(4, None)).tolist() == [9, *response]
    assert unconditional.tokens(running.canvas, slice(4, None)).tolist() == [mask, *response]
    assert unconditional.tokens(running.canvas, slice(5, None)).tolist() == response
    assert conditional.cache is not unconditional.cache


def test_finished_at_a_committed_end_token_with_nothing_open_before_it() -> None:
    running = sequence()
    decide(running, [2], [LLADA.eos_ids[1]])
    assert not running.finished
    decide(running, [0], [4])
    assert not running.finished
    decide(running, [1], [4])
    assert running.finished
    filler = LLADA.eos_ids[0]
    assert running.response() == [4, 4, LLADA.eos_ids[1], filler, filler, filler, filler, filler]


def test_what_an_early_stop_left_open_reads_as_the_end_not_as_padding() -> None:
    config = replace(LLADA, pad_id=3)
    settings = Settings(Generation(gen_length=8), policies.named("full"), None, 1.0)
    running = RunningSequence(PROMPT, settings, config, torch.device("cpu"))
    decide(running, [0], [LLADA.eos_ids[1]])
    assert running.response() == [LLADA.eos_ids[1], *[LLADA.eos_ids[0]] * 7]


def test_end_tokens_are_tokens_without_stop_at_eos() -> None:
    running = sequence(stop_at_eos=False)
    decide(running, list(range(7)), [LLADA.eos_ids[0]] * 7)
    assert not running.finished
    decide(running, [7], [3])
    assert running.finished
    assert running.response() == [LLADA.eos_ids[0]] * 7 + [3]


def test_end_tokens_in_the_prompt_do_not_finish() -> None:
    settings = Settings(Generation(gen_length=8), policies.named("full"), None, 1.0)
    running = RunningSequence([LLADA.eos_ids[0]] * 3, settings, LLADA, torch.device("cpu"))
    assert not running.finished


@FAMILIES
def test_full_cache_bytes_by_hand(family: str) -> None:
    """Per layer: K and V of 5 + 8 tokens, and two features of the live rows; bf16 is two bytes."""
    pairs, features = {"llada": (13 * 2 * 4 * 8, 8 * 2 * 32), "dream": (13 * 2 * 2 * 8, 9 * 2 * 40)}[family]
    layers = CONFIGS[family].num_layers
    assert sequence(family).full_cache_bytes(2) == layers * (pairs + features) * 2
    assert sequence(family, cfg_scale=1.0).full_cache_bytes(2) == 2 * layers * (pairs + features) * 2


def test_nothing_is_held_before_the_first_step() -> None:
    running = sequence()
    assert running.cache_bytes == 0
    assert running.kept() == []


def proposed(running: RunningSequence, confidences: list[float]) -> Proposals:
    return propose([running.sampler], [logits_of(confidences)])[0]


def logits_of(confidences: list[float]) -> torch.Tensor:
    """Give token 3 these probabilities and token 4 the rest."""
    logits = torch.full((len(confidences), LLADA.vocab_size), -torch.inf)
    logits[:, 3] = torch.tensor(confidences).log()
    logits[:, 4] = (1 - torch.tensor(confidences)).log()
    return logits


def test_in_doubt_the_prompt_is_read_again_before_anything_is_committed() -> None:
    running = sequence(min_confidence=0.9, prompt_interval=1, response_interval=2)
    committed, refreshes = [], []
    for confidences in ([0.6] * 4, [0.95, 0.6, 0.6], [0.6, 0.7], [0.6, 0.7], [0.95]):
        refreshes.append(running.refresh)
        committed.append(running.commit(proposed(running, confidences)).positions.tolist())
    assert refreshes == [Refresh.PROMPT, Refresh.PARTIAL, Refresh.RESPONSE, Refresh.PROMPT, Refresh.RESPONSE]
    assert committed == [[0], [1], [], [3], [2]]


def test_nobody_doubts_without_a_cache() -> None:
    running = sequence(policy="none", min_confidence=1.0)
    assert len(running.commit(proposed(running, [0.6] * 4)).positions) == 1
    assert running.refresh is None


def test_one_pass_reads_the_prompt_once() -> None:
    running = sequence(one_pass=True, prompt_interval=2, response_interval=2)
    seen = []
    for index in range(4):
        running.index = index
        seen.append(running.refresh)
    assert seen == [Refresh.PROMPT, Refresh.PARTIAL, Refresh.RESPONSE, Refresh.PARTIAL]
