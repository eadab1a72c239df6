"""Batches for the bundled model: generated on the fly, masked as a diffusion model is trained.

The response: k of its n tokens are masked, k uniform in 1..n, each weighted 1/k (LLaDA's estimator). The
prompt: where a document states something twice, one of the two is masked too, so that prompt positions learn
to look things up as well as response positions do; without that, a policy that listens to prompt queries would
lose by construction.
"""

from dataclasses import dataclass
from random import Random

import torch

from maskkv.mini import words
from maskkv.mini.compose import Composition, Placement, compose
from maskkv.training.trainer import Batch

IDS = {word: index for index, word in enumerate(words.VOCABULARY)}
_EOS, _MASK = IDS[words.EOS], IDS[words.MASK]
# (kind, placement, most questions at once, share of the samples)
Mix = tuple[tuple[str, Placement, int, float], ...]
BROAD: Mix = (
    ("lookup", "last", 1, 0.08),
    ("lookup", "first", 1, 0.08),
    ("lookup", "middle", 1, 0.06),
    ("lookup", "instructed", 1, 0.06),
    ("lookup", "last", 6, 0.12),
    ("lookup", "first", 6, 0.09),
    ("long", "last", 1, 0.10),
    ("long", "first", 1, 0.08),
    ("spread", "last", 1, 0.08),
    ("chain", "last", 1, 0.08),
    ("labels", "last", 1, 0.09),
    ("passages", "last", 1, 0.08),
)
# More of the tasks whose answers are long, for they are mastered last.
LONG_ANSWERS: Mix = (
    ("lookup", "last", 1, 0.06),
    ("lookup", "first", 1, 0.08),
    ("lookup", "middle", 1, 0.08),
    ("lookup", "instructed", 1, 0.05),
    ("lookup", "last", 6, 0.14),
    ("lookup", "first", 6, 0.11),
    ("long", "last", 1, 0.13),
    ("long", "first", 1, 0.11),
    ("spread", "last", 1, 0.12),
    ("chain", "last", 1, 0.04),
    ("labels", "last", 1, 0.05),
    ("passages", "last", 1, 0.03),
)
_PROMPT_SHARE = 0.6
_PROMPT_WEIGHT = 0.5
_STRAY_WEIGHT = 0.1


@dataclass
class _Row:
    ids: list[int]
    # Places with weights, by the part of the loss they belong to.
    response: list[tuple[int, float]]
    twice: list[tuple[int, float]]
    groups: int
    stray: list[int]


def batch(rows: int, length: int, seed: int, mix: Mix = BROAD) -> Batch:
    """Make `rows` sequences of exactly `length` tokens; `seed` decides everything."""
    made = [_row(length, mix, Random(f"training/{seed}/{row}")) for row in range(rows)]
    groups = max(1, sum(row.groups for row in made))
    strays = max(1, sum(len(row.stray) for row in made))
    ids, where, targets, weights = [], [], [], []
    for index, row in enumerate(made):
        marked = [(place, weight / rows) for place, weight in row.response]
        marked += [(place, _PROMPT_WEIGHT * weight / groups) for place, weight in row.twice]
        marked += [(place, _STRAY_WEIGHT / strays) for place in row.stray]
        for place, weight in marked:
            where.append(index * length + place)
            targets.append(row.ids[place])
            weights.append(weight)
            row.ids[place] = _MASK
        ids.append(row.ids)
    return Batch(torch.tensor(ids), torch.tensor(where), torch.tensor(targets), torch.tensor(weights))


def _row(length: int, mix: Mix, rng: Random) -> _Row:
    made = _composition(length, mix, rng)
    prompt = [IDS[word] for word in made.prompt]
    said = [IDS[word] for word in made.answer]
    ids = prompt + said + [_EOS] * (length - len(prompt) - len(said))
    count = length - len(prompt)
    row = _Row(ids, _response_masks(len(prompt), count, rng), [], 0, [])
    draw = rng.random()
    if draw < _PROMPT_SHARE:
        for gap in made.open:
            if rng.random() < 0.7:
                hidden = rng.sample(gap, rng.randint(1, len(gap)))
                row.twice += [(place, 1 / len(hidden)) for place in hidden]
                row.groups += 1
    elif draw > 0.9:
        row.stray = [place for place in range(len(prompt)) if rng.random() < 0.04]
    return row


def _composition(length: int, mix: Mix, rng: Random) -> Composition:
    """Draw a task and make it fit prompt and response into `length` exactly, or draw another."""
    while True:
        kind, placement, most, _ = rng.choices(mix, [part[3] for part in mix])[0]
        questions = rng.randint(2, most) if most > 1 else 1
        # The answer's length is not known before the document is made: make it, then make it to measure.
        state = rng.getrandbits(64)
        try:
            tried = compose(kind, placement, length, Random(state), questions)
            response = -(-(len(tried.answer) + 1) // 8) * 8 + (8 if rng.random() < 0.15 else 0)
            made = compose(kind, placement, length - response, Random(state), questions)
        except ValueError:
            continue
        if made.answer == tried.answer:
            return made


def _response_masks(start: int, count: int, rng: Random) -> list[tuple[int, float]]:
    """Mask k tokens anywhere, or (two times in five) all after some place, as decoding in blocks meets them."""
    hidden = rng.randint(1, count)
    late = rng.random() < 0.4
    places = range(count - hidden, count) if late else rng.sample(range(count), hidden)
    return [(start + place, 1 / hidden) for place in places]
