"""The structured initialisation does what it says before any training."""

from dataclasses import asdict, replace

import pytest
import torch
from torch import Tensor

from maskkv.training.export import published_config
from maskkv.training.forward import logits
from maskkv.training.heads import Layout, Shape
from maskkv.training.structure import Words, structured
from maskkv.training.trainer import Trainer

SHAPE = Shape(1000)
WORDS = Words(mask=1, questions=[5], stops=[6], spellings=[(100, 101), (102, 103, 104)])


def start(shape: Shape = SHAPE, seed: int = 1) -> Trainer:
    return Trainer(published_config(asdict(shape), 0, 1, 2048), structured(shape, WORDS, seed))


@pytest.mark.parametrize("count", [60, 300])
def test_an_untrained_model_continues_what_it_has_read_before(count: int) -> None:
    """Different words twice, the second time with every fifth masked: continuing heads fill it in."""
    read = torch.randperm(900, generator=torch.Generator().manual_seed(0))[:count] + 100
    ids = torch.cat([read, read])
    where = torch.arange(count + 5, 2 * count, 5)
    hidden = ids.clone()
    hidden[where] = 1
    with torch.no_grad():
        found = logits(start().model, hidden[None], where).argmax(-1)
    assert (found == ids[where]).float().mean() >= 0.8


def test_spellings_of_a_word_start_alike_and_are_told_apart() -> None:
    weights = structured(SHAPE, WORDS, 1)

    def cosine(matrix: Tensor, one: int, other: int) -> float:
        rows = matrix[[one, other], : Layout(SHAPE).word.stop]
        return float(torch.cosine_similarity(rows[0], rows[1], dim=0))

    embedding, output = weights["model.transformer.wte.weight"], weights["model.transformer.ff_out.weight"]
    assert cosine(embedding, 100, 101) > 0.5
    assert abs(cosine(output, 100, 101)) < 0.3
    assert abs(cosine(embedding, 100, 200)) < 0.3


def test_the_same_seed_makes_the_same_weights() -> None:
    first, second, other = (structured(SHAPE, WORDS, seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.transformer.wte.weight"], other["model.transformer.wte.weight"])


def test_only_heads_with_a_job_have_an_effect_before_training() -> None:
    weights = structured(replace(SHAPE, n_layers=3), WORDS, 1)
    for layer in range(3):
        assert not weights[f"model.transformer.blocks.{layer}.ff_out.weight"].any()
    written = weights["model.transformer.blocks.0.attn_out.weight"].any(dim=1)
    layout = Layout(SHAPE)
    noted = {*range(layout.before[0].start, layout.before[-1].stop), *range(layout.opens.start, layout.opens.stop)}
    assert {int(row) for row in written.nonzero()} == noted


def test_an_untrained_model_finds_the_sentence_with_a_questions_words() -> None:
    """Twenty sentences of twenty words, a question with six words of one, then masks; chance finds one in 400."""
    right = 0
    model = start(replace(SHAPE, n_layers=6)).model
    for seed in range(20):
        rng = torch.Generator().manual_seed(seed)
        words = torch.randperm(850, generator=rng)[:400].view(20, 20) + 110
        text = torch.cat([words, torch.full((20, 1), 6)], dim=1).flatten()
        asked = seed
        question = torch.tensor([*words[asked, 8:14].tolist(), 5, 7, 6])
        ids = torch.cat([text, question, torch.ones(12, dtype=torch.long)])
        with torch.no_grad():
            found = logits(model, ids[None], torch.tensor([len(text) + len(question)]))
        right += int(found.argmax()) == int(words[asked, 0])
    assert right >= 6
