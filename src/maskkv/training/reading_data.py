"""Batches of texts with questions that quotations answer, masked as a diffusion model is trained.

A row is a conversation about one document. Most rows ask for several of its facts one after the other, so that much
of a row is answers; the others ask once, with the question anywhere, as an evaluation does. Of some answers k of the n
tokens are masked, k uniform in 1..n, each weighted 1/k (LLaDA's estimator). Of the others everything from some place
on is masked, mostly all of it, and the first mask counts most: where an answer begins is what has to be found in the
document, what follows is copied. In some documents a fact stands twice and one of the two is masked too, so that prompt
positions learn to look things up as well as response positions do; and some rows are plain text with a share of the
tokens masked.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer

from maskkv.reading.compose import KINDS, Asked, Document, Placement, ask, ask_in_vain, assemble, make, place, without
from maskkv.reading.fact import Block, Fact
from maskkv.reading.several import LEADS
from maskkv.reading.values import Values
from maskkv.training import bpe
from maskkv.training.corpus import Split, read
from maskkv.training.records import Records
from maskkv.training.trainer import Batch

CUE = "\n\nAnswer:\n"
EOS, MASK = 0, 1
# Shares of rows: a conversation, plain text, and (the rest) one question.
_TALK, _TEXT = 0.72, 0.06
# Shares of questions: in vain, and for several facts at once.
_IN_VAIN, _SEVERAL = 0.12, 0.12
_TWICE = 0.3
_TWICE_WEIGHT = 0.5
_TEXT_WEIGHT = 0.3
_SPREAD: tuple[tuple[Placement, float], ...] = (("last", 0.5), ("first", 0.2), ("middle", 0.15), ("instructed", 0.15))
_MOST_OF_A_KIND = 16
# Share of documents whose names are this package's own; the others have faker's.
_OWN_NAMES = 0.6
# Tokens of a response behind its answer, at most, in half of the rows each.
_REST = (12, 60)
# Shares of answers: masked anywhere; of the others, masked as a whole. Then the first mask decides which part of the
# document answers, which is the hard part: it counts fully, those behind it this much together.
_ANYWHERE, _NOTHING_YET, _BEHIND = 0.4, 0.6, 0.3


class Paragraphs:
    """Draw runs of paragraphs from a corpus."""

    def __init__(self, path: Path, split: Split = "train") -> None:
        self.texts = list(read(path, split))

    def draw(self, rng: Random) -> Iterator[str]:
        """Yield the paragraphs from a random one on; now and then jump to another."""
        while True:
            start = rng.randrange(len(self.texts))
            for offset in range(rng.randint(1, 6)):
                yield self.texts[(start + offset) % len(self.texts)]


@dataclass
class _Row:
    """Token ids, the places to be masked with their weights, and how many answers these belong to."""

    ids: list[int]
    marked: list[tuple[int, float]]
    answers: int = 1


class Rows:
    """Make rows of a given length from a corpus, a tokenizer and a seed."""

    def __init__(self, tokenizer: Tokenizer, paragraphs: Paragraphs, unseen: bool = False) -> None:
        self._tokenizer, self._paragraphs, self._unseen = tokenizer, paragraphs, unseen

    def batch(self, rows: int, length: int, seed: int) -> Batch:
        """Make `rows` sequences of exactly `length` tokens; `seed` decides everything."""
        ids, where, targets, weights = [], [], [], []
        made = [self._row(length, Random(f"reading/{seed}/{index}")) for index in range(rows)]
        answers = sum(row.answers for row in made)
        for index, row in enumerate(made):
            for spot, weight in row.marked:
                where.append(index * length + spot)
                targets.append(row.ids[spot])
                weights.append(weight / answers)
                row.ids[spot] = MASK
            ids.append(row.ids)
        return Batch(torch.tensor(ids), torch.tensor(where), torch.tensor(targets), torch.tensor(weights))

    def count(self, text: str) -> int:
        """Count the tokens of a text."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _row(self, length: int, rng: Random) -> _Row:
        while True:
            share = rng.random()
            try:
                if share < _TEXT:
                    return self._text(length, rng)
                made = self._talk(length, rng) if share < _TEXT + _TALK else self._single(length, rng)
            except ValueError:
                continue
            if made is not None:
                return made

    def _text(self, length: int, rng: Random) -> _Row:
        """Mask a share of a plain text."""
        filler, ids = self._paragraphs.draw(rng), list[int]()
        while len(ids) < length:
            ids += self._tokenizer.encode(next(filler) + "\n\n", add_special_tokens=False).ids
        chosen = rng.sample(range(length), max(1, int(length * rng.uniform(0.05, 0.5))))
        return _Row(ids[:length], [(spot, _TEXT_WEIGHT / len(chosen)) for spot in chosen])

    def _talk(self, length: int, rng: Random) -> _Row | None:
        """Make a conversation: as many questions as there is room for."""
        pool = self._pool(rng, rng.randint(max(2, length // 100), max(2, length // 60)))
        dropped = rng.sample(pool, min(len(pool) - 1, sum(rng.random() < _IN_VAIN for _ in pool)))
        blocks = [block for _, block in pool]
        vain = []
        for _, block in dropped:
            fact = rng.choice(block.facts)
            blocks = without(blocks, fact)
            vain.append(fact)
        stated = [fact for block in blocks for fact in block.facts]
        turns = self._turns(stated, vain, rng)
        cost = [self.count(turn.question) + self.count(turn.answer) + 10 for turn in turns]
        needed = sum(self.count(block.text) + 2 for block in blocks)
        while turns and needed + sum(cost) > length:
            turns.pop(), cost.pop()
        if not turns:
            return None
        document = assemble(rng, blocks, self._paragraphs.draw(rng), length - sum(cost), self.count)
        return self._conversation(document, turns, "last", length, rng)

    def _single(self, length: int, rng: Random) -> _Row | None:
        """Make a document with one question, anywhere."""
        pool = self._pool(rng, rng.randint(1, max(2, length // 60)))
        blocks = [block for _, block in pool]
        asked = rng.choice(rng.choice(blocks).facts)
        if rng.random() < _IN_VAIN:
            turn, blocks = ask_in_vain(asked), without(blocks, asked)
        else:
            turn = self._turns([fact for block in blocks for fact in block.facts], [], rng)[0]
        placement = rng.choices([name for name, _ in _SPREAD], [weight for _, weight in _SPREAD])[0]
        cost = self.count(turn.question) + self.count(turn.answer) + (50 if placement == "instructed" else 14)
        document = assemble(rng, blocks, self._paragraphs.draw(rng), length - cost, self.count)
        return self._conversation(document, [turn], placement, length, rng)

    def _pool(self, rng: Random, count: int) -> list[tuple[str, Block]]:
        """Make some facts of one kind or several."""
        kinds = rng.sample(KINDS, rng.choices((1, 2, 3), (5, 3, 1))[0])
        values = Values(rng) if self._unseen or rng.random() < _OWN_NAMES else Records(rng)
        pool = []
        for kind in kinds:
            number = min(_MOST_OF_A_KIND, max(1, count // len(kinds)))
            pool += [(kind, block) for block in make(kind, values, number, self._unseen)]
        return pool

    def _turns(self, stated: Sequence[Fact], vain: Sequence[Fact], rng: Random) -> list[Asked]:
        """Ask for all facts in a random order, now and then for several at once."""
        order = [*stated]
        rng.shuffle(order)
        turns = []
        while order:
            number = min(len(order), rng.randint(2, 3)) if rng.random() < _SEVERAL else 1
            turns.append(ask(order[:number], rng))
            del order[:number]
        for fact in vain:
            turns.insert(rng.randint(0, len(turns)), ask_in_vain(fact))
        return turns

    def _conversation(
        self,
        document: Document,
        turns: Sequence[Asked],
        placement: Placement,
        length: int,
        rng: Random,
    ) -> _Row | None:
        """Write a conversation down and mask it; None where it is too long."""
        twice = ""
        if document.facts and rng.random() < _TWICE:
            twice, parts = rng.choice(document.facts).text, [*document.parts]
            parts.insert(rng.randint(0, len(parts)), twice)
            document = replace(document, parts=tuple(parts))
        answers = []
        written = place(document, turns[0].question, placement, rng)
        for number, turn in enumerate(turns):
            if number:
                written += f"{bpe.EOS}\n\n{rng.choice(LEADS)}{turn.question}"
            written += CUE
            answers.append((len(written), len(written) + len(turn.answer)))
            written += turn.answer
        encoded = self._tokenizer.encode(written, add_special_tokens=False)
        ids, starts = list(encoded.ids), [start for start, _ in encoded.offsets]
        ends = [end for _, end in encoded.offsets]
        if len(ids) >= length:
            return None
        marked = []
        for number, (first, last) in enumerate(answers):
            low, high = bisect_left(starts, first), bisect_left(starts, last)
            # The end of the text belongs to an answer; behind the last one it fills the response.
            high = high + 1 if number < len(answers) - 1 else min(length, high + rng.randint(1, rng.choice(_REST)))
            marked += [(low + spot, weight) for spot, weight in hidden(high - low, rng)]
        ids += [EOS] * (length - len(ids))
        if twice and (spot := written.find(twice)) >= 0 and rng.random() < 0.8:
            low, high = bisect_left(starts, spot), bisect_right(ends, spot + len(twice))
            chosen = rng.sample(range(low, high), rng.randint(1, max(1, high - low)))
            marked += [(each, _TWICE_WEIGHT / len(chosen)) for each in chosen]
        return _Row(ids, marked, len(answers))


def hidden(count: int, rng: Random) -> list[tuple[int, float]]:
    """Mask k tokens anywhere, each weighted 1/k, or everything from some place on, as decoding meets an answer."""
    if rng.random() < _ANYWHERE:
        chosen = rng.sample(range(count), rng.randint(1, count))
        return [(place, 1 / len(chosen)) for place in chosen]
    begin = 0 if rng.random() < _NOTHING_YET else rng.randrange(count)
    rest = count - begin - 1
    return [(begin, 1.0), *((place, _BEHIND / rest) for place in range(begin + 1, count))]
