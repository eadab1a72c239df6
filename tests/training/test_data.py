"""Training batches: what is hidden, what it weighs, and that nothing of the benchmark is trained on."""

import torch

from maskkv import mini
from maskkv.mini import words
from maskkv.training.data import IDS, MIX, batch
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
    """The weights of a batch add up: 1 for the responses, 0.5 for what is stated twice, 0.1 for stray masks."""
    for seed in range(5):
        drawn = batch(32, 264, seed)
        torch.testing.assert_close(drawn.weights.sum().item(), 1.6, rtol=1e-4, atol=0)
        # A lone mask of a response weighs 1/rows, more than any other can; of k masks each weighs 1/k of that.
        assert drawn.weights.max() <= 1 / 32 + 1e-6


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


def test_the_mix_covers_every_kind_of_the_benchmark() -> None:
    trained = {(kind, placement) for kind, placement, _, _ in MIX}
    assert {(task.kind, task.placement) for task in mini.CATALOGUE.values()} <= trained
    assert abs(sum(share for *_, share in MIX) - 1) < 1e-9
