"""A needle in a haystack of the bundled model's words: one fact, at an exact depth of scenery."""

from random import Random

from maskkv.mini import filler
from maskkv.mini.compose import CUE
from maskkv.mini.facts import Facts, describe
from maskkv.mini.tasks import Sample

GEN_LENGTH = 8


def needle(length: int, depth: int, seed: int) -> Sample:
    """Make a prompt of at most `length` words with a fact behind `depth` percent of the scenery's words.

    Between sentences there is room for the fact at 0 words and from 4 on, so that a depth may be off by 3 words near
    the ends. Raises ValueError when `length` has no room for the fact.
    """
    rng = Random(f"needle/{length}/{depth}/{seed}")
    facts = Facts(rng)
    name = facts.name("holds")
    assert name is not None, "nothing is said of anybody yet"
    (fact,) = facts.state("holds", name)
    question = ("question", ":", *describe(name, "holds"))
    room = length - len(fact) - len(question) - len(CUE)
    if room < 0:
        raise ValueError(f"length {length} is too short for a needle: expected at least {length - room} words")
    before = _between_sentences(int(room * depth / 100), room)
    scenery = [word for said in filler.sentences(rng, before) for word in said]
    behind = [word for said in filler.sentences(rng, room - before) for word in said]
    document = (*scenery, *fact, *behind)
    return Sample(
        task="needle",
        length=length,
        seed=seed,
        document=" ".join(document),
        question=" ".join(question),
        question_inside=False,
        answer=" ".join(fact),
        prompt=" ".join((*document, *question, *CUE)),
        gen_length=GEN_LENGTH,
    )


def _between_sentences(place: int, room: int) -> int:
    """Return the place closest to `place` with nothing or at least a sentence on both sides."""
    places = [0, *range(filler.SHORTEST, room - filler.SHORTEST + 1), room]
    return min(places, key=lambda each: abs(each - place))
