"""Batched training computes what the package computes one sequence at a time."""

import torch
import torch.nn.functional as F

from maskkv.mini import words
from maskkv.training.data import batch
from maskkv.training.forward import Attention, logits
from maskkv.training.init import Shape
from maskkv.training.train import trainer


def test_gradients_are_those_of_plain_attention() -> None:
    torch.manual_seed(0)
    heads = [torch.randn(3, 2, 9, 8, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    weight = torch.randn(3, 2, 9, 8, dtype=torch.float64)
    ours = torch.autograd.grad(Attention.apply(*heads), heads, weight)
    plain = torch.autograd.grad(F.scaled_dot_product_attention(*heads), heads, weight)
    torch.testing.assert_close(ours, plain)


def test_a_sequence_is_read_the_same_alone_and_among_others() -> None:
    trained = trainer(Shape(len(words.VOCABULARY)), seed=1, trained_length=1024)
    model = trained.model.float()
    drawn = batch(3, 72, 4)
    place = torch.arange(72)
    with torch.no_grad():
        together = logits(model, drawn.ids, 72 + place)
        alone = logits(model, drawn.ids[1:2], place)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
