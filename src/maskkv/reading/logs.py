"""Logs in several formats, with questions on what a source reports, when, and which source it was."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from maskkv.reading.asking import ask, told_apart
from maskkv.reading.fact import Block, Fact
from maskkv.reading.line_names import source
from maskkv.reading.log_events import EVENTS, Event
from maskkv.reading.log_phrasings import COUNT
from maskkv.reading.log_story_phrasings import MESSAGE, SOURCE, WHEN

MONTHS = tuple("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())
# What a line is made of: time, level, source and message; and, the same on every line, day, month and year.
FORMATS = (
    "{time} {level} {source}: {message}",
    "{time} {level} {source}: {message}",
    "{time} [{level}] {source} {message}",
    "{time} {source} {message}",
    "[{time}] {source} {level}: {message}",
    "[{time}] [{level}] {source}: {message}",
    "{year}-{month:02}-{day:02} {time} [{level}] {source} {message}",
    "{year}-{month:02}-{day:02} {time} {level} {source} - {message}",
    "{year}-{month:02}-{day:02}T{time}Z {level} {source} {message}",
    "{day:02}/{month:02} {time} {source} ({level}) {message}",
    "{name} {day} {time} {source} {message}",
    "{level} {time} ({source}) {message}",
    "{time} | {level} | {source} | {message}",
    "{level} {source} {time} {message}",
    'time={time} level={level} source={source} msg="{message}"',
    '{{"time": "{time}", "level": "{level}", "source": "{source}", "message": "{message}"}}',
    '{{"source": "{source}", "message": "{message}", "time": "{time}"}}',
)


@dataclass(frozen=True)
class Entry:
    """One line of a log, with what it is made of."""

    time: str
    source: str
    event: Event
    line: str


def _clock(seconds: int) -> str:
    return f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _tail(rng: Random) -> str:
    number = rng.randint(2, 9)
    tails = (
        f" (attempt {number})",
        f" [req {rng.randrange(16**4):04x}]",
        f", pid {number * 1117}",
        f" (thread {number})",
    )
    return rng.choice(tails) if rng.random() < 0.15 else ""


def _entries(rng: Random, count: int) -> list[Entry]:
    style, lower = rng.choice(FORMATS), rng.random() < 0.3
    month, day, year = rng.randint(1, 12), rng.randint(1, 28), rng.randint(2019, 2031)
    # All lines are of one day, at different times.
    seconds, pace = rng.randint(0, 40_000), min(rng.choice((3, 20, 90, 400)), 40_000 // count)
    entries: list[Entry] = []
    while len(entries) < count:
        event, origin = rng.choice(EVENTS)(rng), source(rng)
        if entries and rng.random() < 0.3:
            origin = rng.choice(entries).source
        time, level = _clock(seconds), rng.choice(event.levels)
        line = style.format(
            time=time,
            level=level.lower() if lower else level,
            source=origin,
            message=event.message + _tail(rng),
            name=MONTHS[month - 1],
            month=month,
            day=day,
            year=year,
        )
        new = all((origin, event.topic) != (other.source, other.event.topic) for other in entries)
        if (
            new
            and line.count(event.value) == 1
            and told_apart(event.value, line, [(other.event.value, other.line) for other in entries])
        ):
            entries.append(Entry(time, origin, event, line))
            seconds += rng.randint(0, pace)
        seconds += 1
    return entries


def _of_message(rng: Random, entry: Entry, unseen: bool) -> tuple[str, str]:
    return entry.event.message, ask(rng, MESSAGE, unseen, entry.event.message, source=entry.source)


def _of_time(rng: Random, entry: Entry, unseen: bool) -> tuple[str, str]:
    happened = entry.event.happened.format(source=entry.source)
    return entry.time, ask(rng, WHEN, unseen, entry.time, source=entry.source, deed=entry.event.deed, happened=happened)


def _of_source(rng: Random, entry: Entry, unseen: bool) -> tuple[str, str]:
    return entry.source, ask(rng, SOURCE, unseen, entry.source, deed=entry.event.deed)


def _of_value(rng: Random, entry: Entry, unseen: bool) -> tuple[str, str]:
    event = entry.event
    topic = event.topic.removesuffix(f" {event.noun}") if event.phrasings is COUNT else event.topic
    question = ask(rng, event.phrasings, unseen, event.value, source=entry.source, topic=topic, noun=event.noun)
    return event.value, question


def _fact(rng: Random, entry: Entry, entries: list[Entry], unseen: bool) -> Fact:
    others = [other for other in entries if other is not entry]
    ways: list[Callable[[Random, Entry, bool], tuple[str, str]]] = [_of_value, _of_value, _of_value, _of_time]
    if all(entry.source != other.source for other in others):
        ways.append(_of_message)
    alone = all(entry.event.topic != other.event.topic and entry.source not in other.line for other in others)
    if alone and entry.source not in entry.event.message:
        ways.append(_of_source)
    value, question = rng.choice(ways)(rng, entry, unseen)
    return Fact(entry.line, value, f"{entry.source}: {entry.event.topic}", question)


def block(rng: Random, count: int, unseen: bool) -> Block:
    """Make a log of `count` lines."""
    entries = _entries(rng, count)
    facts = tuple(_fact(rng, entry, entries, unseen) for entry in entries)
    return Block("\n".join(entry.line for entry in entries), facts)
