"""A page as plain text: the same sections, for a terminal or a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandrun.page.content import Facts, Note, Table, TimeLine, Tree
from sandrun.report import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sandrun.page.content import Block, Cell, Node, Page, Section

WIDEST = 60
"""A column is padded up to this width."""


def render(page: Page) -> str:
    """The whole page. Nothing in it can act on a terminal."""
    lines = [page.title, page.status]
    for section in page.sections:
        lines += ["", section.title.upper(), *(f"  {line}" for line in section_lines(section))]
    return "".join(f"{printable(line)}\n" for line in lines)


def section_lines(section: Section) -> list[str]:
    """What stands below the title. A line may hold anything yet: `printable` makes it harmless."""
    return [line for block in section.blocks for line in _block(block)]


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Note):
        yield _cells(block.cells)
    elif isinstance(block, Facts):
        yield from (f"{name}: {', '.join(cell.text for cell in cells if cell.text)}" for name, cells in block.rows)
    elif isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, Tree):
        yield f"{block.name}:"
        yield from _nodes(block.nodes, "  ")
    elif isinstance(block, TimeLine):
        yield from _moments(block)


def _cells(cells: Iterable[Cell]) -> str:
    return " ".join(cell.text for cell in cells if cell.text)


def _table(table: Table) -> Iterator[str]:
    rows = [table.head, *([cell.text for cell in row] for row in table.rows)]
    rows = [[printable(text) for text in row] for row in rows]
    widths = [min(WIDEST, max(len(row[column]) for row in rows)) for column in range(len(table.head))]
    yield f"{table.name}:"
    for row in rows:
        yield "  " + "  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip()
    if table.more:
        yield f"  and {table.more} more"


def _nodes(nodes: Iterable[Node], indent: str) -> Iterator[str]:
    for node in nodes:
        yield indent + "  ".join(cell.text for cell in node.label if cell.text)
        yield from _nodes(node.below, indent + "  ")
        if node.more:
            yield f"{indent}  and {node.more} more"


def _moments(line: TimeLine) -> Iterator[str]:
    for moment in line.moments:
        at = f"{moment.at[-1]:.3f} s" if moment.at else "at a time not known"
        yield f"{at}  {_cells(moment.words)}"
        yield from (f"    {_cells(cells)}" for cells in moment.lines)
    if line.more:
        yield f"and {line.more} more"
