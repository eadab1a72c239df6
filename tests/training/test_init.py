"""The structured initialisation does what it says before any training."""

import torch

from maskkv.mini import words
from maskkv.training.forward import logits
from maskkv.training.init import Shape
from maskkv.training.train import trainer


def test_an_untrained_model_continues_what_it_has_read_before() -> None:
    """Sixty different words twice, the second time with every fifth word masked: matching heads fill it in."""
    model = trainer(Shape(len(words.VOCABULARY)), seed=1, trained_length=1024).model
    read = torch.randperm(len(words.VOCABULARY) - 3, generator=torch.Generator().manual_seed(0))[:60] + 3
    ids = torch.cat([read, read])
    where = torch.arange(65, 120, 5)
    hidden = ids.clone()
    hidden[where] = words.VOCABULARY.index(words.MASK)
    with torch.no_grad():
        found = logits(model, hidden[None], where).argmax(-1)
    assert (found == ids[where]).float().mean() >= 0.8


def test_the_same_seed_makes_the_same_weights() -> None:
    shape = Shape(len(words.VOCABULARY))
    first, second, other = (trainer(shape, seed, 1024).master for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.transformer.wte.weight"], other["model.transformer.wte.weight"])
