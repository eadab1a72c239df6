"""Something a text may state about a thing, and what draws its value."""

from collections.abc import Callable
from dataclasses import dataclass

from maskkv.reading import words
from maskkv.reading.values import Values

Draw = Callable[[Values], str]


@dataclass(frozen=True)
class Attribute:
    """Something that a thing has one of, such as an access code.

    `sort` says which sentences it fits: "code" what somebody sets or writes down, "when" a time, "measure" a
    quantity, "who" a person or company, "thing" anything else.
    """

    name: str
    sort: str
    draw: Draw
    links: tuple[str, ...] = ("of", "for")


def each(sort: str, draw: Draw, names: str, *links: str) -> tuple[Attribute, ...]:
    """Make an attribute of each name; their names are separated by bars."""
    return tuple(Attribute(name, sort, draw, links or ("of", "for")) for name in names.split("|"))


def amount(low: int, high: int, *units: str) -> Draw:
    """Return what draws a quantity in one of the units."""
    return lambda values: values.amount(low, high, units)


def count(low: int, high: int) -> Draw:
    """Return what draws a whole number."""
    return lambda values: values.number(low, high)


def price(low: int, high: int) -> Draw:
    """Return what draws an amount of money."""
    return lambda values: values.price(low, high)


def digits(low: int, high: int) -> Draw:
    """Return what draws a string of digits."""
    return lambda values: values.digits(values.rng.randint(low, high))


def one_of(choices: str) -> Draw:
    """Return what draws one of some phrases, separated by bars."""
    given = choices.split("|")
    return lambda values: values.rng.choice(given)


def colour(values: Values) -> str:
    """Draw a colour."""
    return values.rng.choice(words.COLOURS)


def material(values: Values) -> str:
    """Draw a material."""
    return values.rng.choice(words.MATERIALS)


def room(values: Values) -> str:
    """Draw the number of a room."""
    number = values.rng.randrange(10, 899)
    return values.rng.choice(
        (
            f"room {number}",
            f"Room {number}",
            f"{number // 100}.{number % 100:02}",
            f"{values.rng.choice('ABCDEF')}{number}",
        )
    )


def hall(values: Values) -> str:
    """Make up the name of a venue."""
    kind = values.rng.choice("Hall|Arena|Theatre|Pavilion|Gallery|Park|Centre|Hotel|Gardens|Castle|Stadium".split("|"))
    return f"the {values.proper_name()} {kind}"


def version(values: Values) -> str:
    """Draw the number of a version."""
    return f"{values.rng.randrange(1, 15)}.{values.rng.randrange(30)}" + values.rng.choice(
        ("", f".{values.rng.randrange(20)}", "-beta")
    )


def plate(values: Values) -> str:
    """Draw a licence plate."""
    return f"{values.proper_name()[:2].upper()} {values.digits(3)} {values.proper_name()[:2].upper()}"


def account(values: Values) -> str:
    """Draw the number of an account."""
    return " ".join(values.digits(4) for _ in range(values.rng.randint(2, 5)))


def user(values: Values) -> str:
    """Make up a user name."""
    return values.email().split("@")[0] + values.rng.choice(("", "_admin", f"{values.rng.randrange(10, 99)}"))


def language(values: Values) -> str:
    """Draw a language."""
    return values.rng.choice(
        "Portuguese|Tamil|Swahili|Finnish|Polish|Korean|Yoruba|Greek|Hindi|Vietnamese|Arabic|Dutch|Welsh".split("|")
    )


DURATION = amount(2, 90, "minutes", "hours", "days", "weeks", "working days")
KILOS = amount(1, 900, "kg", "kilograms", "kilos", "pounds", "kg")
LENGTH = amount(10, 900, "cm", "centimetres", "mm", "metres", "inches", "feet")
HEAT = amount(11, 240, "degrees", "°C", "degrees Celsius", "°F")
TOPIC = one_of(
    "life under the ice|bread and its history|the sound of cities|gardens without water|trade on old rivers|"
    "light and shadow|repair instead of waste|women in science|the forest at night|songs of the harbour|"
    "maps nobody trusted|colour in winter|the future of small towns|bees and people|letters from the sea"
)
