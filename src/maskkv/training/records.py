"""Names, places, goods and dates from the `faker` library: far more words than a hand-made list holds."""

from functools import cache

from faker import Faker

from maskkv.reading.values import Values

# Countries, and how often each is drawn: English names come first.
_COUNTRIES = {
    "en_US": 8,
    "en_GB": 6,
    "en_AU": 3,
    "en_IN": 3,
    "de_DE": 1,
    "fr_FR": 1,
    "es_ES": 1,
    "da_DK": 1,
    "nl_NL": 1,
    "pl_PL": 1,
    "sv_SE": 1,
    "pt_BR": 1,
}


class Records(Values):
    """Draws what `Values` draws, with faker's names; the given random numbers alone decide which."""

    def local(self) -> Faker:
        """Choose a country to take a value from."""
        return self._of(self.rng.choices(list(_COUNTRIES), list(_COUNTRIES.values()))[0])

    def english(self) -> Faker:
        """Give the values that only English has."""
        return self._of("en_US")

    def word(self) -> str:
        """Draw a common English word."""
        return str(self.english().word())

    def first_name(self) -> str:
        """Draw a first name."""
        return str(self.local().first_name())

    def surname(self) -> str:
        """Draw a surname."""
        return str(self.local().last_name())

    def place(self) -> str:
        """Draw a town."""
        return str(self.local().city())

    def company(self) -> str:
        """Draw a company's name."""
        return str(self.local().company())

    def address(self) -> str:
        """Draw a street and number."""
        return str(self.english().street_address())

    def email(self) -> str:
        """Draw an e-mail address."""
        return str(self.english().email())

    def host(self) -> str:
        """Draw the name of a host."""
        return str(self.english().hostname())

    def url(self) -> str:
        """Draw the address of a web page."""
        return str(self.english().uri())

    def path(self) -> str:
        """Draw the path of a file."""
        return str(self.english().file_path(depth=self.rng.randint(1, 4)))

    def _of(self, country: str) -> Faker:
        faker = _faker(country)
        faker.factories[0].random = self.rng
        return faker


@cache
def _faker(country: str) -> Faker:
    return Faker(country, use_weighting=False)
