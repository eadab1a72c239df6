"""Scenery: sentences that say nothing a question asks for, of any length from 4 words up."""

from random import Random

from maskkv.mini import words

Sentence = tuple[str, ...]

SHORTEST = 4
_LONGEST = 12
# What may be added to "the miller slept ." and how many words it costs.
_COSTS = {"adjective": 1, "adverb": 1, "time": 2, "place": 3, "place-adjective": 1}


def _shapes() -> dict[int, list[frozenset[str]]]:
    """List the sets of additions by the sentence length they lead to."""
    names = list(_COSTS)
    shapes: dict[int, list[frozenset[str]]] = {}
    for code in range(2 ** len(names)):
        chosen = frozenset(name for bit, name in enumerate(names) if code >> bit & 1)
        if "place-adjective" in chosen and "place" not in chosen:
            continue
        shapes.setdefault(SHORTEST + sum(_COSTS[name] for name in chosen), []).append(chosen)
    return shapes


_SHAPES = _shapes()


def sentence(rng: Random, length: int) -> Sentence:
    """Make one sentence of exactly `length` words (4 to 12), the full stop included."""
    shape = rng.choice(_SHAPES[length])
    said = ["the"]
    if "adjective" in shape:
        said.append(rng.choice(words.ADJECTIVES))
    said += [rng.choice(words.PEOPLE_AND_PLACES), rng.choice(words.VERBS)]
    if "adverb" in shape:
        said.append(rng.choice(words.ADVERBS))
    if "place" in shape:
        said += [rng.choice(words.PREPOSITIONS), "the"]
        if "place-adjective" in shape:
            said.append(rng.choice(words.ADJECTIVES))
        said.append(rng.choice(words.PEOPLE_AND_PLACES))
    if "time" in shape:
        said += ["at", rng.choice(words.TIMES)]
    return (*said, ".")


def sentences(rng: Random, total: int) -> list[Sentence]:
    """Make sentences of `total` words together; a rest too short for a sentence stays unused."""
    made = []
    while total >= SHORTEST:
        length = total if total <= _LONGEST else rng.randint(5, min(10, total - SHORTEST))
        made.append(sentence(rng, length))
        total -= length
    return made
