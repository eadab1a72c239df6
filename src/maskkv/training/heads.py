"""Heads that start with a job: where the parts of the residual stream lie, and the weights of one layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Rotary pairs that turn slower than this (radians per token) hardly know where a token stands.
_SLOW = 1.5e-3
# How far a positional head's offset stands out, as a logit for each rotary pair that turns faster.
POSITION = (18.0, 18.0, 18.0, 18.0, 18.0, 18.0)
# The same for a head that attends to some twenty tokens: only the pairs that turn slowly can be so wide.
_WINDOW = (0.0, 0.0, 3.0, 6.0, 6.0, 6.0)
_WINDOW_CENTRE = 11
# What masks and question marks get in a window that looks for them.
_SOUGHT = 4.0
# What the same word gets from a comparing head, and what the token itself gets for each of the fastest pairs.
_SAME = 14.0
_SELF = (-2.0, -2.0, -2.0)
# The logits that equal words are worth, one to four places before.
BEFORE = (9.0, 8.0, 8.0, 6.0)
# What a whole window of the question's words is worth to a head that copies, and a place where a sentence opens to one
# that begins.
_RELEVANT = 60.0
_OPENS = 9.0
# What a place within the question is worth less.
_ASKED = 10.0
_COPY = 0.7
CONSTANT = 2.0
FEATURE = 4
"""Dimensions of a feature that is a number."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a model, by the names of LLaDA's config.json."""

    vocab_size: int
    d_model: int = 256
    n_layers: int = 8
    n_heads: int = 4
    n_kv_heads: int = 2
    mlp_hidden_size: int = 512
    rope_theta: float = 1e16

    @property
    def head_dim(self) -> int:
        """Give the width of one head."""
        return self.d_model // self.n_heads

    @property
    def group(self) -> int:
        """Give how many query heads share a key and value head."""
        return self.n_heads // self.n_kv_heads


class Layout:
    """Where the parts of the residual stream lie."""

    def __init__(self, shape: Shape) -> None:
        room = shape.d_model * 9 // 128
        word = shape.d_model - len(BEFORE) * room - 7 * FEATURE - 16
        self.word = slice(0, word)
        self.constant = slice(word, word + 8)
        self.flag = slice(word + 8, word + 16)
        features = [slice(start, start + FEATURE) for start in range(word + 16, word + 16 + 7 * FEATURE, FEATURE)]
        self.question, self.stop, self.opens, self.asked, self.same, self.behind, self.ahead = features
        first = word + 16 + 7 * FEATURE
        self.before = [slice(first + i * room, first + (i + 1) * room) for i in range(len(BEFORE))]

    def length(self, noted: int) -> float:
        """Estimate the root mean square of a row in which `noted` dimensions are noted."""
        return ((self.word.stop + 8 * CONSTANT**2 + noted) / self.before[-1].stop) ** 0.5


def normal(rng: torch.Generator, rows: int, columns: int, deviation: float) -> Tensor:
    """Draw a matrix of independent numbers around zero."""
    return torch.randn(rows, columns, generator=rng) * deviation


def orthogonal(rng: torch.Generator, rows: int, columns: int) -> Tensor:
    """Draw a matrix whose rows (or columns, where there are fewer) are orthonormal."""
    tall = torch.randn(max(rows, columns), min(rows, columns), generator=rng)
    basis = torch.linalg.qr(tall)[0]
    return basis if rows >= columns else basis.T


class Block:
    """The weights of a layer that adds nothing yet, and the jobs that its heads can be given."""

    def __init__(self, shape: Shape, layout: Layout, rng: torch.Generator) -> None:
        self._shape, self._layout, self._rng = shape, layout, rng
        d, m, kv, small = shape.d_model, shape.mlp_hidden_size, shape.n_kv_heads * shape.head_dim, shape.d_model**-0.5
        half = shape.head_dim // 2
        self._turns = shape.rope_theta ** (-torch.arange(half) / half)
        self._slow = torch.nonzero(self._turns < _SLOW).flatten()
        self.weights = {
            "attn_norm": torch.ones(d),
            "q_proj": normal(rng, d, d, small),
            "k_proj": normal(rng, kv, d, small),
            "v_proj": normal(rng, kv, d, small),
            "attn_out": torch.zeros(d, d),
            "ff_norm": torch.ones(d),
            "ff_proj": normal(rng, m, d, small),
            "up_proj": normal(rng, m, d, small),
            "ff_out": torch.zeros(d, m),
        }

    def _queries(self, head: int) -> slice:
        return slice(head * self._shape.head_dim, (head + 1) * self._shape.head_dim)

    def _keys(self, head: int) -> slice:
        return self._queries(head // self._shape.group)

    def note(self, length: float) -> None:
        """Let the first heads look one to four places back, and note the word; the first, whether a sentence ended."""
        room = self._layout.before[0].stop - self._layout.before[0].start
        for head, target in enumerate(self._layout.before):
            first = head % self._shape.group * room
            if first == 0:
                self.weights["v_proj"][self._keys(head)] = 0
            self._look(head, -1 - head, POSITION, length)
            self._read_words(head, slice(first, first + room))
            self._write(head, slice(first, first + room), target, length)
        self._tell(0, self._shape.group * room, [(self._layout.stop, 1.0)], self._layout.opens, length)

    def seek(self, length: float, mask: float) -> None:
        """Let a head find masks (whose flag is `mask`) and question marks ahead: where a question stands."""
        question, flag = self._layout.question, self._layout.flag
        self.weights["v_proj"][self._keys(0)] = 0
        self._look(0, _WINDOW_CENTRE, _WINDOW, length)
        self._prefer([0], int(self._slow[0]), question, _SOUGHT, length)
        self._prefer([0], int(self._slow[1]), flag, _SOUGHT / mask, length)
        self._tell(0, 0, [(question, 1.0), (flag, 1 / mask)], self._layout.asked, length)

    def compare(self, head: int, length: float) -> None:
        """Let a head find the same word elsewhere, and tell how much of it stands in a question."""
        word = self._layout.word
        (code,) = self._codes([(_SAME, word.stop)], length)
        for name, rows in (("q_proj", self._queries(head)), ("k_proj", self._keys(head))):
            self.weights[name][rows] = 0
            self.weights[name][rows, word] = code
        self._look(head, 0, _SELF, length, only=len(_SELF))
        self.weights["v_proj"][self._keys(head)] = 0
        self._tell(head, 0, [(self._layout.asked, 1.0)], self._layout.same, length)

    def gather(self, heads: range, length: float) -> None:
        """Let two heads tell how many of the words some places before and some places ahead stand in a question."""
        self.weights["v_proj"][self._keys(heads[0])] = 0
        for place, target in enumerate((self._layout.behind, self._layout.ahead)):
            self._look(heads[place], (2 * place - 1) * _WINDOW_CENTRE, _WINDOW, length)
            self._tell(heads[place], 0, [(self._layout.same, 1.0)], target, length)

    def proceed(self, heads: range, length: float, informed: bool) -> None:
        """Let a group's heads look for the same words before, `informed` near a question's words, and copy."""
        query, key = self._empty(), self._empty()
        parts = [(logit, before.stop - before.start) for logit, before in zip(BEFORE, self._layout.before, strict=True)]
        for code, before in zip(self._codes(parts, length), self._layout.before, strict=True):
            query[:, before] = key[:, before] = code
        self._copy(heads, query, key)
        if informed:
            self._prefer(heads, int(self._slow[1]), self._layout.asked, -_ASKED, length)
            for pair, flags in zip((2, 3), (self._layout.behind, self._layout.ahead), strict=True):
                self._prefer(heads, int(self._slow[pair]), flags, _RELEVANT / 2, length)

    def begin(self, heads: range, length: float) -> None:
        """Let a group's heads look for places where a sentence opens with a question's words ahead, and copy."""
        query, key = self._empty(), self._empty()
        opening = int(self._slow[3])
        scale = (_OPENS * self._shape.head_dim**0.5) ** 0.5 * length / FEATURE
        query[opening, self._layout.opens] = key[opening, self._layout.opens] = scale
        self._copy(heads, query, key)
        self._prefer(heads, int(self._slow[1]), self._layout.asked, -_ASKED, length)
        self._prefer(heads, int(self._slow[2]), self._layout.ahead, _RELEVANT, length)

    def _empty(self) -> Tensor:
        return torch.zeros(self._shape.head_dim, self._shape.d_model)

    def _codes(self, parts: Sequence[tuple[float, int]], length: float) -> list[Tensor]:
        """Project parts of the stream, each to rotary pairs of its own that hardly turn, worth a logit where equal.

        The first slow pairs are left out: they carry features.
        """
        size, half, pairs = self._shape.head_dim, self._shape.head_dim // 2, self._slow[4:]
        places = torch.cat([pairs, pairs + half]).tensor_split(len(parts))
        codes = []
        for own, (logit, width) in zip(places, parts, strict=True):
            code = torch.zeros(size, width)
            code[own] = (logit * size**0.5 / len(own)) ** 0.5 * length * orthogonal(self._rng, len(own), width)
            codes.append(code)
        return codes

    def _copy(self, heads: range, query: Tensor, key: Tensor) -> None:
        """Let a group's heads copy the word, but no mask's, where keys are like queries."""
        flagged, keys = int(self._slow[0]), self._keys(heads[0])
        self.weights["k_proj"][keys] = key
        self.weights["k_proj"][keys.start + flagged, self._layout.flag] = -1.0
        word = self._empty()
        word[:, self._layout.word] = orthogonal(self._rng, len(word), self._layout.word.stop)
        self.weights["v_proj"][keys] = word
        for head in heads:
            rows = self._queries(head)
            self.weights["q_proj"][rows] = query
            self.weights["q_proj"][rows.start + flagged, self._layout.constant] = 1.0
            self.weights["attn_out"][:, rows] = _COPY / len(heads) * word.T

    def _look(self, head: int, offset: int, logits: Sequence[float], length: float, only: int | None = None) -> None:
        """Let `head` attend to what stands `offset` places away, by a logit for each of the fastest rotary pairs.

        The heads of a group have their keys in common, so the offset is in the query. With `only` all other rotary
        pairs keep their weights.
        """
        half = self._shape.head_dim // 2
        given = torch.zeros(half)
        given[: len(logits)] = torch.tensor(logits) * self._shape.head_dim**0.5
        strength, angles = given.abs() ** 0.5, offset * self._turns
        query = torch.cat((given.sign() * strength * angles.cos(), given.sign() * strength * angles.sin()))
        key = torch.cat((strength, torch.zeros(half)))
        pairs = torch.arange(half if only is None else only)
        for name, rows, vector in (("q_proj", self._queries(head), query), ("k_proj", self._keys(head), key)):
            for dims in (pairs, pairs + half):
                self.weights[name][rows.start + dims] = 0
                placed = (vector[dims] * length / (8 * CONSTANT))[:, None].expand(-1, 8)
                self.weights[name][rows.start + dims, self._layout.constant] = placed

    def _prefer(self, heads: Sequence[int], pair: int, flags: slice, logit: float, length: float) -> None:
        """Add `logit` times a flag to what keys get from a group's heads, in a rotary pair that hardly turns."""
        for head in heads:
            row = self._queries(head).start + pair
            self.weights["q_proj"][row] = 0
            self.weights["q_proj"][row, self._layout.constant] = length / (8 * CONSTANT)
        row = self._keys(heads[0]).start + pair
        size = flags.stop - flags.start
        self.weights["k_proj"][row] = 0
        self.weights["k_proj"][row, flags] = logit * self._shape.head_dim**0.5 * length / size

    def _tell(self, head: int, room: int, sources: Sequence[tuple[slice, float]], target: slice, length: float) -> None:
        """Let `head` read the sum of some features, in one dimension of its values, and write it to `target`."""
        row = self._keys(head).start + room
        for source, scale in sources:
            self.weights["v_proj"][row, source] = scale / (source.stop - source.start)
        self.weights["attn_out"][target, self._queries(head).start + room] = length

    def _read_words(self, head: int, room: slice) -> None:
        """Let the values of `head` hold a projection of the word in `room` of their dimensions."""
        keys = self._keys(head)
        read = orthogonal(self._rng, room.stop - room.start, self._layout.word.stop)
        self.weights["v_proj"][keys.start + room.start : keys.start + room.stop, self._layout.word] = read

    def _write(self, head: int, room: slice, target: slice, gain: float) -> None:
        """Add what `head` reads in `room` of its dimensions to `target`, `gain` times."""
        first = self._queries(head).start
        columns = slice(first + room.start, first + room.stop)
        self.weights["attn_out"][target, columns] = gain * torch.eye(target.stop - target.start)
