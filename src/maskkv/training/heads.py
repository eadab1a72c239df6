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
# The logits that equal words are worth: one to four places before, around, and ahead to a head that begins.
BEFORE = (9.0, 8.0, 8.0, 6.0)
_AROUND = 6.0
_AHEAD = 16.0
# What one of the commonest words is worth less to a window head, and a question mark more to an asking head.
_COMMON = 3.0
_ASKING = 12.0
_ASKED = 0.7
_COPY = 0.7
CONSTANT = 2.0
# How large the mean of some twenty random vectors is: what a window notes is made as large as a word.
_MEAN_LENGTH = 0.25


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
        room, window = shape.d_model * 5 // 64, shape.d_model * 3 // 32
        word = shape.d_model - len(BEFORE) * room - 2 * window - 24
        self.word = slice(0, word)
        self.constant = slice(word, word + 8)
        self.flag = slice(word + 8, word + 16)
        self.common = slice(word + 16, word + 20)
        self.question = slice(word + 20, word + 24)
        first = word + 24
        self.before = [slice(first + i * room, first + (i + 1) * room) for i in range(len(BEFORE))]
        self.behind = slice(shape.d_model - 2 * window, shape.d_model - window)
        self.ahead = slice(shape.d_model - window, shape.d_model)

    def length(self, noted: int) -> float:
        """Estimate the root mean square of a row in which `noted` dimensions are noted."""
        return ((self.word.stop + 8 * CONSTANT**2 + noted) / self.ahead.stop) ** 0.5


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

    def note(self, logits: Sequence[float], length: float) -> None:
        """Let the first heads look one to four places back, whatever the words are, and note the word."""
        room = self._layout.before[0].stop - self._layout.before[0].start
        for head, target in enumerate(self._layout.before):
            first = head % self._shape.group * room
            if first == 0:
                self.weights["v_proj"][self._keys(head)] = 0
            self._look(head, -1 - head, logits, length)
            self._read_words(head, slice(first, first + room))
            self._write(head, slice(first, first + room), target, length)

    def survey(self, length: float) -> None:
        """Let the first group's heads attend to words behind and ahead, less to common ones, and note their mean."""
        behind, ahead = self._layout.behind, self._layout.ahead
        room = slice(0, behind.stop - behind.start)
        self.weights["v_proj"][self._keys(0)] = 0
        self._read_words(0, room)
        for head, (target, offset) in enumerate(((behind, -_WINDOW_CENTRE), (ahead, _WINDOW_CENTRE))):
            self._look(head, offset, _WINDOW, length)
            self._write(head, room, target, length / _MEAN_LENGTH)
        self._prefer(range(self._shape.group), int(self._slow[0]), self._layout.common, -_COMMON, length)

    def ask(self, heads: range, length: float) -> None:
        """Let a group's heads attend to question marks, and the first of them tell what stands before these."""
        behind = self._layout.behind
        room = slice(0, behind.stop - behind.start)
        keys = self._keys(heads[0])
        self.weights["k_proj"][keys] = 0
        self.weights["v_proj"][keys] = 0
        self.weights["v_proj"][keys.start : keys.start + room.stop, behind] = torch.eye(room.stop)
        self._prefer(heads, int(self._slow[0]), self._layout.question, _ASKING, length)
        self._write(heads[0], room, behind, _ASKED * length)

    def proceed(self, heads: range, length: float) -> None:
        """Let a group's heads look for places with the same words before, among the words behind, and copy."""
        layout = self._layout
        around = layout.behind.stop - layout.behind.start
        parts = [(logit, before.stop - before.start) for logit, before in zip(BEFORE, layout.before, strict=True)]
        codes = self._codes([*parts, (_AROUND, around)], length)
        query, key = self._empty(), self._empty()
        for code, before in zip(codes, layout.before, strict=False):
            query[:, before] = key[:, before] = code
        query[:, layout.behind] = key[:, layout.behind] = key[:, layout.ahead] = codes[-1]
        self._copy(heads, query, key)

    def begin(self, heads: range, length: float) -> None:
        """Let a group's heads look for places ahead of which the words behind stand, and copy what is there."""
        behind, ahead = self._layout.behind, self._layout.ahead
        (code,) = self._codes([(_AHEAD, behind.stop - behind.start)], length)
        query, key = self._empty(), self._empty()
        query[:, behind], key[:, ahead] = code, code
        self._copy(heads, query, key)

    def _empty(self) -> Tensor:
        return torch.zeros(self._shape.head_dim, self._shape.d_model)

    def _codes(self, parts: Sequence[tuple[float, int]], length: float) -> list[Tensor]:
        """Project parts of the stream, each to rotary pairs of its own that hardly turn, worth a logit where equal.

        The first slow pair is left out: it carries a flag.
        """
        size, half, pairs = self._shape.head_dim, self._shape.head_dim // 2, self._slow[1:]
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

    def _look(self, head: int, offset: int, logits: Sequence[float], length: float) -> None:
        """Let `head` attend to what stands `offset` places away, by a logit for each of the fastest rotary pairs.

        The heads of a group have their keys in common, so the offset is in the query.
        """
        half = self._shape.head_dim // 2
        strength = torch.zeros(half)
        strength[: len(logits)] = (torch.tensor(logits) * self._shape.head_dim**0.5) ** 0.5
        angles = offset * self._turns
        query = torch.cat((strength * angles.cos(), strength * angles.sin()))
        key = torch.cat((strength, torch.zeros(half)))
        for name, rows, vector in (("q_proj", self._queries(head), query), ("k_proj", self._keys(head), key)):
            self.weights[name][rows] = 0
            self.weights[name][rows, self._layout.constant] = (vector * length / (8 * CONSTANT))[:, None]

    def _prefer(self, heads: range, pair: int, flags: slice, logit: float, length: float) -> None:
        """Add `logit` to what keys with a flag get from a group's heads, in a rotary pair that hardly turns."""
        for head in heads:
            self.weights["q_proj"][self._queries(head).start + pair, self._layout.constant] = length / (8 * CONSTANT)
        row = self._keys(heads[0]).start + pair
        size = flags.stop - flags.start
        self.weights["k_proj"][row, flags] = logit * self._shape.head_dim**0.5 * length / size

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
