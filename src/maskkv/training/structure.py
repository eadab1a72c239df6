"""The structured initialisation of a model that quotes: attention heads that start with a job.

On two cores a small bias-free model never learned to look a fact up from random weights. These weights presume what a
lookup is made of and nothing about the tasks:

- *positional heads* (layer 0) note for every token the four tokens before it;
- *window heads* (layer 1) note what words stand some places before it and some places ahead, the common ones less;
- an *asking head* (layer 2) tells every token what words stand before the question marks;
- *continuing heads* (from layer 2 up, half of the heads) look for places with the same words before them, among the
  words that stand before the token itself, and copy what stands there;
- *beginning heads* (layers 3 and 4, the other half) look for places ahead of which these words stand.

Everything else starts without an effect (its output matrix is zero), and all of it is trained afterwards. The residual
stream starts out divided: the word itself, a constant, flags, the words before, the words behind and ahead.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from maskkv.training.heads import BEFORE, CONSTANT, POSITION, Block, Layout, Shape, normal

# Layers with beginning heads: where a text begins is found before its words are copied.
_BEGINNING = (3, 4)
# What the output matrix is of the words' vectors: the untrained model is nowhere sure.
_READ = 0.05
# How much spellings of one word have in common, as the cosine of their vectors.
_KINSHIP = 0.5


@dataclass(frozen=True)
class Words:
    """What the structure needs to know of the tokens: all of it is in a tokenizer's vocabulary and a text's counts."""

    mask: int
    questions: Sequence[int]
    common: Sequence[int] = ()
    spellings: Sequence[Sequence[int]] = field(default=())


def structured(shape: Shape, words: Words, seed: int) -> dict[str, Tensor]:
    """Make all weights, by their published LLaDA names, in float32."""
    rng = torch.Generator().manual_seed(seed)
    layout = Layout(shape)
    embedding, output = _embedding(shape, layout, words, rng)
    weights = {"model.transformer.wte.weight": embedding}
    before = len(BEFORE) * (layout.before[0].stop - layout.before[0].start)
    after_windows = layout.length(before + layout.ahead.stop - layout.behind.start)
    for layer in range(shape.n_layers):
        block = Block(shape, layout, rng)
        if layer == 0:
            block.note(POSITION, layout.length(0))
        elif layer == 1:
            block.survey(layout.length(before))
        else:
            block.proceed(range(shape.group), after_windows)
        if layer == 2:
            block.ask(range(shape.group, 2 * shape.group), after_windows)
        elif layer in _BEGINNING:
            block.begin(range(shape.group, 2 * shape.group), after_windows)
        weights |= {f"model.transformer.blocks.{layer}.{name}.weight": w for name, w in block.weights.items()}
    weights["model.transformer.ln_f.weight"] = torch.ones(shape.d_model)
    weights["model.transformer.ff_out.weight"] = output
    return weights


def _embedding(shape: Shape, layout: Layout, words: Words, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Give every token a random vector, like those of its other spellings, the constant and its flags.

    The output matrix has the part of the vectors that tells spellings apart.
    """
    table, output = torch.zeros(shape.vocab_size, shape.d_model), torch.zeros(shape.vocab_size, shape.d_model)
    own = normal(rng, shape.vocab_size, layout.word.stop, 1.0)
    table[:, layout.word], output[:, layout.word] = own, _READ * own
    for tokens in words.spellings:
        common = normal(rng, 1, layout.word.stop, _KINSHIP**0.5)
        table[list(tokens), layout.word] = common + (1 - _KINSHIP) ** 0.5 * own[list(tokens)]
    table[:, layout.constant] = CONSTANT
    table[list(words.common), layout.common] = 1.0
    table[list(words.questions), layout.question] = 1.0
    # A mask has no word; its flag makes up for the length, so that the norm treats it like a word.
    table[words.mask, layout.word], output[words.mask] = 0, 0
    table[words.mask, layout.flag] = (layout.word.stop / 8) ** 0.5
    return table, output
