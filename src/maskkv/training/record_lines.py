"""Lines with faker's values as they stand in letters, lists, settings and logs, for the tokenizer to learn."""

from collections.abc import Iterator
from random import Random

from maskkv.training.records import Records

_LEVELS = ("INFO", "DEBUG", "WARNING", "ERROR")


def lines(rng: Random, count: int) -> Iterator[str]:
    """Yield `count` of them; a setting's section or a card is one."""
    records = Records(rng)
    for _ in range(count):
        yield rng.choice((_sentence, _sentence, _note, _settings, _log, _row))(records)


def _sentence(r: Records) -> str:
    fake, number = r.english(), r.rng.randrange(1, 600)
    return r.rng.choice(
        (
            f"{r.person()} lives at {r.address()} in {r.place()}, {fake.state()}.",
            f"{r.person()} joined {r.company()} as {fake.job().lower()} on {r.date()}.",
            f"The meeting with {r.person()} is on {r.weekday()}, {r.day():%B %d} at {r.time()}.",
            f"The {fake.color_name().lower()} {r.word()} in room {number} belongs to {r.first_name()}.",
            f"The invoice from {r.company()} for {fake.pricetag()} is due in {r.month()}.",
            f"{r.surname()} moved from {r.place()} to {r.place()}, {fake.country()}, in {r.year()}.",
            f"{fake.catch_phrase()}: {fake.bs()}, said {r.person()} of {r.company()}.",
            fake.sentence(nb_words=12),
        )
    )


def _note(r: Records) -> str:
    return r.rng.choice(
        (
            f"Dear {r.first_name()}, please call {r.phone()} or write to {r.email()}.",
            f"Our {r.english().bs()} team in {r.place()} is led by {r.person()}.",
            f"name: {r.person()}\nemail: {r.email()}\ncity: {r.place()}\nphone: {r.phone()}",
        )
    )


def _settings(r: Records) -> str:
    fake, one, other, number = r.english(), r.word(), r.word(), r.rng.randrange(10_000)
    return r.rng.choice(
        (
            f"{one}_{other} = {number}\n{r.word()}_timeout = {number % 900}s",
            f"[{one}]\nhost = {fake.domain_name()}\nport = {fake.port_number()}\nuser = {fake.user_name()}",
            f"{one}:\n  url: {r.url()}\n  enabled: {r.rng.choice(('true', 'false'))}\n  path: {r.path()}",
            f"{one.upper()}_{other.upper()}={fake.password(special_chars=False)}",
        )
    )


def _log(r: Records) -> str:
    fake, number = r.english(), r.rng.randrange(3_000)
    return r.rng.choice(
        (
            f"{r.day()} {_clock(r)} {r.rng.choice(_LEVELS)} {r.word()}.{r.word()}: {fake.http_method()} "
            f"{fake.uri_path()} from {r.ip_address()} took {number} ms",
            f"{r.day():%b %d} {_clock(r)} {r.host()} {r.word()}[{number}]: user {fake.user_name()} logged in",
        )
    )


def _row(r: Records) -> str:
    fake, number = r.english(), r.rng.randrange(3_000)
    return r.rng.choice(
        (
            f"{fake.ean8()},{fake.color_name()},{number},{fake.currency_code()} {r.price()}",
            f"| {r.surname()} | {r.first_name()} | {fake.job()} | {r.day()} |",
            f'{{"id": "{fake.uuid4()}", "name": "{r.person()}", "country": "{fake.country_code()}"}}',
        )
    )


def _clock(r: Records) -> str:
    return f"{r.rng.randrange(24):02}:{r.rng.randrange(60):02}:{r.rng.randrange(60):02}"
