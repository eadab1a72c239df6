"""The structured initialisation of the bundled model: attention heads that start with a job.

A small bias-free model trained from random weights on two cores never learned to look a fact up (the loss
stayed at "one of the candidates"). These weights presume the two ingredients of a lookup and nothing about
the tasks: *positional heads*, which note for every token what its neighbours are, and *matching heads*, which
look for places with the same words before them and copy what stands there. All of it is trained afterwards.

The residual stream starts out divided: the word itself, a constant, a flag, the words before, the word after.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# Rotary pairs that turn slower than this (radians per token) hardly know where a token stands.
_SLOW = 1.5e-3
# How far a positional head's preferred offset stands out, as a logit per rotary pair it uses.
_POSITIONAL_LOGIT = 18.0
# The logit that the same word one, two, three and four places before is worth to a matching head.
_MATCH_LOGITS = (9.0, 8.0, 8.0, 6.0)
_COPY = 0.7
_CONSTANT = 2.0
# How much members of one category have in common, as the cosine of their vectors.
_KINSHIP = 0.6


@dataclass(frozen=True)
class Shape:
    """The sizes of a model, by the names of LLaDA's config.json."""

    vocab_size: int
    d_model: int = 192
    n_layers: int = 6
    n_heads: int = 3
    mlp_hidden_size: int = 384
    rope_theta: float = 1e16

    @property
    def head_dim(self) -> int:
        """Give the width of one head."""
        return self.d_model // self.n_heads


class _Layout:
    """Where the parts of the residual stream lie."""

    def __init__(self, shape: Shape) -> None:
        offsets = len(_MATCH_LOGITS)
        room = shape.d_model * 5 // 12 // offsets
        word = shape.d_model - offsets * room - 16
        self.word = slice(0, word)
        self.constant = slice(word, word + 8)
        self.flag = slice(word + 8, word + 16)
        first = word + 16
        self.before = [slice(first + i * room, first + (i + 1) * room) for i in range(offsets)]


def structured(
    shape: Shape, mask_id: int, silent_ids: list[int], categories: list[list[int]], seed: int
) -> dict[str, Tensor]:
    """Make all weights, by their published LLaDA names, in float32.

    `silent_ids` are words that matching heads must not copy although they stand where facts stand: the
    question's own "what". The mask is always silent. `categories` are groups of words that start out alike.
    """
    rng = torch.Generator().manual_seed(seed)
    layout = _Layout(shape)
    embedding = _embedding(shape, layout, rng)
    for members in categories:
        common = _normal(rng, 1, layout.word.stop, _KINSHIP**0.5)
        embedding[members, layout.word] = common + (1 - _KINSHIP) ** 0.5 * embedding[members, layout.word]
    embedding[silent_ids, layout.flag] = 1.5
    # A mask has no word; its flag makes up for the length, so that the norm treats it like a word.
    embedding[mask_id, layout.word] = 0
    embedding[mask_id, layout.flag] = (layout.word.stop / 8) ** 0.5
    weights = {"model.transformer.wte.weight": embedding}
    for layer in range(shape.n_layers):
        block = _plain_block(shape, rng)
        if layer == 0:
            for head in range(3):
                _note(block, shape, layout, head, head + 1, rng)
        elif layer == 1:
            _note(block, shape, layout, 0, 4, rng)
        else:
            for head in range((2 * shape.n_heads) // 3):
                _match(block, shape, layout, head, rng)
        weights |= {f"model.transformer.blocks.{layer}.{name}.weight": w for name, w in block.items()}
    output = 0.04 * embedding
    output[:, layout.word.stop :] = 0
    weights["model.transformer.ln_f.weight"] = torch.ones(shape.d_model)
    weights["model.transformer.ff_out.weight"] = output
    return weights


def _normal(rng: torch.Generator, rows: int, columns: int, deviation: float) -> Tensor:
    return torch.randn(rows, columns, generator=rng) * deviation


def _orthogonal(rng: torch.Generator, rows: int, columns: int) -> Tensor:
    """Draw a matrix whose rows (or columns, where there are fewer) are orthonormal."""
    tall = torch.randn(max(rows, columns), min(rows, columns), generator=rng)
    basis = torch.linalg.qr(tall)[0]
    return basis if rows >= columns else basis.T


def _embedding(shape: Shape, layout: _Layout, rng: torch.Generator) -> Tensor:
    """Give every word a random vector and the constant."""
    table = torch.zeros(shape.vocab_size, shape.d_model)
    table[:, layout.word] = _normal(rng, shape.vocab_size, layout.word.stop, 1.0)
    table[:, layout.constant] = _CONSTANT
    return table


def _length(layout: _Layout, noted: int) -> float:
    """Estimate the root mean square of a row in which `noted` words before are noted."""
    squares = layout.word.stop + 8 * _CONSTANT**2 + noted * (layout.before[0].stop - layout.before[0].start)
    return (squares / layout.before[-1].stop) ** 0.5


def _plain_block(shape: Shape, rng: torch.Generator) -> dict[str, Tensor]:
    """Make a layer that adds nothing yet: small random inputs, zero outputs."""
    d, m = shape.d_model, shape.mlp_hidden_size
    small = d**-0.5
    block = {name: _normal(rng, d, d, small) for name in ("q_proj", "k_proj", "v_proj")}
    block |= {name: _normal(rng, m, d, small) for name in ("ff_proj", "up_proj")}
    block |= {"attn_out": torch.zeros(d, d), "ff_out": torch.zeros(d, m)}
    block |= {"attn_norm": torch.ones(d), "ff_norm": torch.ones(d)}
    return block


def _rows(shape: Shape, head: int) -> slice:
    return slice(head * shape.head_dim, (head + 1) * shape.head_dim)


def _turns(shape: Shape) -> Tensor:
    """Give the radians per token of each rotary pair."""
    half = shape.head_dim // 2
    return shape.rope_theta ** (-torch.arange(half) / half)


def _note(block: dict[str, Tensor], shape: Shape, layout: _Layout, head: int, back: int, rng: torch.Generator) -> None:
    """Let `head` look `back` places back, whatever the words are, and note the word it finds."""
    rows, half = _rows(shape, head), shape.head_dim // 2
    turns = _turns(shape)
    turns = turns[turns >= _SLOW]
    length = _length(layout, 0 if back < 4 else 3)
    strength = (_POSITIONAL_LOGIT * shape.head_dim**0.5) ** 0.5
    query, key = torch.zeros(shape.head_dim), torch.zeros(shape.head_dim)
    query[: len(turns)] = strength
    key[: len(turns)] = strength * torch.cos(back * turns)
    key[half : half + len(turns)] = strength * torch.sin(back * turns)
    for name, vector in (("q_proj", query), ("k_proj", key)):
        block[name][rows] = 0
        block[name][rows, layout.constant] = (vector * length / (8 * _CONSTANT))[:, None]
    target = layout.before[back - 1]
    room = target.stop - target.start
    block["v_proj"][rows] = 0
    block["v_proj"][rows.start : rows.start + room, layout.word] = _orthogonal(rng, room, layout.word.stop)
    block["attn_out"][target, rows.start : rows.start + room] = length * torch.eye(room)


def _match(block: dict[str, Tensor], shape: Shape, layout: _Layout, head: int, rng: torch.Generator) -> None:
    """Let `head` look for places with the same words before them and copy the word that stands there."""
    rows, size, half = _rows(shape, head), shape.head_dim, shape.head_dim // 2
    slow = torch.nonzero(_turns(shape) < _SLOW).flatten()
    # The first slow pair carries the flag; the others compare the words before, each in places of its own.
    flagged, pairs = int(slow[0]), slow[1:]
    places = torch.cat([pairs, pairs + half]).tensor_split(len(_MATCH_LOGITS))
    length = _length(layout, len(_MATCH_LOGITS))
    code = torch.zeros(size, shape.d_model)
    for own, logit, before in zip(places, _MATCH_LOGITS, layout.before, strict=True):
        scale = (logit * size**0.5 / len(own)) ** 0.5 * length
        code[own, before] = scale * _orthogonal(rng, len(own), before.stop - before.start)
    block["q_proj"][rows], block["k_proj"][rows] = code, code
    block["q_proj"][rows.start + flagged, layout.constant] = 1.0
    block["k_proj"][rows.start + flagged, layout.flag] = -1.0
    word = torch.zeros(size, shape.d_model)
    word[:, layout.word] = _orthogonal(rng, size, layout.word.stop)
    block["v_proj"][rows] = word
    block["attn_out"][:, rows] = _COPY * word.T
