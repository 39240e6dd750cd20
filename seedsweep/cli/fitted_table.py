"""A table that fits the terminal: no id or name is cut, and columns give way in a stated order."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Table
from rich.text import Text

from seedsweep.scheduler.printable import shown

LEAST_TEXT, LONG_WORD = 10, 20
"""A column of text stays so wide beside others, and so wide if it has longer words: ids, paths."""


class FittedTable:
    """A table of figures, which stand right and whole, and of text, which stands left and folds.

    Where there is no room for all columns, those `spared` go, the first of them first, then others
    from the right; the first column stays. Below stand the `notes` on columns that are shown, and
    which ones went.
    """

    def __init__(
        self,
        *columns: str,
        text: Collection[str] = (),
        spared: Sequence[str] = (),
        notes: Mapping[str, str] = MappingProxyType({}),
        title: str = "",
    ) -> None:
        self._columns, self._text, self._title, self._notes = columns, text, title, notes
        rest = [name for name in reversed(columns[1:]) if name not in spared]
        self._leaving = [*spared, *rest]
        self._rows: list[Sequence[str | Text]] = []

    def add_row(self, *cells: str | Text) -> None:
        """Add a row with a cell for each column."""
        self._rows.append(cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        least = {name: self._least(name) for name in self._columns}
        kept, gone = list(self._columns), []
        for name in self._leaving:
            if _width(least[name] for name in kept) <= options.max_width:
                break
            kept.remove(name)
            gone.append(name)
        widths = self._shared_out({name: least[name] for name in kept}, options.max_width)
        table = Table()
        for name in kept:
            justify: JustifyMethod = "left" if name in self._text else "right"
            table.add_column(name, justify=justify, width=widths[name], overflow="fold")
        for row in self._rows:
            cells = dict(zip(self._columns, row, strict=True))
            table.add_row(*(cells[name] for name in kept))
        if self._title:
            yield self._title
        yield table
        if notes := [note for name, note in self._notes.items() if name in kept]:
            yield " ".join(notes)
        if gone:
            yield f"Not shown, for want of width: {', '.join(gone)}; `--json` has all."

    def _shared_out(self, least: Mapping[str, int], max_width: int) -> dict[str, int]:
        """What there is beyond the least widths, to those columns that gain most by little."""
        spare, widths = max_width - _width(least.values()), {}
        wanting = {name: max(self._widest(name), cell_len(name)) - least[name] for name in least}
        for waiting, name in enumerate(sorted(least, key=wanting.__getitem__)):
            more = min(wanting[name], spare // (len(least) - waiting))
            widths[name] = max(least[name] + more, 1)
            spare -= more
        return widths

    def _least(self, name: str) -> int:
        """How narrow the column can get: no figure is broken, nor a word but a long one of text."""
        width = self._widest(name)
        if name in self._text:
            word = max(
                (cell_len(word) for text in self._cells(name) for word in text.split()), default=0
            )
            width = min(width, max(LEAST_TEXT, min(word, LONG_WORD)))
        return max(width, *map(cell_len, name.split()), 1)

    def _widest(self, name: str) -> int:
        return max(map(cell_len, self._cells(name)), default=0)

    def _cells(self, name: str) -> Iterator[str]:
        place = self._columns.index(name)
        return (shown(str(row[place])) for row in self._rows)


def _width(columns: Iterable[int]) -> int:
    """How wide a table of such columns is, with its lines and what is left beside them."""
    widths = list(columns)
    return sum(widths) + 3 * len(widths) + 1
