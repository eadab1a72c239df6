"""What a kind of table is made of."""

from dataclasses import dataclass

from maskkv.reading.table_cells import Draw


@dataclass(frozen=True)
class Column:
    """A column: its name, what stands in it, one form for all of a table, and questions in other words."""

    name: str
    draw: Draw
    forms: tuple[str, ...] = ("{}",)
    training: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """A kind of table: its titles, names for the first column, what stands there, how it is called, other columns."""

    titles: tuple[str, ...]
    keys: tuple[str, ...]
    entity: Draw
    called: str
    columns: tuple[Column, ...]


def column(name: str, draw: Draw, *questions: str, forms: tuple[str, ...] = ("{}",)) -> Column:
    """Describe a column; the last of the questions is held out."""
    return Column(name, draw, forms, questions[:-1], questions[-1:])
