"""A short seeded run of the training program, stopped and resumed, and the folder it leaves."""

from pathlib import Path

import pytest
import torch

from maskkv.checkpoints import weights
from maskkv.mini import words
from maskkv.text.tokenizer import Text
from maskkv.training.init import Shape
from maskkv.training.train import STAGES, Stage, schedule, train, trainer
from maskkv.training.trainer import Trainer

SHAPE = Shape(len(words.VOCABULARY), n_layers=3, mlp_hidden_size=64)
SHORT = (Stage((72, 80), 640, 10, 1.0, 1.0), Stage((96,), 576, 10, 1.0, 0.0))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, list[float], Path]:
    out = tmp_path_factory.mktemp("run")
    trained = trainer(SHAPE, seed=3, trained_length=96)
    return trained, train(trained, SHAPE, 3, SHORT, out), out


def test_the_loss_falls(finished: tuple[Trainer, list[float], Path]) -> None:
    _, losses, _ = finished
    assert len(losses) == 20
    assert sum(losses[15:]) < sum(losses[:5])


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    finished: tuple[Trainer, list[float], Path], tmp_path: Path
) -> None:
    whole, losses, _ = finished
    first = trainer(SHAPE, seed=3, trained_length=96)
    train(first, SHAPE, 3, SHORT[:1], tmp_path)
    second = trainer(SHAPE, seed=3, trained_length=96)
    second.load(tmp_path / "checkpoint.safetensors")
    assert train(second, SHAPE, 3, SHORT, tmp_path) == losses[10:]
    for name, weight in whole.master.items():
        assert torch.equal(second.master[name], weight), name


def test_the_folder_loads_like_any_checkpoint(finished: tuple[Trainer, list[float], Path]) -> None:
    trained, _, out = finished
    model = weights.load(out, device="cpu")
    made = trained.model.to(torch.bfloat16)
    assert torch.equal(model.embed.weight.bfloat16(), made.embed.weight)
    assert torch.equal(model.layers[2].mlp.down_proj.weight.bfloat16(), made.layers[2].mlp.down_proj.weight)
    assert Text.load(out).has_chat_template


def test_rates_fall_to_zero_at_the_end_of_the_shipped_schedule() -> None:
    factors = [factor for _, factor in schedule(STAGES)]
    assert factors[-1] < 0.01
    assert max(factors) == factors[0]
    assert max(STAGES[-1].lengths) > 1024
