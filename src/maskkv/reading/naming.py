"""Names of people, towns, companies and models, half of them made up, so that their words are open."""

from collections.abc import Sequence
from random import Random

from maskkv.reading import names, words

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


class Names:
    """Draws names from one source of random numbers."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    def invented(self, syllables: int) -> str:
        """Make up a word that can be pronounced, in lower case."""
        word = "".join(self._syllable() for _ in range(syllables))
        return self.invented(syllables) if any(each in word for each in names.UNWANTED) else word

    def proper_name(self) -> str:
        """Make up a name for a project, product or place: one capitalised word."""
        if self.rng.random() < 0.3:
            return self.rng.choice(words.PROJECT_NAMES)
        return self.invented(self.rng.choice((1, 2, 2, 2, 3))).capitalize() + self.rng.choice(("", "", "a", "o", "en"))

    def first_name(self) -> str:
        """Draw or make up a first name."""
        if self.rng.random() < 0.6:
            return self.rng.choice(names.FIRST_NAMES)
        return self.invented(2).capitalize() + self.rng.choice(("", "", "a", "e", "o", "in", "ya", "is"))

    def surname(self) -> str:
        """Draw or make up a surname."""
        if self.rng.random() < 0.5:
            return self.rng.choice(names.SURNAMES)
        return self._ending_in(names.SURNAME_ENDINGS)

    def person(self) -> str:
        """Draw or make up a person's name."""
        surname = self.surname()
        form = self.rng.random()
        if form < 0.08:
            return f"{self.rng.choice(words.TITLES)} {surname}"
        if form < 0.14:
            return f"{self.first_name()} {surname}-{self.surname()}"
        return f"{self.first_name()} {surname}"

    def place(self) -> str:
        """Draw or make up a town."""
        form = self.rng.random()
        if form < 0.45:
            return self.rng.choice(names.TOWNS)
        made = self._ending_in(names.TOWN_ENDINGS)
        if form < 0.9:
            return made
        return f"{self.rng.choice(words.TOWN_PREFIXES)} {made}"

    def company(self) -> str:
        """Make up a company's name."""
        form = self.rng.randrange(4)
        if form == 0:
            return f"{self.surname()} {self.rng.choice(words.COMPANY_KINDS)}"
        if form == 1:
            return f"{self.surname()} and {self.surname()}"
        if form == 2:
            return f"{self.proper_name()} {self.rng.choice(words.COMPANY_FIELDS)}"
        return f"{self.proper_name()} {self.rng.choice(words.COMPANY_FIELDS)} {self.rng.choice(words.COMPANY_KINDS)}"

    def product(self) -> str:
        """Make up the name of a model."""
        form = self.rng.randrange(3)
        if form == 0:
            return f"{self.proper_name()} {self.rng.randrange(2, 990)}"
        if form == 1:
            return f"{self.letters(self.rng.randint(1, 3))}-{self.rng.randrange(10, 9999)}"
        return f"{self.proper_name()} {self.rng.choice(words.PRODUCT_SUFFIXES)}"

    def letters(self, count: int) -> str:
        """Draw capital letters."""
        return "".join(self.rng.choice(LETTERS) for _ in range(count))

    def _ending_in(self, endings: Sequence[str]) -> str:
        stem, ending = self.invented(self.rng.choice((1, 1, 2))), self.rng.choice(endings)
        return (stem.rstrip("aeiou") + ending if ending[0] in "aeiou" else stem + ending).capitalize()

    def _syllable(self) -> str:
        coda = self.rng.choice(names.CODAS) if self.rng.random() < 0.3 else ""
        return self.rng.choice(names.ONSETS) + self.rng.choice(names.VOWELS) + coda
