"""Tables as CSV and in Markdown, with questions for one column of the row that something stands in."""

import csv
from dataclasses import dataclass
from io import StringIO
from random import Random

from maskkv.reading.asking import ask, told_apart
from maskkv.reading.fact import Block, Fact, Phrasings
from maskkv.reading.table_columns import Column, Kind
from maskkv.reading.table_kinds import KINDS

CELL = Phrasings(
    training=(
        "What is the {column} of {entity}?",
        "What is the {column} for {entity}?",
        "What {column} does {entity} have?",
        "Which {column} does {entity} have?",
        "Which {column} is given for {entity}?",
        "What does the table say for the {column} of {entity}?",
        "What is listed as the {column} of {entity}?",
        "Which {column} is listed for {entity}?",
        "What {column} is listed for {entity}?",
        "Can you tell me the {column} of {entity}?",
        "I need the {column} of {entity}.",
        "Look up the {column} of {entity}.",
        "For {entity}, what is the {column}?",
        "What is given as the {column} of {entity}?",
        "Do you know the {column} of {entity}?",
        "What stands under {column} for {entity}?",
        "Show me the {column} of {entity}.",
        "What was the {column} of {entity}?",
    ),
    held_out=(
        "Give me the {column} for {entity}.",
        "In the row of {entity}, what is the {column}?",
        "Which {column} belongs to {entity}?",
        "Find the {column} of {entity}.",
        "What do we have as {column} for {entity}?",
        "Tell me the {column} that {entity} has.",
    ),
)


@dataclass(frozen=True)
class Row:
    """A row of a table: its cells, the line they make up, and which of the cells somebody asks for."""

    cells: tuple[str, ...]
    line: str
    asked: int

    @property
    def value(self) -> str:
        """The cell that is asked for."""
        return self.cells[self.asked]


def _csv(cells: list[str] | tuple[str, ...], delimiter: str) -> str:
    line = StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="").writerow(cells)
    return line.getvalue()


def _markdown(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _rows(rng: Random, count: int, kind: Kind, columns: list[Column], delimiter: str) -> list[Row]:
    """Draw rows that can be told apart, fewer than `count` where the columns have too few values for so many."""
    forms = [rng.choice(column.forms) for column in columns]
    rows: list[Row] = []
    for _ in range(4 * count):
        drawn = [form.format(column.draw(rng)) for form, column in zip(forms, columns, strict=True)]
        cells = (kind.entity(rng), *drawn)
        line = _csv(cells, delimiter) if delimiter else _markdown(cells)
        row = Row(cells, line, rng.randint(1, len(columns)))
        apart = told_apart(row.value, line, [(other.value, other.line) for other in rows])
        if (
            apart
            and line.lower().count(row.value.lower()) == 1
            and all(cells[0] not in other.line and other.cells[0] not in line for other in rows)
        ):
            rows.append(row)
        if len(rows) == count:
            break
    return rows


def _fact(rng: Random, row: Row, kind: Kind, columns: list[Column], unseen: bool) -> Fact:
    column, entity = columns[row.asked - 1], kind.called.format(row.cells[0])
    own = column.training and rng.random() < 0.3
    phrasings = Phrasings(column.training, column.held_out) if own else CELL
    question = ask(rng, phrasings, unseen, row.value, column=column.name, entity=entity)
    return Fact(row.line, row.value, f"{row.cells[0]}: {column.name}", question)


def _header(rng: Random, kind: Kind, columns: list[Column], joint: str) -> list[str]:
    header = [rng.choice(kind.keys), *(column.name for column in columns)]
    if rng.random() < 0.4:
        header = [name[0].upper() + name[1:] for name in header]
    return [name.replace(" ", joint) for name in header]


def block(rng: Random, count: int, unseen: bool) -> Block:
    """Make a table of `count` rows."""
    delimiter = rng.choice((",", ",", ";", "", "", ""))
    rows: list[Row] = []
    while len(rows) < count:
        kind = rng.choice(KINDS)
        columns = rng.sample(kind.columns, rng.randint(1, 3))
        rows = _rows(rng, count, kind, columns, delimiter)
    if delimiter:
        lines = [_csv(_header(rng, kind, columns, rng.choice((" ", "_"))), delimiter)]
    else:
        title = rng.choice(([], [], [f"## {rng.choice(kind.titles)}", ""], [f"{rng.choice(kind.titles)}:", ""]))
        ruler = rng.choice(("---", "---", ":---", "-----"))
        lines = [*title, _markdown(_header(rng, kind, columns, " ")), _markdown([ruler] * (len(columns) + 1))]
    facts = tuple(_fact(rng, row, kind, columns, unseen) for row in rows)
    return Block("\n".join((*lines, *(row.line for row in rows))), facts)
