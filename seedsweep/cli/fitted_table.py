"""A table that fits the terminal: no id or name is cut, and columns give way in a stated order."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Table
from rich.text import Text

LEAST_TEXT, LONG_WORD = 10, 20
"""A column of text stays so wide beside others, and so wide if it has longer words: ids, paths."""


class FittedTable:
    """A table of figures, which stand right and whole, and of text, which stands left and folds.

    If there is no room for all columns, those `spared` go, the first of them first, then others
    from the right; the first column stays. Below stand the `notes` on columns that are shown, and
    which ones went. `no_empty`: a column without a word in any row is not there at all.
    """

    def __init__(
        self,
        *columns: str,
        text: Collection[str] = (),
        spared: Sequence[str] = (),
        notes: Mapping[str, str] = MappingProxyType({}),
        title: str = "",
        no_empty: bool = False,
    ) -> None:
        self._no_empty = no_empty
        self._columns, self._text, self._title, self._notes = columns, text, title, notes
        rest = [name for name in reversed(columns[1:]) if name not in spared]
        self._leaving = [*spared, *rest]
        self._rows: list[Sequence[str | Text]] = []

    def add_row(self, *cells: str | Text) -> None:
        """Add a row with a cell for each column."""
        self._rows.append(cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # As text, since what the encoding lacks is wider as an escape.
        rows = [[self._text_of(cell, console) for cell in row] for row in self._rows]
        cells = dict(zip(self._columns, zip(*rows, strict=True), strict=True)) if rows else {}
        kept, gone = [name for name in self._columns if self._is_wanted(cells.get(name, ()))], []
        least = {name: self._least(name, cells.get(name, ())) for name in kept}
        for name in filter(kept.__contains__, self._leaving):
            if _width(least[name] for name in kept) <= options.max_width:
                break
            kept.remove(name)
            gone.append(name)
        wanted = {name: max([least[name], cell_len(name), *_lengths(cells.get(name, ()))])
                  for name in kept}  # fmt: skip
        widths = _shared_out(options.max_width, {name: least[name] for name in kept}, wanted)
        table = Table()
        for name in kept:
            justify: JustifyMethod = "left" if name in self._text else "right"
            table.add_column(name, justify=justify, width=widths[name], overflow="fold")
        for place in range(len(rows)):
            table.add_row(*(cells[name][place] for name in kept))
        if self._title:
            yield self._title
        yield table
        if notes := [note for name, note in self._notes.items() if name in kept]:
            yield " ".join(notes)
        if gone:
            yield f"Not shown, for want of width: {', '.join(gone)}; `--json` has all."

    def _is_wanted(self, cells: Sequence[Text]) -> bool:
        return not self._no_empty or any(text.plain for text in cells)

    def _least(self, name: str, cells: Sequence[Text]) -> int:
        """How narrow the column can get: no figure is broken, nor a word but a long one of text."""
        width = max(_lengths(cells), default=0)
        if name in self._text:
            words = (cell_len(word) for text in cells for word in text.plain.split())
            width = min(width, max(LEAST_TEXT, min(max(words, default=0), LONG_WORD)))
        return max(width, *map(cell_len, name.split()), 1)

    @staticmethod
    def _text_of(cell: str | Text, console: Console) -> Text:
        return cell if isinstance(cell, Text) else console.render_str(cell)


def _shared_out(
    max_width: int, least: Mapping[str, int], wanted: Mapping[str, int]
) -> dict[str, int]:
    """What there is beyond the least widths, to those columns that gain most by little."""
    spare, widths = max_width - _width(least.values()), {}
    wanting = {name: wanted[name] - least[name] for name in least}
    for waiting, name in enumerate(sorted(least, key=wanting.__getitem__)):
        more = min(wanting[name], spare // (len(least) - waiting))
        widths[name] = max(least[name] + more, 1)
        spare -= more
    return widths


def _lengths(cells: Iterable[Text]) -> list[int]:
    return [cell.cell_len for cell in cells]


def _width(columns: Iterable[int]) -> int:
    """How wide a table of such columns is, with its lines and what is left beside them."""
    widths = list(columns)
    return sum(widths) + 3 * len(widths) + 1
