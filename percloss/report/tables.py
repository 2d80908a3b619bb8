"""Tables of a page, as text: heads, rows and cells with a word for every mark."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["Cell", "Mark", "Row", "Table"]

Mark = Literal["", "best", "worst"]


class Cell(NamedTuple):
    """A cell: what it says, what stands below it in small letters, and whether it is good or bad news.

    ``grade`` draws so many of three dots beside words that say the same; ``wordy`` cells hold sentences.
    """

    text: str
    detail: str = ""
    mark: Mark = ""
    grade: int | None = None
    wordy: bool = False


class Row(NamedTuple):
    """A row: its head, what stands below that, where it leads to within the page, and its cells."""

    title: str
    detail: str
    cells: Sequence[Cell]
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        name: Lower-case name, of its own in a section.
        title: Heading.
        about: How to read it, in a sentence or two.
        head: Of each column, that of the rows' heads first.
        rows: What it holds.
        notes: What stands below it.
        folded: Whether it is shown when asked for only.
    """

    name: str
    title: str
    about: str
    head: Sequence[str]
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    folded: bool = False

    @property
    def wordy(self) -> set[int]:
        """Columns that hold sentences, by number from 0."""
        return {at for row in self.rows for at, cell in enumerate(row.cells, 1) if cell.wordy}
