"""Values a text may state: names, codes, dates, numbers, paths and the like, in many formats."""

from collections.abc import Sequence
from datetime import date, timedelta

from maskkv.reading import words
from maskkv.reading.grammar import capitalised, listed, ordinal, spelled, with_article
from maskkv.reading.naming import LETTERS, Names

DIGITS = "0123456789"


class Values(Names):
    """Draws values from one source of random numbers; its names are those of `Names`."""

    def day(self) -> date:
        """Draw a day, most often a recent one."""
        if self.rng.random() < 0.7:
            return date(2015, 1, 1) + timedelta(self.rng.randrange(4_200))
        return date(1950, 1, 1) + timedelta(self.rng.randrange(27_500))

    def date(self) -> str:
        """Draw a date in one of many formats, to be put after "on"."""
        day = self.day()
        month = words.MONTHS[day.month - 1]
        year = f" {day.year}"
        weekday = words.WEEKDAYS[day.weekday()]
        return self.rng.choice(
            (
                f"{day.day} {month}{year}",
                f"{day.day} {month}{year}",
                f"{month} {day.day}, {day.year}",
                f"{day.day} {month}",
                f"{month} {day.day}",
                day.isoformat(),
                f"{day.day:02}/{day.month:02}/{day.year}",
                f"{day.day}.{day.month}.{day.year}",
                f"{weekday} {day.day} {month}{self.rng.choice((year, ''))}",
                f"{weekday}, {day.day} {month}{year}",
                f"{day.day}{ordinal(day.day)} {month}{year}",
                f"the {day.day}{ordinal(day.day)} of {month}",
                f"{day.day} {month[:3]}{year}",
            )
        )

    def month(self) -> str:
        """Draw a month of a year, a season or a year, to be put after "in"."""
        year = self.day().year
        return self.rng.choice((f"{self.rng.choice(words.MONTHS)} {year}", f"the {self.season()} of {year}", str(year)))

    def season(self) -> str:
        """Draw a season."""
        return self.rng.choice(("spring", "summer", "autumn", "winter"))

    def year(self) -> str:
        """Draw a year."""
        return str(self.rng.randrange(1780, 2032))

    def weekday(self) -> str:
        """Draw a day of the week."""
        return self.rng.choice(words.WEEKDAYS)

    def time(self) -> str:
        """Draw a time of day in one of many formats, to be put after "at"."""
        hour, minute = self.rng.randrange(5, 24), self.rng.choice((0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55))
        half = "am" if hour < 12 else "pm"
        twelve = hour % 12 or 12
        return self.rng.choice(
            (
                f"{hour:02}:{minute:02}",
                f"{hour:02}:{minute:02}",
                f"{twelve}:{minute:02} {half}",
                f"{twelve}.{minute:02} {half}",
                f"{twelve}{half}",
                f"{hour:02}:{minute:02} hours",
                f"half past {words.SMALL_NUMBERS[twelve]}",
                f"quarter {self.rng.choice(('past', 'to'))} {words.SMALL_NUMBERS[twelve]}",
                f"{words.SMALL_NUMBERS[twelve]} o'clock",
            )
        )

    def code(self) -> str:
        """Draw an identifier of letters and digits, as of a door, a ticket or a device."""
        form = self.rng.randrange(8)
        if form <= 1:
            return self.digits(self.rng.randint(4, 6))
        if form == 2:
            return f"{self.letters(2)}-{self.digits(4)}"
        if form == 3:
            return f"{self.letters(self.rng.randint(1, 3))}{self.digits(self.rng.randint(2, 5))}"
        if form == 4:
            return "".join(self.rng.choice(LETTERS + DIGITS) for _ in range(self.rng.randint(5, 8)))
        if form == 5:
            return f"{self.digits(3)}-{self.digits(3)}"
        if form == 6:
            return f"{self.digits(2)}-{self.letters(1)}{self.digits(3)}"
        return f"{self.letters(3)}/{self.digits(2)}/{self.digits(3)}"

    def digits(self, count: int) -> str:
        """Draw a string of digits."""
        return "".join(self.rng.choice(DIGITS) for _ in range(count))

    def serial(self) -> str:
        """Draw a serial number."""
        return f"{self.letters(2)}{self.digits(3)}-{self.digits(4)}" if self.rng.random() < 0.5 else self.code()

    def password(self) -> str:
        """Draw a password: made-up words, or letters, digits and marks."""
        form = self.rng.randrange(3)
        if form == 0:
            return f"{self.invented(2)}-{self.invented(2)}-{self.rng.randrange(10, 100)}"
        if form == 1:
            return f"{self.invented(2).capitalize()}{self.rng.choice('!#$%&*')}{self.digits(self.rng.randint(2, 4))}"
        alphabet = LETTERS + LETTERS.lower() + DIGITS
        return "".join(self.rng.choice(alphabet) for _ in range(self.rng.randint(8, 12)))

    def number(self, low: int = 10, high: int = 5_000) -> str:
        """Draw a whole number, in digits or words."""
        number = round(low * (high / low) ** self.rng.random())
        if number < 100 and self.rng.random() < 0.25:
            return spelled(number)
        return f"{number:,}" if self.rng.random() < 0.6 else str(number)

    def amount(self, low: int, high: int, units: Sequence[str]) -> str:
        """Draw a quantity in one of the units."""
        quantity = low * (high / low) ** self.rng.random()
        unit = self.rng.choice(units)
        whole = unit.endswith(("minutes", "hours", "days", "weeks", "months", "years"))
        if not whole and (quantity < 10 or self.rng.random() < 0.2):
            return f"{quantity:.{self.rng.choice((1, 1, 2))}f} {unit}"
        return f"{quantity:,.0f} {unit}"

    def price(self, low: int = 3, high: int = 3_000) -> str:
        """Draw an amount of money in one of many formats."""
        whole = round(low * (high / low) ** self.rng.random())
        cents = self.rng.choice((".00", ".50", ".95", ".99", f".{self.rng.randrange(10, 100)}"))
        return self.rng.choice(
            (
                f"{self.rng.choice('$€£')}{whole:,}",
                f"{self.rng.choice('$€£')}{whole:,}{cents}",
                f"{whole:,} {self.rng.choice(words.CURRENCIES)}",
                f"{self.rng.choice(('USD', 'EUR', 'GBP', 'CHF'))} {whole:,}{cents}",
                f"{whole}{cents} {self.rng.choice(words.CURRENCIES)}",
            )
        )

    def percentage(self) -> str:
        """Draw a share of a hundred."""
        share = self.rng.choice((str(self.rng.randrange(10, 96)), f"{self.rng.uniform(1, 60):.1f}"))
        return share + self.rng.choice(("%", " percent", " per cent"))

    def path(self) -> str:
        """Make up the path of a file or folder."""
        folders = [self._file_word() for _ in range(self.rng.randint(1, 3))]
        name = f"{self._file_word()}{self.rng.choice(('', '', f'_{self.rng.randrange(2, 99)}', '-final'))}"
        ending = self.rng.choice(words.FILE_ENDINGS)
        if self.rng.random() < 0.15:
            return "C:\\" + "\\".join([*folders, name]) + ending
        root = self.rng.choice(("/", "/srv/", "/var/", "/home/", "/data/", "/opt/", "~/", ""))
        return root + "/".join([*folders, name]) + ending

    def host(self) -> str:
        """Make up the name of a host."""
        stem = self._file_word() if self.rng.random() < 0.3 else self.invented(self.rng.choice((2, 2, 3)))
        prefix = self.rng.choice(("", "", "www.", "docs.", "shop.", "mail.", "portal."))
        return f"{prefix}{stem}.{self.rng.choice(('com', 'org', 'net', 'example', 'io', 'eu', 'de', 'co.uk'))}"

    def url(self) -> str:
        """Make up the address of a web page."""
        pages = "/".join(self._file_word() for _ in range(self.rng.randint(1, 3)))
        return f"{self.rng.choice(('https://', 'https://', 'http://', ''))}{self.host()}/{pages}"

    def email(self) -> str:
        """Make up an e-mail address."""
        name = self.first_name().lower()
        user = self.rng.choice((name, f"{name}.{self.surname().lower()}", f"{name}{self.rng.randrange(2, 99)}"))
        return f"{user}@{self.invented(2)}.{self.rng.choice(('com', 'org', 'net', 'example', 'eu'))}"

    def phone(self) -> str:
        """Draw a phone number in one of many formats."""
        return self.rng.choice(
            (
                f"{self.digits(3)}-{self.digits(4)}",
                f"+{self.rng.randrange(20, 99)} {self.rng.randrange(10, 999)} {self.digits(3)} {self.digits(4)}",
                f"0{self.rng.randrange(10, 999)} {self.digits(6)}",
                f"({self.digits(3)}) {self.digits(3)}-{self.digits(4)}",
                f"0{self.rng.randrange(10, 999)}/{self.digits(7)}",
                f"{self.digits(3)} {self.digits(3)} {self.digits(3)}",
            )
        )

    def ip_address(self) -> str:
        """Draw an IPv4 address."""
        start = self.rng.choice(("10", "192.168", "172.16", str(self.rng.randrange(11, 220))))
        rest = [str(self.rng.randrange(256)) for _ in range(3 - start.count("."))]
        return ".".join([start, *rest])

    def address(self) -> str:
        """Make up a street and number."""
        street = f"{self.rng.choice((self.surname, self.proper_name, self.place))()} {self.rng.choice(words.STREETS)}"
        return f"{self.rng.randrange(1, 260)} {street}"

    def item(self) -> str:
        """Draw a thing as a list would name it: "two lamps", "a tent", "salt"."""
        form = self.rng.random()
        if form < 0.4:
            return self.rng.choice(words.SUBSTANCES)
        singular, plural = self.rng.choice(words.COUNTABLES)
        if form < 0.7:
            return with_article(singular)
        count = self.rng.choice((*words.SMALL_NUMBERS[2:], *map(str, range(13, 60))))
        return f"{count} {plural}"

    def item_list(self, low: int = 4, high: int = 7) -> str:
        """Draw a list of things: "rope, salt, two lamps, a tent and dried fish"."""
        found: dict[str, str] = {}
        count = self.rng.randint(low, high)
        while len(found) < count:
            item = self.item()
            found.setdefault(item.split()[-1].rstrip("s"), item)
        return listed(list(found.values()))

    def short_sentence(self) -> str:
        """Draw a sentence as on a sign or in a note, without its full stop."""
        sentence = self.rng.choice(words.SIGNS).format(
            place=f"the {self.rng.choice(words.ROOMS)}",
            time=self.time(),
            person=self.person(),
            item=self.rng.choice(words.COUNTABLES)[1],
            day=self.weekday(),
            number=self.rng.randrange(3, 60),
        )
        return capitalised(sentence)

    def slogan(self) -> str:
        """Make up a slogan or motto."""
        one, other = self.rng.sample(words.PRAISED, 2)
        return capitalised(
            self.rng.choice(words.SLOGANS).format(
                one=one, other=other, town=self.place(), kind=self.rng.choice(words.PRAISES), year=self.year()
            )
        )

    def full_address(self) -> str:
        """Make up a street, number and town."""
        town = self.place()
        where = self.rng.choice((town, f"{self.digits(5)} {town}", f"{town} {self.digits(4)}"))
        return f"{self.address()}, {where}"

    def _file_word(self) -> str:
        return self.rng.choice(words.FILE_WORDS) if self.rng.random() < 0.6 else self.invented(2)
