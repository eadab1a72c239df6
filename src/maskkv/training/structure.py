"""The structured initialisation of a model that quotes: attention heads that start with a job.

On two cores a small bias-free model never learned to look a fact up from random weights. These weights presume what a
lookup is made of and nothing about the tasks:

- *positional heads* (layer 0) note for every token the four tokens before it, and whether a sentence ended there;
- a *seeking head* (layer 1) notes whether masks or a question mark stand ahead: so it does within a question;
- a *comparing head* (layer 2) finds the same word elsewhere, and notes how much of it stands in a question: much of a
  rare word, little of a common one;
- *gathering heads* (layer 3) note how many such words stand some places before and ahead;
- *continuing heads* (from layer 2 up, half of the heads) look for places with the same words before, from layer 4 on
  near a question's words, and copy what stands there;
- *beginning heads* (layers 4 and 5, the other half) look for sentences with a question's words.

Everything else starts without an effect (its output matrix is zero), and all of it is trained afterwards. The residual
stream starts out divided: the word itself, a constant, features that are numbers, the words before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from maskkv.training.heads import CONSTANT, Block, Layout, Shape, normal

# From which layer on it is known where a question's words stand, and the layers with beginning heads.
_INFORMED = 4
_BEGINNING = (4, 5)
# What the output matrix is of the words' vectors: the untrained model is nowhere sure.
_READ = 0.05
# How much spellings of one word have in common, as the cosine of their vectors.
_KINSHIP = 0.7


@dataclass(frozen=True)
class Words:
    """What the structure needs to know of the tokens: all of it is in a tokenizer's vocabulary and a text's counts."""

    mask: int
    questions: Sequence[int]
    stops: Sequence[int]
    spellings: Sequence[Sequence[int]] = field(default=())


def structured(shape: Shape, words: Words, seed: int) -> dict[str, Tensor]:
    """Make all weights, by their published LLaDA names, in float32."""
    rng = torch.Generator().manual_seed(seed)
    layout = Layout(shape)
    embedding, output = _embedding(shape, layout, words, rng)
    weights = {"model.transformer.wte.weight": embedding}
    bare, noted = layout.length(0), layout.length(layout.before[-1].stop - layout.before[0].start)
    own, other = range(shape.group), range(shape.group, 2 * shape.group)
    for layer in range(shape.n_layers):
        block = Block(shape, layout, rng)
        if layer == 0:
            block.note(bare)
        elif layer == 1:
            block.seek(noted, _mask_flag(layout))
        else:
            block.proceed(own, noted, informed=layer >= _INFORMED)
        if layer == 2:
            block.compare(other[0], noted)
        elif layer == 3:
            block.gather(other, noted)
        elif layer in _BEGINNING:
            block.begin(other, noted)
        weights |= {f"model.transformer.blocks.{layer}.{name}.weight": w for name, w in block.weights.items()}
    weights["model.transformer.ln_f.weight"] = torch.ones(shape.d_model)
    weights["model.transformer.ff_out.weight"] = output
    return weights


def _mask_flag(layout: Layout) -> float:
    return float((layout.word.stop / 8) ** 0.5)


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
    table[list(words.questions), layout.question] = 1.0
    table[list(words.stops), layout.stop] = 1.0
    # A mask has no word; its flag makes up for the length, so that the norm treats it like a word.
    table[words.mask, layout.word], output[words.mask] = 0, 0
    table[words.mask, layout.flag] = _mask_flag(layout)
    return table, output
