"""Sentences with a long value: the items of a list, a path, an address, what a sign says, why something happened."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from maskkv.reading import attributes, long_words
from maskkv.reading.attribute import Attribute
from maskkv.reading.entities import GROUPS, family_of
from maskkv.reading.fact import Fact, Phrasings
from maskkv.reading.fitting import collected
from maskkv.reading.grammar import capitalised
from maskkv.reading.long_phrasings import LISTS, LOCATIONS, QUOTES, REASONS
from maskkv.reading.values import Values

Part = Callable[[Values], str]
Make = Callable[[Values, str, bool], Fact]

DOCUMENTED = (
    attributes.EVENTS,
    attributes.PROJECTS,
    attributes.ACCOUNTS,
    attributes.JOURNEYS,
    attributes.CLUBS,
    attributes.COMPANIES,
)
PROMOTED = (attributes.EVENTS, attributes.CLUBS, attributes.COMPANIES)


@dataclass(frozen=True)
class Sort:
    """Sentences of one sort; the name of what they are about has two parts: the packing list, for the choir."""

    first: Part
    last: Part
    make: Make


def facts(values: Values, count: int, unseen: bool) -> tuple[Fact, ...]:
    """Make sentences with a long value; in half of the cases several are easily confused."""
    rng = values.rng
    sort = rng.choice(SORTS)
    first, last = sort.first(values), sort.last(values)
    first_kept = rng.random() < 0.5

    def alike() -> Fact:
        name = f"{first} {sort.last(values)}" if first_kept else f"{sort.first(values)} {last}"
        return sort.make(values, name, unseen)

    def any_other() -> Fact:
        other = rng.choice(SORTS)
        return other.make(values, f"{other.first(values)} {other.last(values)}", unseen)

    return collected(rng, count, alike, any_other)


def _stated(values: Values, statements: Sequence[str], value: str, names: dict[str, str]) -> str:
    names["value"] = value
    names["Name"] = capitalised(names["name"])
    names["tail"] = values.rng.choice(long_words.TAILS)
    return values.rng.choice(statements).format_map(names)


def _asked(values: Values, phrasings: Phrasings, names: dict[str, str], unseen: bool) -> str:
    return phrasings.draw(values.rng, unseen).format_map(names)


def _list(values: Values, name: str, unseen: bool) -> Fact:
    written = name.startswith(long_words.WRITTEN)
    lists, bare = values.rng.choice(long_words.WRITTEN_VERBS if written else long_words.FILLED_VERBS)
    names = {"name": name, "lists": lists, "list": bare}
    value = values.item_list()
    text = _stated(values, long_words.LIST_STATEMENTS, value, names)
    return Fact(text, value, name, _asked(values, LISTS, names, unseen))


def _at(draw: Part, statements: Sequence[str]) -> Make:
    def make(values: Values, name: str, unseen: bool) -> Fact:
        names = {"name": name}
        value = draw(values)
        text = _stated(values, statements, value, names)
        return Fact(text, value, name, _asked(values, LOCATIONS, names, unseen))

    return make


def _quoted(draw: Part, statements: Sequence[str]) -> Make:
    def make(values: Values, name: str, unseen: bool) -> Fact:
        value = draw(values)
        names = {"name": name, "quoted": values.rng.choice(long_words.QUOTATION_MARKS).format(value)}
        text = _stated(values, statements, value, names)
        return Fact(text, value, name, _asked(values, QUOTES, names, unseen))

    return make


def _reason(values: Values, name: str, unseen: bool) -> Fact:
    names = {"name": name, "was": "was", "done": values.rng.choice(long_words.DONE)}
    text = _stated(values, long_words.REASON_STATEMENTS, _cause(values), names)
    return Fact(text, names["value"], name, _asked(values, REASONS, names, unseen))


def _cause(values: Values) -> str:
    rng = values.rng
    return rng.choice(long_words.CAUSES).format(
        person=values.person(),
        other=values.person(),
        town=values.place(),
        company=values.company(),
        day=values.weekday(),
        time=values.time(),
        number=rng.randrange(11, 90),
        room=rng.choice(long_words.HALLS),
        thing=rng.choice(long_words.SINGLE_THINGS),
        things=rng.choice(long_words.PLURAL_THINGS),
    )


def _sign(values: Values) -> str:
    first = values.short_sentence()
    if values.rng.random() < 0.7:
        return first
    other = values.short_sentence()
    return f"{first}, and {other[0].lower()}{other[1:]}"


def _the(choices: Sequence[str]) -> Part:
    return lambda values: f"the {values.rng.choice(choices)}"


def _for_group(values: Values) -> str:
    return f"for the {values.rng.choice(long_words.GROUPS)}"


def _of_any(link: str, stated: Sequence[tuple[Attribute, ...]]) -> Part:
    groups = tuple(group for group in GROUPS if group.attributes in stated)
    return lambda values: f"{link} {family_of(groups, values).member(values)}"


def _of_somebody(values: Values) -> str:
    return f"of {values.rng.choice((values.person, values.company, values.company))()}"


def _on_site(values: Values) -> str:
    return values.rng.choice(long_words.SIGN_PLACES).format(values.rng.choice(long_words.SIDES))


def _in_town(values: Values) -> str:
    return values.rng.choice((f"in {values.place()}", f"in {values.place()}", f"for the {values.proper_name()} club"))


SORTS = (
    Sort(_the(long_words.LISTED), _for_group, _list),
    Sort(_the(long_words.LISTED), _for_group, _list),
    Sort(_the(long_words.FILES), _of_any("for", DOCUMENTED), _at(Values.path, long_words.FILE_STATEMENTS)),
    Sort(_the(long_words.FILES), _of_any("for", DOCUMENTED), _at(Values.url, long_words.PAGE_STATEMENTS)),
    Sort(_the(long_words.OFFICES), _of_somebody, _at(Values.full_address, long_words.ADDRESS_STATEMENTS)),
    Sort(_the(long_words.SIGNS), _on_site, _quoted(_sign, long_words.SIGN_STATEMENTS)),
    Sort(_the(long_words.MOTTOS), _of_any("of", PROMOTED), _quoted(Values.slogan, long_words.MOTTO_STATEMENTS)),
    Sort(_the(long_words.HAPPENINGS), _in_town, _reason),
    Sort(_the(long_words.HAPPENINGS), _in_town, _reason),
)
