"""A page as HTML: one file without a script, that loads nothing. Pure.

Whatever comes from a record passes `_text`, which leaves no character that could be markup, act on the reader's terminal or
turn the direction of the text; and the policy in the head lets nothing run or load even if one did.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING

from sandrun.page.content import CODE, Facts, Note, Table, TimeLine, Tree
from sandrun.page.style import STYLE
from sandrun.report import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sandrun.page.content import Block, Cell, Moment, Node, Page, Section

DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{DIGEST}'; base-uri 'none'; form-action 'none'"


def render(page: Page) -> str:
    """The whole file, as UTF-8 can hold it."""
    return "".join(_page(page))


def _text(text: str) -> str:
    return escape(printable(text))


def _page(page: Page) -> Iterator[str]:
    title = _text(page.title)
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
    yield f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    yield '<a class="skip" href="#main">To the content</a>\n'
    yield f'<header><h1>{title}</h1><p class="status {page.tone}">{_text(page.status)}</p></header>\n'
    yield '<nav aria-label="Sections"><ul>'
    yield from (f'<li><a href="#{one.name}">{_text(one.title)}</a></li>' for one in page.sections)
    yield '</ul></nav>\n<main id="main">\n'
    for section in page.sections:
        yield from _section(section)
    yield "</main>\n<footer><p>Made by sandrun report. This file loads nothing.</p></footer>\n</body>\n</html>\n"


def _section(section: Section) -> Iterator[str]:
    yield f'<section id="{section.name}" aria-labelledby="{section.name}-title">'
    yield f'<h2 id="{section.name}-title">{_text(section.title)}</h2>\n'
    for block in section.blocks:
        yield from _block(block)
    yield "</section>\n"


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Note):
        yield f'<p class="note {block.tone}">{_cells(block.cells)}</p>\n'
    elif isinstance(block, Facts):
        rows = (f"<dt>{_text(name)}</dt><dd>{_cells(cells)}</dd>" for name, cells in block.rows)
        yield f"<dl>{''.join(rows)}</dl>\n"
    elif isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, Tree):
        yield from _tree(block)
    elif isinstance(block, TimeLine):
        yield from _time_line(block)


def _cells(cells: Iterable[Cell]) -> str:
    return " ".join(map(_cell, cells))


def _cell(cell: Cell) -> str:
    if not cell.text:
        return ""
    if cell.kind == CODE:
        return f"<code>{_text(cell.text)}</code>"
    return f'<span class="{cell.kind}">{_text(cell.text)}</span>' if cell.kind else _text(cell.text)


def _table(table: Table) -> Iterator[str]:
    name = _text(table.name)
    yield f'<div class="scroll" role="region" aria-label="{name}" tabindex="0"><table><caption>{name}</caption><thead><tr>'
    yield from (f'<th scope="col">{_text(head)}</th>' for head in table.head)
    yield "</tr></thead><tbody>\n"
    for row in table.rows:
        pairs = zip(table.head, row, strict=True)
        cells = (f'<td data-head="{_text(head)}"><div>{_cell(cell)}</div></td>' for head, cell in pairs)
        yield f"<tr>{''.join(cells)}</tr>\n"
    yield "</tbody></table></div>\n" + _more(table.more)


def _more(more: int) -> str:
    return f"<p>and {more} more</p>\n" if more else ""


def _tree(tree: Tree) -> Iterator[str]:
    yield f"<h3>{_text(tree.name)}</h3>\n"
    if tree.has_uses:
        yield '<label class="filter"><input type="checkbox"> Show only what was not used</label>\n'
    yield '<ul class="tree">\n'
    for node in tree.nodes:
        yield from _node(node)
    yield "</ul>\n"


def _node(node: Node) -> Iterator[str]:
    label = _cells(node.label)
    if not node.below and not node.more:
        yield f'<li class="{node.use}"><div class="leaf">{label}</div></li>\n'
        return
    yield f'<li class="{node.use}"><details{" open" if node.is_open else ""}><summary>{label}</summary><ul>\n'
    for below in node.below:
        yield from _node(below)
    yield (f"<li>and {node.more} more</li>" if node.more else "") + "</ul></details></li>\n"


def _time_line(line: TimeLine) -> Iterator[str]:
    yield f'<h3>{_text(line.name)}</h3>\n<ol class="line">\n'
    for moment in line.moments:
        yield from _moment(moment, line.end)
    yield "</ol>\n" + _more(line.more)


def _moment(moment: Moment, end: float) -> Iterator[str]:
    at = f"{moment.at[-1]:.3f} s" if moment.at else "not known"
    marks = (f'<circle cx="{100 * when / end:.2f}%" cy="50%" r="6"/>' for when in moment.at)
    yield f'<li><time>{at}</time><svg class="{moment.tone}" aria-hidden="true">'
    yield f'<line x1="0" y1="50%" x2="100%" y2="50%"/>{"".join(marks)}</svg>'
    yield f"<div><p>{_cells(moment.words)}</p>"
    yield from (f"<p>{_cells(cells)}</p>" for cells in moment.lines)
    yield "</div></li>\n"
