"""What documents state: facts about names, each a sentence that an answer repeats word for word."""

from random import Random

from maskkv.mini import words
from maskkv.mini.filler import Sentence

LONG_VALUE = (8, 16)


class Facts:
    """Draw facts so that no name is given the same relation twice in one document."""

    def __init__(self, rng: Random) -> None:
        """Start with nothing said about anybody."""
        self._rng = rng
        self._unused: dict[str, list[str]] = {}

    def name(self, relation: str) -> str | None:
        """Draw a name about which `relation` has not been said, None when all are used."""
        if relation not in self._unused:
            self._unused[relation] = self._rng.sample(words.NAMES, len(words.NAMES))
        unused = self._unused[relation]
        return unused.pop() if unused else None

    def reserve(self, relation: str, name: str) -> None:
        """Say that `name` is not to be drawn for `relation`."""
        if relation not in self._unused:
            self._unused[relation] = self._rng.sample(words.NAMES, len(words.NAMES))
        if name in self._unused[relation]:
            self._unused[relation].remove(name)

    def state(self, relation: str, name: str) -> list[Sentence]:
        """Write down what `relation` says of `name`: one sentence, or three for `likes`."""
        rng = self._rng
        if relation == "holds":
            return [(name, "holds", *(rng.choice(words.DIGITS) for _ in range(3)), ".")]
        if relation == "carries":
            return [(name, "carries", *rng.sample(words.THINGS, rng.randint(*LONG_VALUE)), ".")]
        if relation == "trusts":
            other = rng.choice([one for one in words.NAMES if one != name])
            return [(name, "trusts", other, ".")]
        openings = (("likes",), ("also", "likes"), ("finally", "likes"))
        things = rng.sample(words.THINGS, 9)
        return [(name, *opening, *things[3 * i : 3 * i + 3], ".") for i, opening in enumerate(openings)]


def describe(name: str, relation: str) -> Sentence:
    """Ask for what `relation` says of `name`."""
    return (name, relation, "what", "?")
