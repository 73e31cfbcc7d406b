"""A page as Markdown, for the job summary of a CI service: what matters stands open, the rest is folded.

Whatever the record says stands in blocks of code whose fence is longer than any of its own: nothing in there is a link, an
image, a mention or HTML. The headings are words of ours.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sandrun.page import text
from sandrun.report import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandrun.page.content import Page, Section

OPEN = frozenset({"outcome", "refused"})
"""The sections that are not folded, by name."""
MOST_LINES = 500
"""Of one section."""
MOST_BYTES = 900_000
"""Of the whole: GitHub takes no summary above 1 MiB."""
_SHORTEST_FENCE = 3


def render(page: Page) -> str:
    """The whole page."""
    made = f"## sandrun\n\n{_fenced([page.title, page.status])}"
    for position, section in enumerate(page.sections):
        added = _section(section)
        if len((made + added).encode()) > MOST_BYTES:
            return f"{made}\nToo long: {len(page.sections) - position} more sections are in the report itself.\n"
        made += added
    return made


def _section(section: Section) -> str:
    lines = text.section_lines(section)
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more lines"]
    if section.name in OPEN:
        return f"\n### {section.title}\n\n{_fenced(lines)}"
    # Without the empty lines a renderer takes what is inside for HTML.
    return f"\n<details><summary>{section.title}</summary>\n\n{_fenced(lines)}\n</details>\n"


def _fenced(lines: Iterable[str]) -> str:
    """A block of code. No line of it can end the block: a fence is closed by one that is as long only."""
    body = "\n".join(printable(line) for line in lines)
    longest = max(map(len, re.findall("`+", body)), default=0)
    fence = "`" * max(_SHORTEST_FENCE, longest + 1)
    return f"{fence}text\n{body}\n{fence}\n"
