"""Sentences that say who did what, when and where: "The lease was signed by Maria Ortiz in Lisbon."."""

from dataclasses import dataclass

from maskkv.reading.fact import Fact, Phrasings
from maskkv.reading.fitting import collected
from maskkv.reading.grammar import capitalised
from maskkv.reading.happenings import QUALIFIED, REMARKS, ROLES, SCENES, SHARED, VERBS, Verb
from maskkv.reading.values import Values

# {when} and {where} stand for nothing where the sentence does not say; {When} and {Where} are the same in front.
PASSIVE = (
    "{What} {was} {done} by {who}{when}{where}.",
    "{What} {was} {done} by {who}{where}{when}.",
    "{What} {was} {done}{when}{where} by {who}.",
    "{What} {was} {done}{where} by {who}{when}.",
    "{What} {was} {done} by {who}{when}{where}, {remark}.",
    "{What} {was} {done} {remark} by {who}{where}{when}.",
    "{When}{what} {was} {done} by {who}{where}.",
    "{Where}{what} {was} {done} by {who}{when}.",
    "We know that {what} {was} {done} by {who}{where}{when}.",
    "As it says in the chronicle, {what} {was} {done} by {who}{when}{where}.",
)
ACTIVE = (
    "{who} {did} {what}{where}{when}.",
    "{who} {did} {what}{when}{where}.",
    "{When}{who} {did} {what}{where}.",
    "{Where}{who} {did} {what}{when}.",
    "{who} {did} {what}{where}{when}, {remark}.",
    "It was {who} who {did} {what}{where}{when}.",
    "Everyone remembers that {who} {did} {what}{when}{where}.",
    "{When}{remark}, {who} {did} {what}{where}.",
)
NOBODY = (
    "{What} {was} {done}{when}{where}.",
    "{What} {was} {done}{where}{when}.",
    "{When}{what} {was} {done}{where}.",
    "{What} {was} {done}{where}{when}, {remark}.",
    "{Where}{what} {was} {done}{when}.",
)

WHO = Phrasings(
    training=(
        "Who {did} {what}?",
        "Who {did} {what}{detail}?",
        "By whom {was} {what} {done}?",
        "By whom {was} {what} {done}{detail}?",
        "Tell me who {did} {what}.",
        "Can you tell me who {did} {what}?",
        "Do you know who {did} {what}{detail}?",
        "Who was it that {did} {what}?",
        "I want to know who {did} {what}.",
        "According to the text, who {did} {what}?",
        "Does it say who {did} {what}?",
        "{What} {was} {done} by whom?",
        "Which sentence says who {did} {what}?",
        "Find out who {did} {what}.",
        "Please tell me by whom {what} {was} {done}.",
        "I wonder who {did} {what}{detail}.",
        "Where does it say who {did} {what}?",
        "Remind me who {did} {what}, please.",
        "Give me the name of whoever {did} {what}.",
        "Who is said to have {done} {what}?",
        "Quote the part on who {did} {what}.",
    ),
    held_out=(
        "Could you say who {did} {what}?",
        "Any idea who {did} {what}?",
        "Let me know who {did} {what}, please.",
        "What is the name of the one who {did} {what}?",
        "Look up by whom {what} {was} {done}.",
        "I forgot who {did} {what}{detail}. Who was it?",
        "{What}: who {did} {it}?",
    ),
)
"""Who did it; {detail} says when or where, as the sentence does."""

WHEN = Phrasings(
    training=(
        "When {asked}?",
        "When {asked}{detail}?",
        "Tell me when {told}.",
        "Can you tell me when {told}?",
        "Do you know when {told}{detail}?",
        "When was it that {told}?",
        "I want to know when {told}.",
        "According to the text, when {asked}?",
        "Does it say when {told}?",
        "{Told} when?",
        "Which sentence says when {told}?",
        "Find out when {told}.",
        "Please tell me when {told}{detail}.",
        "I wonder when {told}{detail}.",
        "Where does it say when {told}?",
        "Remind me when {told}, please.",
        "Give me the time when {told}.",
        "Quote the part on when {told}.",
        "When exactly {asked}?",
        "On what day or at what time {asked}?",
        "I need to know when {told}{detail}.",
    ),
    held_out=(
        "Could you say when {told}?",
        "Any idea when {told}?",
        "Let me know when {told}, please.",
        "What was the moment when {told}?",
        "Look up when {told}.",
        "I forgot when {told}{detail}. When was it?",
        "{Told}, but when?",
    ),
)
"""When it was done; {asked} is "was the lease signed" or "did Ms Ortiz sign the lease", {told} a statement of it."""

WHERE = Phrasings(
    training=(
        "Where {asked}?",
        "Where {asked}{detail}?",
        "Tell me where {told}.",
        "Can you tell me where {told}?",
        "Do you know where {told}{detail}?",
        "Where was it that {told}?",
        "I want to know where {told}.",
        "According to the text, where {asked}?",
        "Does it say where {told}?",
        "{Told} where?",
        "Which sentence says where {told}?",
        "Find out where {told}.",
        "Please tell me where {told}{detail}.",
        "I wonder where {told}{detail}.",
        "In which place {asked}?",
        "Remind me where {told}, please.",
        "Give me the place where {told}.",
        "Quote the part on where {told}.",
        "Where exactly {asked}?",
        "I need to know where {told}{detail}.",
        "What is the place where {told}?",
    ),
    held_out=(
        "Could you say where {told}?",
        "Any idea where {told}?",
        "Let me know where {told}, please.",
        "At what place {asked}?",
        "Look up where {told}.",
        "I forgot where {told}{detail}. Where was it?",
        "{Told}, but where?",
    ),
)
ASKING = {"who": WHO, "when": WHEN, "where": WHERE}


@dataclass(frozen=True)
class Detail:
    """Who, when or where: the phrase of a sentence, and the part of it that answers."""

    phrase: str
    value: str


def facts(values: Values, count: int, unseen: bool) -> tuple[Fact, ...]:
    """Make sentences on who did what, when and where; in half of the cases several are easily confused."""
    rng = values.rng
    verb = rng.choice(VERBS)
    thing, shared = rng.choice(verb.objects), rng.choice(SHARED)
    doer, shared_name = _doer(values, verb), _object(values, shared)
    relation = rng.choice(("verb", "object", "doer"))

    def alike() -> Fact:
        if relation == "verb":
            return _fact(values, verb, _object(values, thing, bare=False), _doer(values, verb), unseen)
        if relation == "object":
            other = rng.choice([each for each in VERBS if shared in each.objects])
            return _fact(values, other, shared_name, _doer(values, other), unseen)
        other = rng.choice([each for each in VERBS if each.by == verb.by])
        return _fact(values, other, _object(values, rng.choice(other.objects)), doer, unseen)

    def any_other() -> Fact:
        other = rng.choice(VERBS)
        return _fact(values, other, _object(values, rng.choice(other.objects)), _doer(values, other), unseen)

    return collected(rng, count, alike, any_other)


def _object(values: Values, thing: str, bare: bool = True) -> str:
    form = values.rng.randrange(5 if bare else 3)
    if form == 0:
        return f"the {values.place()} {thing}"
    if form == 1:
        return f"the {values.surname()} {thing}"
    if form == 2 and not set(QUALIFIED) & set(thing.split()):
        return f"the {values.rng.choice(QUALIFIED)} {thing}"
    return f"the {thing}" if bare else f"the {thing} of {values.place()}"


def _doer(values: Values, verb: Verb) -> Detail:
    if verb.by == "company" or (verb.by == "either" and values.rng.random() < 0.4):
        company = values.company()
        return Detail(company, company)
    person = values.person()
    if values.rng.random() < 0.2 and " " in person:
        return Detail(f"the {values.rng.choice(ROLES)} {person}", person)
    return Detail(person, person)


def _time(values: Values) -> Detail:
    form = values.rng.random()
    if form < 0.6:
        date = values.date()
        return Detail(f"on {date}", date)
    if form < 0.8:
        month = values.month()
        return Detail(f"in {month}", month)
    if form < 0.9:
        time = values.time()
        return Detail(f"at {time}", time)
    day = f"last {values.weekday()}"
    return Detail(day, day)


def _scene(values: Values) -> Detail:
    town = values.place()
    scene = values.rng.choice(SCENES)
    form = values.rng.random()
    if form < 0.5:
        return Detail(f"in {town}", town)
    if form < 0.75:
        return Detail(f"at the {scene}", scene)
    return Detail(f"at the {scene} in {town}", f"{scene} in {town}")


def _fact(values: Values, verb: Verb, what: str, who: Detail, unseen: bool) -> Fact:
    rng = values.rng
    asked = rng.choice(("who", "when", "where"))
    details = {"when": _time(values), "where": _scene(values)}
    given = [each for each in details if each == asked or rng.random() < 0.6]
    shape = rng.choice((PASSIVE, ACTIVE) if asked == "who" else (PASSIVE, ACTIVE, NOBODY))
    plural = what.endswith("s") and not what.endswith(("ss", "species"))
    names = {
        "what": what,
        "What": capitalised(what),
        "it": "them" if plural else "it",
        "was": "were" if plural else "was",
        "did": verb.past,
        "done": verb.participle,
        "remark": rng.choice(REMARKS),
        "who": who.phrase,
    }
    for each, detail in details.items():
        names[each] = f" {detail.phrase}" if each in given else ""
        names[capitalised(each)] = f"{capitalised(detail.phrase)}, " if each in given else ""
    text = capitalised(rng.choice(shape).format_map(names))
    names["told"] = "{what} {was} {done}".format_map(names)
    names["asked"] = "{was} {what} {done}".format_map(names)
    if shape is ACTIVE and rng.random() < 0.6:
        names["told"] = f"{who.phrase} {verb.past} {what}"
        names["asked"] = f"did {who.phrase} {verb.base} {what}"
    names["Told"] = capitalised(names["told"])
    others = [each for each in given if each != asked]
    names["detail"] = f" {details[rng.choice(others)].phrase}" if others and rng.random() < 0.7 else ""
    question = ASKING[asked].draw(rng, unseen).format_map(names)
    value = who.value if asked == "who" else details[asked].value
    return Fact(text, value, f"{verb.participle} {what}", question)
