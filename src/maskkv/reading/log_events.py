"""What the sources of a log report: messages with one value each, and how each is called afterwards."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from maskkv.reading import line_names as names
from maskkv.reading.fact import Phrasings
from maskkv.reading.log_phrasings import COUNT, DURATION, ERROR, FILE, LEVEL, PORT, USER


@dataclass(frozen=True)
class Event:
    """A message: what it is about, the value it states, how to call it, and how to ask for it and for its time.

    `deed` names it, as in "the backup"; `happened` ends a question for its time: "did the backup of {source} finish".
    """

    topic: str
    noun: str
    message: str
    value: str
    deed: str
    happened: str
    phrasings: Phrasings
    levels: tuple[str, ...] = ("INFO",)


TASKS = (
    "backup|migration|vacuum|reindex|cleanup|sync|restart|import|export|health check|nightly build|deployment|restore|"
    "handshake|full scan|snapshot|compaction|failover|upgrade|replication|data transfer|index rebuild|self-test|"
    "cache warm-up|shutdown|log rotation|virus scan|file upload|key exchange|integrity check"
).split("|")
DEEDS_OF_USERS = (
    "logged in|logged out|changed the password|was locked out|was blocked|reset the password|started the backup|"
    "stopped the service|cancelled the order|created a project|deleted an account|opened a ticket|approved the release|"
    "restarted the server|requested an export|renewed the certificate|exceeded the quota|joined the group|"
    "triggered the alarm|edited the settings"
).split("|")
HANDLED_FILES = (
    "opened uploaded loaded copied saved imported exported compressed rotated downloaded archived parsed moved renamed "
    "restored skipped rejected locked deleted scanned encrypted signed indexed cached"
).split()
HANDLED = (
    "processed dropped received accepted rejected queued archived deleted imported exported retried skipped cached "
    "indexed delivered merged updated copied expired removed loaded"
).split()
THINGS = (
    "requests messages rows orders packets records jobs sessions events mails images documents tokens uploads "
    "invoices blocks keys tasks queries connections"
).split()
# What is measured, in which unit, and between which bounds.
GAUGES = (
    ("disk usage", "{} %", 11, 99),
    ("memory usage", "{} %", 11, 99),
    ("cpu load", "{} %", 11, 99),
    ("battery level", "{} %", 2, 99),
    ("cache hit rate", "{} %", 11, 99),
    ("packet loss", "{} %", 2, 60),
    ("error rate", "{} %", 2, 80),
    ("queue length", "{}", 20, 9000),
    ("thread count", "{}", 12, 900),
    ("connection count", "{}", 12, 5000),
    ("free disk space", "{} GB", 2, 900),
    ("heap size", "{} MB", 40, 8000),
    ("board temperature", "{} C", 20, 95),
    ("room temperature", "{} C", 14, 38),
    ("fan speed", "{} rpm", 600, 9000),
    ("latency", "{} ms", 2, 3000),
    ("response time", "{} ms", 10, 9000),
    ("replication lag", "{} ms", 10, 9000),
    ("clock drift", "{} ms", 2, 900),
    ("supply voltage", "{} mV", 900, 12500),
    ("download speed", "{} Mbit/s", 5, 990),
    ("signal strength", "-{} dBm", 30, 95),
)


def _port(rng: Random) -> Event:
    value = str(rng.randint(1024, 65535))
    message = rng.choice(
        (
            "listening on port {}",
            "accepts connections on port {}",
            "started on port {}",
            "now uses port {}",
            "bound to port {}",
            "server is up on port {}",
            "opened port {} for clients",
            "ready, port {}",
        )
    )
    return Event("port", "", message.format(value), value, "the port", "did {source} take its port", PORT)


def _duration(rng: Random) -> Event:
    number = rng.choice((rng.randint(2, 99), rng.randint(100, 2000), rng.randint(11, 999) / 10))
    value = rng.choice((f"{number} s", f"{number} ms", f"{number} seconds", f"{rng.randint(2, 59)} min", f"{number}s"))
    topic = rng.choice(TASKS)
    message = rng.choice(
        (
            "{} finished in {}",
            "{} took {}",
            "{} completed after {}",
            "{} done in {}",
            "finished {} in {}",
            "{} ended, duration {}",
            "{} was slow: {}",
        )
    )
    return Event(
        topic,
        "",
        message.format(topic, value),
        value,
        f"the {topic}",
        f"did the {topic} of {{source}} finish",
        DURATION,
    )


def _user(rng: Random) -> Event:
    topic, value = rng.choice(DEEDS_OF_USERS), names.account(rng)
    message = rng.choice(("user {} {}", "user {} {}", "{} {}"))
    levels = ("INFO", "NOTICE", "WARN")
    return Event(
        topic,
        "",
        message.format(value, topic),
        value,
        f"the user who {topic}",
        f"was it that a user {topic} on {{source}}",
        USER,
        levels,
    )


def _file(rng: Random) -> Event:
    topic, value = rng.choice(HANDLED_FILES), names.file_name(rng)
    value = value if rng.random() < 0.6 else f"{names.folder(rng)}/{value}"
    message = rng.choice(("{} file {}", "{} the file {}", "{} {}", "has {} {}"))
    return Event(
        topic, "", message.format(topic, value), value, f"the {topic} file", f"was a file {topic} by {{source}}", FILE
    )


def _error(rng: Random) -> Event:
    topic = rng.choice(TASKS)
    number = rng.randint(100, 9999)
    value = rng.choice((f"E{number}", f"ERR-{number}", f"0x{rng.randint(4096, 65535):04X}", str(number), f"X-{number}"))
    message = rng.choice(
        (
            "{} failed with error code {}",
            "{} failed: error {}",
            "{} aborted with error {}",
            "{} failed, code {}",
            "could not finish {}: error {}",
            "{} stopped by error {}",
        )
    )
    return Event(
        topic,
        "",
        message.format(topic, value),
        value,
        f"the failed {topic}",
        f"did the {topic} of {{source}} fail",
        ERROR,
        ("ERROR", "ERROR", "FATAL"),
    )


def _count(rng: Random) -> Event:
    topic, noun = rng.choice(HANDLED), rng.choice(THINGS)
    value = str(rng.choice((rng.randint(2, 99), rng.randint(100, 999), rng.randint(1000, 99999))))
    message = rng.choice(("{} {} {}", "{} {} {}", "{} {} {} so far", "has {} {} {}", "{} {} {} in the last hour"))
    return Event(
        f"{topic} {noun}",
        noun,
        message.format(topic, value, noun),
        value,
        f"the number of {topic} {noun}",
        f"were the {noun} {topic} by {{source}}",
        COUNT,
    )


def _level(rng: Random) -> Event:
    topic, unit, low, high = rng.choice(GAUGES)
    value = unit.format(rng.randint(low, high))
    message = rng.choice(("{} at {}", "{} is {}", "{}: {}", "{} reached {}", "{} now {}"))
    levels = ("INFO", "WARN", "WARN")
    return Event(
        topic,
        "",
        message.format(topic, value),
        value,
        f"the {topic}",
        f"was the {topic} of {{source}} logged",
        LEVEL,
        levels,
    )


EVENTS: tuple[Callable[[Random], Event], ...] = (_port, _duration, _user, _file, _error, _count, _level)
