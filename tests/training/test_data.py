"""Training batches: what is hidden, what it weighs, and that nothing of the benchmark is trained on."""

import pytest
import torch

from maskkv import mini
from maskkv.mini import words
from maskkv.training.data import BROAD, IDS, LONG_ANSWERS, Mix, batch
from maskkv.training.train import STAGES, draw

MASK = IDS[words.MASK]


def test_a_seed_makes_a_batch_and_another_seed_another() -> None:
    assert torch.equal(batch(4, 96, 7).ids, batch(4, 96, 7).ids)
    assert not torch.equal(batch(4, 96, 7).ids, batch(4, 96, 8).ids)


def test_every_row_has_the_length_asked_for() -> None:
    for length in (72, 136, 520):
        assert batch(3, length, 1).ids.shape == (3, length)


def test_masks_stand_exactly_where_targets_were_hidden() -> None:
    drawn = batch(16, 136, 3)
    assert set(drawn.where.tolist()) == set((drawn.ids.flatten() == MASK).nonzero().flatten().tolist())
    assert len(set(drawn.where.tolist())) == len(drawn.where)
    assert (drawn.targets != MASK).all()


def test_each_response_weighs_the_same_however_many_masks_it_has() -> None:
    """The weight 1/k over k masks: the masks of a response add up to 1/rows."""
    rows, length = 12, 136
    drawn = batch(rows, length, 5)
    whole = drawn.ids.flatten().clone()
    whole[drawn.where] = drawn.targets
    cue = [IDS["answer"], IDS[":"]]
    starts = []
    for ids in whole.view(rows, length).tolist():
        starts.append(max(place for place in range(length) if ids[place : place + 2] == cue) + 2)
    total = torch.zeros(rows)
    for place, weight in zip(drawn.where.tolist(), drawn.weights.tolist(), strict=True):
        if place % length >= starts[place // length]:
            total[place // length] += weight
    torch.testing.assert_close(total, torch.full((rows,), 1 / rows))


def test_prompts_are_trained_too() -> None:
    drawn = batch(32, 264, 11)
    columns = drawn.where % 264
    assert (columns < 200).sum() > 32


def test_training_draws_from_its_own_seeds() -> None:
    stage = STAGES[0]
    for step in (0, 10**6):
        for part, made in enumerate(draw(stage, 1, step)):
            length = stage.lengths[step % len(stage.lengths)]
            seed = mini.FIRST_TRAINING_SEED + 10**7 + step + part * 5 * 10**6
            assert torch.equal(made.ids, batch(len(made.ids), length, seed).ids)


@pytest.mark.parametrize("mix", [BROAD, LONG_ANSWERS])
def test_a_mix_covers_every_kind_of_the_benchmark(mix: Mix) -> None:
    trained = {(kind, placement) for kind, placement, _, _ in mix}
    assert {(task.kind, task.placement) for task in mini.CATALOGUE.values()} <= trained
    assert abs(sum(share for *_, share in mix) - 1) < 1e-9
