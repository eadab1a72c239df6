"""The options a command lists in its help, with questions on what they do."""

from dataclasses import dataclass
from random import Random

from maskkv.reading.asking import ask
from maskkv.reading.config_phrasings import DEFAULT, OPTION, PURPOSE
from maskkv.reading.fact import Block, Fact

# What an option may set: the end of its name, what it takes, how it is described, and defaults.
SETS = (
    ("timeout", "SECONDS", "longest wait for {}", ("5", "10", "30", "45", "60", "90", "120", "300")),
    ("retries", "N", "number of retries for {}", ("2", "3", "4", "6", "7", "8", "12")),
    ("limit", "N", "largest number of {}", ("20", "25", "50", "75", "200", "500", "1000")),
    ("file", "PATH", "file with the {}", ("data.json", "list.txt", "state.db", "input.csv")),
    ("dir", "PATH", "folder for {}", ("./out", "/tmp", "build", "cache", "~/.local")),
    ("format", "NAME", "format of the {}", ("json", "text", "csv", "table", "yaml", "xml")),
    ("level", "LEVEL", "level of detail for {}", ("info", "warning", "error", "debug")),
    ("color", "WHEN", "color of {}", ("auto", "always", "never", "blue", "green")),
    ("size", "BYTES", "size of the buffer for {}", ("4096", "8192", "65536", "1048576")),
    ("interval", "SECONDS", "pause between two rounds of {}", ("15", "40", "180", "600", "3600")),
    ("order", "NAME", "order of the listed {}", ("name", "date", "newest", "oldest", "length")),
    ("rate", "HZ", "sampling rate of {}", ("24", "44", "48", "96", "100", "250")),
)
# What they are about: as it stands in the name of the option, and in its description.
ABOUT = tuple(
    (name, words)
    for name, words in (
        ("connect", "new connections"),
        ("read", "answers from the server"),
        ("upload", "uploaded files"),
        ("download", "downloads"),
        ("log", "log messages"),
        ("cache", "cached pages"),
        ("image", "images"),
        ("thumb", "thumbnails"),
        ("user", "user accounts"),
        ("job", "background jobs"),
        ("test", "failed tests"),
        ("host", "remote hosts"),
        ("query", "slow queries"),
        ("backup", "backups"),
        ("report", "weekly reports"),
        ("mail", "outgoing mail"),
        ("key", "signing keys"),
        ("page", "printed pages"),
        ("word", "unknown words"),
        ("track", "audio tracks"),
        ("frame", "video frames"),
        ("sensor", "sensor readings"),
        ("branch", "merged branches"),
        ("tag", "tags"),
        ("lock", "stale locks"),
        ("plugin", "plugins"),
        ("theme", "themes"),
        ("rule", "firewall rules"),
        ("event", "calendar events"),
        ("row", "skipped rows"),
    )
)
COMMANDS = tuple("fetchlog mkindex shrinkimg syncbox runjobs tabconv mailcat pagecheck snapdir audiocut".split())


@dataclass(frozen=True)
class Option:
    """An option, what it sets, and what holds without it."""

    flag: str
    takes: str
    purpose: str
    default: str


def _drawn(rng: Random, count: int) -> list[Option]:
    options = []
    for (end, takes, purpose, defaults), (name, words) in rng.sample([(x, y) for x in SETS for y in ABOUT], count):
        default = rng.choice(defaults) if rng.random() < 0.5 else ""
        options.append(Option(f"--{name}-{end}", takes, purpose.format(words), default))
    return options


def _fact(rng: Random, option: Option, line: str, telling: bool, unseen: bool) -> Fact:
    kind = rng.choice(("purpose", "option", "default") if telling else ("purpose", "option"))
    if kind == "purpose":
        question = ask(rng, PURPOSE, unseen, option.purpose, option=option.flag)
        return Fact(line, option.purpose, option.flag, question)
    if kind == "option":
        question = ask(rng, OPTION, unseen, option.flag, purpose=option.purpose)
        return Fact(line, option.flag, option.flag, question)
    value = f"(default: {option.default})"
    return Fact(line, value, option.flag, ask(rng, DEFAULT, unseen, value, option=option.flag))


def options(rng: Random, count: int, unseen: bool) -> Block:
    """Make the help of a command with `count` options."""
    drawn = _drawn(rng, count)
    gap = rng.choice((0, max(len(f"{option.flag} {option.takes}") for option in drawn)))
    defaults = [option.default for option in drawn if option.default]
    facts, lines = [], [f"Usage: {rng.choice(COMMANDS)} [OPTIONS]", "", "Options:"]
    for option in drawn:
        default = f" (default: {option.default})" if option.default else ""
        line = f"{f'{option.flag} {option.takes}':{gap}}  {option.purpose}{default}"
        lines.append(f"  {line}")
        facts.append(_fact(rng, option, line, defaults.count(option.default) == 1, unseen))
    return Block("\n".join(lines), tuple(facts))
