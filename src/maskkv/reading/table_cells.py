"""What stands in the cells of tables."""

from collections.abc import Callable
from random import Random

from maskkv.reading.line_names import account
from maskkv.reading.values import Values

Draw = Callable[[Random], str]

ADJECTIVES = tuple(
    "blue red green white black small large wooden steel round square folding heavy light striped yellow copper paper "
    "plastic cotton woollen silver portable double single plain mini garden office travel kitchen winter summer".split()
)
GOODS = tuple(
    "mug|lamp|chair|table|notebook|pen|shelf|bowl|plate|kettle|scarf|backpack|umbrella|towel|candle|vase|blanket|clock|"
    "mirror|basket|bottle|hammer|ladder|rug|cushion|tray|jar|brush|bucket|apron|jug|stool|frame|bell|whisk|tent|drill|"
    "hook|rope|stapler|folder|ruler|pillow|bench|helmet|glove|battery|charger|cable|torch|teapot|desk".split("|")
)
TEAMS = tuple(
    "Design Sales Finance Legal Support Research Marketing Logistics Security Platform Payroll Purchasing Kitchen "
    "Archive Facilities Quality Training Press Mobile Data Hardware Translation Reception".split()
)
ROLES = tuple(
    "engineer|manager|accountant|nurse|driver|editor|analyst|designer|lawyer|technician|cook|librarian|translator|"
    "electrician|teacher|buyer|planner|cashier|architect|intern|gardener|pharmacist|surveyor".split("|")
)
SUBJECTS = tuple(
    "Algebra Pottery Biology Latin Drawing Chess Statistics Photography Geology Yoga Spanish Baking Robotics Carpentry "
    "Swimming Choir History Astronomy Fencing Sewing Economics Chemistry Guitar Welding First-aid Bookkeeping".split()
)
FOODS = tuple(
    "flour|butter|sugar|rice|lentils|olive oil|milk|honey|oats|walnuts|raisins|tomato paste|chickpeas|yoghurt|cheddar|"
    "almonds|spinach|carrots|salmon|tofu|barley|cocoa|coconut|basil|quinoa|mushrooms|leeks|beetroot|apples|dried figs|"
    "rye bread|cream|mustard|plums|cabbage|noodles".split("|")
)
ANIMALS = tuple(
    "otter lynx badger heron falcon beaver wolf ibex hedgehog marten stoat owl hare fox boar salamander pike trout "
    "raven stork swan crane bison elk seal puffin tortoise gecko".split()
)


def decimal(low: int | float, high: int | float, places: int) -> Draw:
    """Draw numbers between `low` and `high`, small ones as often as large ones."""
    return lambda rng: f"{low * (high / low) ** rng.random():.{places}f}"


def whole(low: int, high: int) -> Draw:
    """Draw whole numbers between `low` and `high`, small ones as often as large ones."""
    return lambda rng: str(round(low * (high / low) ** rng.random()))


def goods(rng: Random) -> str:
    """Draw a thing one can buy."""
    return f"{rng.choice(ADJECTIVES)} {rng.choice(GOODS)}"


def invoice(rng: Random) -> str:
    """Draw the number of an invoice."""
    return f"{rng.choice(('INV', 'RE', 'F', 'A'))}-{rng.randint(100, 99999)}"


def sensor(rng: Random) -> str:
    """Draw the name of what measures or is measured."""
    name = rng.choice(("sensor", "probe", "station", "sample", "buoy", "well", "plot", "tank", "site", "kiln"))
    return f"{name} {rng.choice((str(rng.randint(1, 99)), Values(rng).proper_name()))}"


def train(rng: Random) -> str:
    """Draw the number of a train."""
    return f"{rng.choice(('IC', 'RE', 'S', 'EC', 'R', 'TGX'))} {rng.randint(2, 999)}"


def title(rng: Random) -> str:
    """Draw the title of a book."""
    noun = rng.choice(("Gate", "Orchard", "Winter", "Letter", "River", "Garden", "Island", "Clock", "Harbour", "Road"))
    return rng.choice((f"The {Values(rng).proper_name()} {noun}", f"{noun} of {Values(rng).proper_name()}"))


def room(rng: Random) -> str:
    """Draw the name of a room."""
    return f"room {rng.choice((str(rng.randint(2, 490)), Values(rng).proper_name()))}"


def course(rng: Random) -> str:
    """Draw the name of a course."""
    return f"{rng.choice(SUBJECTS)} {rng.randint(1, 9)}"


def task(rng: Random) -> str:
    """Draw the number of a task."""
    return f"{rng.choice(('task', 'ticket', 'TCK', 'BUG', 'OPS', 'JOB'))}-{rng.randint(10, 9999)}"


def person(rng: Random) -> str:
    """Draw a first and a last name."""
    return f"{Values(rng).first_name()} {Values(rng).surname()}"


def day(rng: Random) -> str:
    """Draw a date such as 2024-03-11."""
    return Values(rng).day().isoformat()


def clock(rng: Random) -> str:
    """Draw a time of day."""
    return f"{rng.randint(5, 23):02}:{rng.randint(0, 59):02}"


def one_of(options: tuple[str, ...]) -> Draw:
    """Draw one of the options."""
    return lambda rng: rng.choice(options)


def of(method: Callable[[Values], str]) -> Draw:
    """Draw with a method of Values."""
    return lambda rng: method(Values(rng))


def phone(rng: Random) -> str:
    """Draw a short phone number."""
    return f"{rng.randint(100, 999)}-{rng.randint(1000, 9999)}"


def email(rng: Random) -> str:
    """Draw an e-mail address."""
    return f"{account(rng)}@{Values(rng).host()}"


def office(rng: Random) -> str:
    """Draw the number of a room or shelf, such as C214."""
    return f"{rng.choice('ABCDEFGH')}{rng.randint(10, 599)}"


def platform(rng: Random) -> str:
    """Draw a platform of a station."""
    return f"{rng.randint(1, 24)}{rng.choice('abcd')}"


def postcode(rng: Random) -> str:
    """Draw a postcode."""
    return Values(rng).digits(5)
