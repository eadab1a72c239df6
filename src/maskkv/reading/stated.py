"""Sentences that state an attribute of something: "The access code for the north gate is 4417."."""

import re

from maskkv.reading.attribute import Attribute
from maskkv.reading.entities import GROUPS, family_of
from maskkv.reading.fact import Fact, Phrasings
from maskkv.reading.fitting import collected
from maskkv.reading.grammar import capitalised, possessive, with_article
from maskkv.reading.values import Values

ANY = (
    "The {attribute} {of} {entity} is {value}.",
    "The {attribute} {of} {entity} is {value}.",
    "The {attribute} {of} {entity} is {value}.",
    "{Entitys} {attribute} is {value}.",
    "{Entitys} {attribute} is {value}.",
    "For {entity}, the {attribute} is {value}.",
    "According to {source}, the {attribute} {of} {entity} is {value}.",
    "{Source} gives {value} as the {attribute} {of} {entity}.",
    "Please note that the {attribute} {of} {entity} is {value}.",
    "Since {since}, the {attribute} {of} {entity} has been {value}.",
    "We were told that {entitys} {attribute} is {value}.",
    "The {attribute} {of} {entity} is {value}, {tail}.",
    "If anyone asks, the {attribute} {of} {entity} is {value}.",
    "At present, {entitys} {attribute} is {value}.",
    "The {attribute} {of} {entity} is still {value}, {tail}.",
    "It turned out that the {attribute} {of} {entity} is {value}.",
    "{value} is the {attribute} {of} {entity}.",
    "Few people know that the {attribute} {of} {entity} is {value}.",
    "As far as {entity} is concerned, the {attribute} is {value}.",
    "In the case of {entity}, the {attribute} is {value}.",
    "{Source} says that {entitys} {attribute} is {value}.",
    "When it comes to {entity}, the {attribute} is {value}.",
    "The {attribute} {of} {entity}, as {source} has it, is {value}.",
)
BY_SORT = {
    "code": (
        "{Entity} has the {attribute} {value}.",
        "{Entity} has the {attribute} {value}.",
        "{Entitys} {attribute} was set to {value}.",
        "The {attribute} {of} {entity} was changed to {value} {before}.",
        "Use {value} as the {attribute} {of} {entity}.",
        "The {attribute} {value} belongs to {entity}.",
        "Write down the {attribute} {of} {entity}: {value}.",
        "You will need the {attribute} {of} {entity}, which is {value}.",
    ),
    "when": (
        "The {attribute} {of} {entity} was moved to {value}.",
        "The {attribute} {of} {entity} has been fixed as {value}, {tail}.",
        "{Entitys} {attribute} was changed to {value} {before}.",
        "They chose {value} as the {attribute} {of} {entity}.",
        "Do not forget that the {attribute} {of} {entity} is {value}.",
    ),
    "measure": (
        "{Entity} has {an_attribute} of {value}.",
        "{Entity} has {an_attribute} of {value}.",
        "With {an_attribute} of {value}, {entity} was no surprise to us.",
        "The {attribute} {of} {entity} comes to {value}.",
        "The {attribute} {of} {entity} is listed as {value}.",
        "The {attribute} {of} {entity} is about {value}, {tail}.",
        "At {value}, the {attribute} {of} {entity} is higher than we thought.",
        "We recorded {an_attribute} of {value} for {entity}.",
    ),
    "count": (
        "The {attribute} {of} {entity} comes to {value}.",
        "The {attribute} {of} {entity} is listed as {value}.",
        "The {attribute} {of} {entity} has grown to {value} since {since}.",
        "The {attribute} {of} {entity} is about {value}, {tail}.",
        "At {value}, the {attribute} {of} {entity} is higher than we thought.",
    ),
    "who": (
        "{value} is the {attribute} {of} {entity}.",
        "{value} is {entitys} {attribute}.",
        "{value} became the {attribute} {of} {entity} {before}.",
        "{Entity} has {value} as {attribute}.",
        "The {attribute} {of} {entity} has always been {value}.",
        "{value}, who is the {attribute} {of} {entity}, will answer your letters.",
    ),
    "thing": (
        "The {attribute} {of} {entity} is given as {value}.",
        "{Entitys} {attribute} is listed as {value}.",
        "They agreed on {value} as the {attribute} {of} {entity}.",
        "The {attribute} {of} {entity} is, {tail}, {value}.",
    ),
}
SOURCES = (
    "the handbook|the latest notice|our register|the plan|the file|the label|the newsletter|the annual list|the guide|"
    "the small print|the log book|the order form|the letter|the overview|the office|the folder on the desk|the memo"
).split("|")
SINCES = (
    "last week|yesterday|last spring|the last meeting|this morning|last autumn|last Friday|the summer break|last month"
).split("|")
BEFORES = "last week|yesterday|last spring|this morning|last autumn|last month|a year ago|two days ago|again".split("|")
TAILS = (
    "as before|as everyone agreed|and it will stay so for now|just as we had hoped|which may change|as it should be|"
    "though some doubt it|as you can see on the board|which surprised nobody|and that is final|as far as we know|"
    "at least for the moment|although the old list says otherwise"
).split("|")

LATER = re.compile(r" (in|from|on|to|of|called|between) ")
"""What follows the noun of an entity, so that it takes no apostrophe."""

QUESTIONS = Phrasings(
    training=(
        "{What} is the {attribute} {of} {entity}?",
        "{What}'s the {attribute} {of} {entity}?",
        "{What} is {entitys} {attribute}?",
        "Which {attribute} does {entity} have?",
        "Tell me the {attribute} {of} {entity}.",
        "Please give me the {attribute} {of} {entity}.",
        "Can you tell me the {attribute} {of} {entity}?",
        "Do you know the {attribute} {of} {entity}?",
        "Do you know {what} {entitys} {attribute} is?",
        "I need the {attribute} {of} {entity}.",
        "I am looking for the {attribute} {of} {entity}.",
        "For {entity}, {what} is the {attribute}?",
        "According to the text, {what} is the {attribute} {of} {entity}?",
        "Could you look up the {attribute} {of} {entity}?",
        "Find the {attribute} {of} {entity}.",
        "State the {attribute} {of} {entity}.",
        "{Entitys} {attribute}?",
        "The {attribute} {of} {entity}?",
        "{Attribute} {of} {entity}?",
        "What does it say about the {attribute} {of} {entity}?",
        "Quote the sentence with the {attribute} {of} {entity}.",
        "Which sentence gives the {attribute} {of} {entity}?",
        "Where does it say {what} the {attribute} {of} {entity} is?",
        "Remind me {what} the {attribute} {of} {entity} is.",
        "I forgot the {attribute} {of} {entity}. {What} is it?",
        "Let me know {what} {entitys} {attribute} is, please.",
        "{What} was the {attribute} {of} {entity} again?",
    ),
    held_out=(
        "I would like to know the {attribute} {of} {entity}.",
        "Show me {entitys} {attribute}, please.",
        "Any idea {what} the {attribute} {of} {entity} is?",
        "What does the document give as the {attribute} {of} {entity}?",
        "Say {what} {entitys} {attribute} is.",
        "Help me find the {attribute} {of} {entity}.",
        "{Entity} has which {attribute}?",
        "Is the {attribute} {of} {entity} in there, and {what} is it?",
        "My question is about {entity}: {what} is the {attribute}?",
    ),
)


def facts(values: Values, count: int, unseen: bool) -> tuple[Fact, ...]:
    """Make sentences that each state one attribute; in half of the cases several are easily confused."""
    rng = values.rng
    family = family_of(GROUPS, values)
    attribute = rng.choice(family.group.attributes)
    entity = family.member(values)
    relation = rng.choice(("attribute", "entity", "family"))

    def alike() -> Fact:
        stated = attribute if relation == "attribute" else rng.choice(family.group.attributes)
        return _fact(values, stated, entity if relation == "entity" else family.member(values), unseen)

    def any_other() -> Fact:
        other = family_of(GROUPS, values)
        return _fact(values, rng.choice(other.group.attributes), other.member(values), unseen)

    return collected(rng, count, alike, any_other)


def _fact(values: Values, attribute: Attribute, entity: str, unseen: bool) -> Fact:
    rng = values.rng
    value = attribute.draw(values)
    what = "who" if attribute.sort == "who" else "what"
    source = rng.choice(SOURCES)
    names = {
        "attribute": attribute.name,
        "Attribute": capitalised(attribute.name),
        "an_attribute": with_article(attribute.name),
        "of": rng.choice(attribute.links),
        "entity": entity,
        "Entity": capitalised(entity),
        "entitys": possessive(entity),
        "Entitys": capitalised(possessive(entity)),
        "what": what,
        "What": capitalised(what),
        "source": source,
        "Source": capitalised(source),
        "since": rng.choice(SINCES),
        "before": rng.choice(BEFORES),
        "tail": rng.choice(TAILS),
        "value": value,
    }
    statement = rng.choice(ANY if rng.random() < 0.6 else BY_SORT[attribute.sort])
    if statement.startswith("{value}") and value[0].islower():
        statement = ANY[0]
    text = _for_phrases(statement, entity).format_map(names)
    if rng.random() < 0.3:
        names["of"] = rng.choice(attribute.links)
    question = _for_phrases(QUESTIONS.draw(rng, unseen), entity).format_map(names)
    return Fact(text, value, f"{attribute.name} of {entity}", question)


def _for_phrases(template: str, entity: str) -> str:
    """Ask for "the vet of the parrot from Lima" where a template would say "the parrot from Lima's vet"."""
    if not LATER.search(entity):
        return template
    for owner, the in (("{entitys}", "the"), ("{Entitys}", "The")):
        template = template.replace(f"{owner} {{attribute}}", f"{the} {{attribute}} {{of}} {{entity}}")
    return template
